"""What a training may be told. The values stand in the pipeline's definition, where people see them: no defaults here.

A pipeline hands them to its steps as one JSON object, and the model card repeats them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.api.training import InvalidInput


@dataclass(frozen=True)
class TrainingParameters:
    horizons: int  # days ahead, 1..horizons
    training_rows: int  # at most, sampled over SKUs, origins and horizons
    warmup_days: int  # days after the first sale of the data before the first origin
    recency_days: int  # half-life of a row's chance to be sampled
    origins: int  # rolling origins of the evaluation, the last one `origin_step_days` before `until`
    origin_step_days: int  # and the days that each of them forecasts
    min_selling_days: int  # SKUs with fewer count in the segments, not in the headline
    baseline_residual_origins: int  # past origins whose residuals give the baselines their quantiles
    reference_days: int  # of the drift reference, before `until`
    reference_rows: int
    home_country: str  # SKUs that sell mostly there are its country group
    max_age_days: int  # of the newest sale before `until`
    trees: int
    leaves: int
    learning_rate: float
    min_rows_in_leaf: int
    feature_fraction: float
    bagging_fraction: float
    max_bin: int
    seed: int
    threads: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not (math.isfinite(value) and value > 0) and field.name != "seed":
                raise InvalidInput(f"pipeline parameter '{field.name}' is {value}, required a number above 0")
        if self.horizons < self.origin_step_days:
            raise InvalidInput(
                f"pipeline parameter 'horizons' is {self.horizons}, required at least origin_step_days, {self.origin_step_days}"
            )

    @property
    def learner(self) -> Mapping[str, float]:
        names = ("trees", "leaves", "learning_rate", "min_rows_in_leaf", "feature_fraction", "bagging_fraction")
        return {name: getattr(self, name) for name in (*names, "max_bin", "seed", "threads")}

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrainingParameters:
        """Raises InvalidInput naming the parameter that is unknown, missing or of another type."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InvalidInput(f"pipeline parameters are no JSON object ({error})") from error
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != set(types):
            found = set(values) if isinstance(values, dict) else set()
            raise InvalidInput(
                f"pipeline parameters: missing {sorted(set(types) - found)}, unknown {sorted(found - set(types))}; "
                "give each of TrainingParameters exactly once"
            )
        for name, kind in types.items():
            wanted = {"int": (int,), "float": (int, float), "str": (str,)}[str(kind)]
            if not isinstance(values[name], wanted) or isinstance(values[name], bool):
                raise InvalidInput(f"pipeline parameter '{name}' is {values[name]!r}, required {kind}")
        return cls(**values)
