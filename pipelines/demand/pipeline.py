"""Daily demand: from ingested invoice lines to a registered quantile model, as a Kubeflow pipeline.

`tidegate train demand` runs it on this machine; pipeline.yaml beside it is what a Kubeflow Pipelines endpoint gets.
After a change, `python -m tidegate.adapters.kfp.runner compile pipelines/demand/pipeline.py` writes that file anew (a test
compares the two).
"""

from tidegate.api.pipelines import five_steps

# Everything that can be turned, in one place. A run may replace it through the pipeline's argument `parameters`.
PARAMETERS = {
    "horizons": 14,
    "training_rows": 90_000,
    "warmup_days": 56,
    "recency_days": 200,
    "origins": 4,
    "origin_step_days": 14,
    "min_selling_days": 100,
    "baseline_residual_origins": 8,
    "reference_days": 84,
    "reference_rows": 18_000,
    "home_country": "United Kingdom",
    "max_age_days": 14,  # the shop closes for eleven days at Christmas
    "trees": 100,
    "leaves": 31,
    "learning_rate": 0.08,
    "min_rows_in_leaf": 40,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "max_bin": 127,
    "seed": 7,
    "threads": 2,
}

PIPELINE = five_steps("demand", "Units of each SKU that will be ordered on each of the next days, as quantiles", PARAMETERS)
