"""Category and condition of returned items: from images to a registered model, as a Kubeflow pipeline.

`tidegate train returns` runs it on this machine; pipeline.yaml beside it is what a Kubeflow Pipelines endpoint gets.
After a change, `python -m tidegate.adapters.kfp.runner compile pipelines/returns/pipeline.py` writes that file anew (a test
compares the two).
"""

from tidegate.api.pipelines import five_steps

# Everything that can be turned, in one place. A run may replace it through the pipeline's argument `parameters`.
PARAMETERS = {
    "epochs": 8,
    "batch": 32,
    "rate": 3e-3,
    "damage_emphasis": 2.0,  # times the loss of the category: an order says much of the category, and nothing of damage
    "dropout": 0.1,
    "draws": 8,  # of damage to each item that is trained on: another one each epoch
    "channels": [16, 32, 24],  # of the two convolutions that both tasks share, and of the third that each has
    "dense": 64,
    "wanted": 0.985,  # share of answers that are right, both of them, where no person looks; more than the 0.98 that it is for
    "most_reviewed": 0.3,  # share of returns that people look at where that cannot be had
    "single_task": False,  # also train a model for each answer alone, of the same size, to compare: three times as long
    "items": 0,  # at most so many items; 0: all
    "seed": 7,
}

PIPELINE = five_steps(
    "returns", "The category and the condition of a returned item by its image, and whether a person has to look", PARAMETERS
)
