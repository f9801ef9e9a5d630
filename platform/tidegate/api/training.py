"""For a training pipeline, such as `pipelines/demand/`: what its components call, and what its steps are made with.

A component is thin: `step(Run(...), "steps.py:extract", rows.path)` calls a function of the pipeline's own folder, from
sources that are read once and that the lineage names. See docs/training.md.
"""

from tidegate.apps.training_output import write_output
from tidegate.apps.training_run import (
    Run,
    RunFeatures,
    code,
    historical_features,
    lineage,
    point_in_time,
    read_rows,
    register,
    register_step,
    step,
)
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, TidegateError, Unavailable
from tidegate.domain.release import Lineage
from tidegate.domain.verdict import Finding
from tidegate.files.training_output import TrainingOutput, open_output
from tidegate.training.former_steps import gone as __getattr__  # noqa: F401
from tidegate.training.messages import say
from tidegate.training.output import read_contract, require
from tidegate.training.settings import parameters_of, provenance

__all__ = [
    "FeatureContract",
    "Finding",
    "InvalidInput",
    "Lineage",
    "Run",
    "RunFeatures",
    "TidegateError",
    "TrainingOutput",
    "Unavailable",
    "code",
    "historical_features",
    "lineage",
    "open_output",
    "parameters_of",
    "point_in_time",
    "provenance",
    "read_contract",
    "read_rows",
    "register",
    "register_step",
    "require",
    "say",
    "step",
    "write_output",
]
