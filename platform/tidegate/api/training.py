"""For a training pipeline, such as `pipelines/demand_pipeline.py`: the bodies of its components."""

from tidegate.apps.training import evaluate_step, extract_step, register_step, train_step, validate_step

__all__ = ["evaluate_step", "extract_step", "register_step", "train_step", "validate_step"]
