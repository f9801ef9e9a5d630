"""Anomalies of telemetry: from readings to a registered detector, as a Kubeflow pipeline.

`tidegate train anomaly` runs it on this machine; pipeline.yaml beside it is what a Kubeflow Pipelines endpoint gets.
After a change, `python -m tidegate.adapters.kfp.runner compile pipelines/anomaly/pipeline.py` writes that file anew (a test
compares the two).
"""

from tidegate.api.pipelines import five_steps

# Everything that can be turned, in one place. A run may replace it through the pipeline's argument `parameters`.
PARAMETERS = {
    "window": 1440,  # five days of a reading each five minutes
    "quiet": 72,  # six hours of them
    "alarms_a_week": 1.5,  # of a series
    "reference_rows": 800,
}

PIPELINE = five_steps(
    "anomaly", "How new the newest reading of a window of telemetry is, and whether that is an alarm", PARAMETERS
)
