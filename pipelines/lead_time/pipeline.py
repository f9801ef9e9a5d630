"""Lead times: from recorded deliveries to a registered quantile model, as a Kubeflow pipeline.

`tidegate train lead_time` runs it on this machine; pipeline.yaml beside it is what a Kubeflow Pipelines endpoint gets.
After a change, `python -m tidegate.adapters.kfp.runner compile pipelines/lead_time/pipeline.py` writes that file anew (a
test compares the two).
"""

from tidegate.api.pipelines import five_steps

# Everything that can be turned, in one place. A run may replace it through the pipeline's argument `parameters`.
PARAMETERS = {
    "min_rows": 500,
    "origins": 6,
    "margin_days": 365,  # between the last evaluated question and `until`: of later ones only the fast are known
    "reference_days": 1095,
    "calibration_days": 182,
    "calibration_folds": 4,
    "calibration_min_rows": 150,
    "trees": 80,
    "leaves": 6,
    "learning_rate": 0.06,
    "min_rows_in_leaf": 40,
    "feature_fraction": 0.5,
    "seed": 7,
}

PIPELINE = five_steps("lead-time", "Days from order or schedule to delivery, as quantiles", PARAMETERS)
