"""Port to a drift library: distances of columns and its verdict by thresholds that are always given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class DriftCheck:
    """One column to compare, of texts where it is a `category`. `method` is Evidently's name: `wasserstein` (normed) or
    `jensenshannon`."""

    feature: str
    method: str
    threshold: float
    category: bool = False


@dataclass(frozen=True)
class DriftScore:
    distance: float
    drifted: bool


class DriftMeter(Protocol):
    def measure(
        self, reference: Mapping[str, np.ndarray], current: Mapping[str, np.ndarray], checks: Sequence[DriftCheck]
    ) -> Mapping[str, DriftScore]:
        """One score for each check. Columns are float64 [rows], or texts; values that are not finite, and None, are left out of
        a comparison."""
