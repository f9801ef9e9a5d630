"""Port to a learner of quantiles that exports ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class TrainedModel:
    """`onnx`: input `features` float32 [n, F], output `quantiles` float32 [n, Q], never crossing and never negative.

    `native` is the learner's own text by file name, `importance` the gain of each feature (sums to 1, or all 0).
    """

    onnx: bytes
    native: Mapping[str, str]
    importance: Mapping[str, float]


class QuantileLearner(Protocol):
    def fit(self, vectors: np.ndarray, target: np.ndarray, names: Sequence[str], settings: Mapping[str, float]) -> TrainedModel:
        """Learn from `vectors` float32 [n, F] (NaN: missing) and `target` float64 [n]; equal inputs give equal bytes."""
