"""The reference as it would look had it been asked for the keys of a window.

Which keys clients ask for says nothing about the world: best sellers differ from the catalogue, today as in the reference. So a
window is compared with the reference's rows of the same keys, each key with the weight that it has in the window. Positions
(ranks) and spread stay those of the whole reference, so that thresholds, calibrated on it, mean what they meant.

Thresholds are for a window against all of the reference. Against fewer rows both sides are noisy, and they are widened by
sqrt(1 + n/m) for n vectors against m effective rows: no less than the noise adds, because a key's vectors are alike.

Limits: keys that the reference does not hold cannot be matched. They are left out, or, where they are most of the window, all
is compared with all. Keys that are asked for *because* their values have just moved still look like drift.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from tidegate.gates.window import Window

ROWS_A_VECTOR = 8
UNKNOWN_SHARE = 0.5  # of a window's vectors; with more that the reference does not hold, keys cannot be matched


@dataclass(frozen=True)
class Matched:
    """`rows` of the reference (with repetitions, int [m]) stand for `window`; None means all of it. Thresholds are to be
    multiplied by `widening`."""

    window: Window
    rows: np.ndarray | None = None
    widening: float = 1.0


class ReferenceKeys:
    """Rows of each key in a reference, [n] keys."""

    def __init__(self, keys: np.ndarray) -> None:
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1]]) if len(keys) else np.empty(0, dtype=int)
        self._rows = dict(zip(keys[order][starts].tolist(), np.split(order, starts[1:]), strict=True)) if len(keys) else {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def unknown(self, window: Window) -> int:
        """How many vectors of the window have keys that the reference does not hold."""
        return sum(key not in self._rows for key in window.keys)

    def match(self, window: Window, seed: int) -> Matched:
        """`window` has known keys only. Each vector gets `ROWS_A_VECTOR` rows of its key, all rows of a key alike often."""
        rng = np.random.default_rng(seed)
        rows = {key: rng.permutation(self._rows[key])[:ROWS_A_VECTOR] for key in dict.fromkeys(window.keys)}
        chosen = np.concatenate([np.resize(rows[key], ROWS_A_VECTOR) for key in window.keys])
        n, noise = len(window.keys), sum(count**2 / len(rows[key]) for key, count in Counter(window.keys).items())
        return Matched(window, chosen, math.sqrt(1.0 + noise / n))  # n / m, where m = n^2 / noise rows are effective
