"""The ratio of two sums of losses, and a one-sided bound of it by the bootstrap over units that belong together.

Losses of one key belong together (one key may be hard throughout), so keys are drawn whole. Where there are too few keys, rows
near in time belong together, and blocks of time are drawn: b consecutive moments, b = T^(1/3) of T moments, the order at which
the block bootstrap's error is least (Hall, Horowitz & Jing, Biometrika 82, 1995; blocks as of Carlstein, Ann. Statist. 14,
1986). A bootstrap over one unit is the ratio itself and bounds nothing; `ratio` leaves it to its caller to ask for enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DRAWS = 2000
CONFIDENCE = 0.95  # of the one-sided upper bound


@dataclass(frozen=True)
class Ratio:
    """Summed loss of one forecast over that of another on the same rows; `upper` its bound."""

    value: float
    upper: float
    rows: int
    units: int


def blocks_of(moments: np.ndarray) -> np.ndarray:
    """The block of time of each row, from 0: equal numbers of distinct moments in each, the last may hold fewer."""
    distinct, place = np.unique(moments, return_inverse=True)
    length = max(1, round(len(distinct) ** (1 / 3)))
    return np.asarray(place // length)


def ratio(losses: np.ndarray, others: np.ndarray, units: np.ndarray, seed: int = 0) -> Ratio:
    """Raises ValueError when the sums say nothing: no row, an `others` without any loss, a sum that is not finite."""
    _, place = np.unique(units, return_inverse=True)
    n = int(place.max()) + 1 if len(place) else 0
    ours, theirs = (np.bincount(place, weights, n) for weights in (losses, others))
    if not n or theirs.sum() <= 0:
        raise ValueError("has no loss at all to compare with")
    if not np.isfinite([ours.sum(), theirs.sum()]).all():
        raise ValueError("has losses too large to be summed")
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=DRAWS)
    totals = np.maximum(weights @ theirs, np.finfo(float).tiny)
    upper = float(np.quantile((weights @ ours) / totals, CONFIDENCE))
    return Ratio(float(ours.sum() / theirs.sum()), upper, len(losses), n)
