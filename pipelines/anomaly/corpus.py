"""The readings of a telemetry dataset as series: values, times, and the windows that people labelled as incidents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

WEEK = 7 * 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Telemetry:
    """One series in the order of its readings. `incidents` are the first and the last reading of each labelled window."""

    name: str
    values: np.ndarray
    at: np.ndarray  # microseconds since 1970
    incidents: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def kind(self) -> str:
        """Where it comes from: the folder that the benchmark has it in."""
        return self.name.partition("/")[0]

    def weeks(self, first: int, last: int) -> float:
        """From one reading to another."""
        return float(self.at[last] - self.at[first]) / WEEK


def corpus(rows: pl.DataFrame) -> list[Telemetry]:
    return list(_series(rows.sort("series", "number")))


def _series(rows: pl.DataFrame) -> Iterator[Telemetry]:
    for (name,), part in rows.group_by("series", maintain_order=True):
        incident = part["incident"].fill_null(-1).to_numpy()
        found = [np.flatnonzero(incident == which) for which in np.unique(incident[incident >= 0])]
        spans = tuple(sorted((int(at[0]), int(at[-1])) for at in found))
        at = part["at"].cast(pl.Datetime("us")).to_physical().to_numpy()
        yield Telemetry(str(name), part["value"].to_numpy(), at, spans)
