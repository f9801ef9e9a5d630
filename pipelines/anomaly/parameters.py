"""What a training may be told; the values stand in the pipeline's definition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.api.training import InvalidInput, parameters_of


@dataclass(frozen=True)
class Parameters:
    window: int  # readings that the model looks at, the newest last
    quiet: int  # readings after one that was new, of which only newer ones count
    alarms_a_week: float  # of a series in the second half of its probation; sets the threshold
    reference_rows: int

    def __post_init__(self) -> None:
        if not (0 < self.quiet < self.window - 2 and self.alarms_a_week > 0 and self.reference_rows > 0):
            raise InvalidInput(f"pipeline parameters are {self}, required 0 < quiet < window - 2 and the others above 0")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Parameters:
        return parameters_of(cls, settings)
