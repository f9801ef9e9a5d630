"""Distances between a reference column and a current one, by Evidently's formulas, on values made robust first.

A column of many values is compared by `wasserstein` as Evidently norms it (by the reference's standard deviation), but on
*ranks*: each value is replaced by its mid-rank in the reference, from 0 to 1. Demand is so skewed that on raw values one large
order outweighs a shift of all others; ranks bound its weight and still see a shift, a change of spread, and any change of
scale. A column of at most `LOW_CARDINALITY` distinct values is compared by `jensenshannon` over these values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

LOW_CARDINALITY = 20  # Evidently compares counts of values up to here, and histograms above
WASSERSTEIN = "wasserstein"
JENSENSHANNON = "jensenshannon"


@dataclass(frozen=True)
class Distance:
    """`counted(positions, reference, current)` is the distance of two samples given as counts [U] at sorted `positions` [U].

    `ranked`: values are compared by their ranks in the reference, and the distance is normed by the reference's spread. No
    threshold is below `floor`: a difference this small is of no interest even if the reference shows none at all. Nor above
    `ceiling`, some four fifths of what disjoint distributions show: however restless the reference, a value in pence for one in
    pounds must be found. Evidently has to know it by the same name.
    """

    counted: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
    ranked: bool
    floor: float
    ceiling: float


def method_for(reference: np.ndarray) -> str:
    """The method for a reference column [rows]; NaN and infinities are not counted."""
    return JENSENSHANNON if len(np.unique(reference[np.isfinite(reference)])) <= LOW_CARDINALITY else WASSERSTEIN


def finite(values: np.ndarray) -> np.ndarray:
    """float64 copy with infinities made NaN, as a missing value."""
    result = values.astype(np.float64)
    result[~np.isfinite(result)] = np.nan
    return result


def comparable(reference: np.ndarray, values: np.ndarray, method: str) -> np.ndarray:
    """`values` [n] in the form that `method` compares: ranks in `reference` (mid-rank where equal), or as they are."""
    values = finite(values)
    if not DISTANCES[method].ranked:
        return values
    known = np.sort(reference[np.isfinite(reference)].astype(np.float64))
    ranks = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / (2.0 * max(1, len(known)))
    ranks[np.isnan(values)] = np.nan
    return np.asarray(ranks)


def counted_wasserstein(positions: np.ndarray, reference: np.ndarray, current: np.ndarray) -> float:
    """Normed 1-Wasserstein of two samples given as counts [U] at sorted `positions` [U]."""
    total = reference.sum()
    gaps = np.abs(np.cumsum(reference)[:-1] / total - np.cumsum(current)[:-1] / current.sum())
    mean = positions @ reference / total
    spread = float(np.sqrt(max(0.0, (positions - mean) ** 2 @ reference / total)))
    return float(gaps @ np.diff(positions)) / max(spread, 0.001)


def counted_jensenshannon(reference: np.ndarray, current: np.ndarray) -> float:
    """Jensen-Shannon distance (base e) of two samples given as counts [U] of the same values."""
    p, q = reference / reference.sum(), current / current.sum()
    middle = (p + q) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log(p / middle), 0.0).sum()
        right = np.where(q > 0, q * np.log(q / middle), 0.0).sum()
    return float(np.sqrt(max(0.0, (left + right) / 2.0)))


DISTANCES: Mapping[str, Distance] = {
    WASSERSTEIN: Distance(counted_wasserstein, ranked=True, floor=0.03, ceiling=1.38),
    JENSENSHANNON: Distance(lambda _, p, q: counted_jensenshannon(p, q), ranked=False, floor=0.05, ceiling=0.66),
}


def distance(reference: np.ndarray, current: np.ndarray, method: str) -> float:
    """Distance of two columns as they came; NaN when one has no finite value."""
    left, right = comparable(reference, reference, method), comparable(reference, current, method)
    left, right = left[np.isfinite(left)], right[np.isfinite(right)]
    if not len(left) or not len(right):
        return float("nan")
    positions, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(positions)) for part in (codes[: len(left)], codes[len(left) :])]
    return DISTANCES[method].counted(positions, counts[0], counts[1])


def category_distance(reference: np.ndarray, current: np.ndarray) -> float:
    """Jensen-Shannon distance of two columns of texts, None for what is missing; NaN when one has no value."""
    left, right = ([str(value) for value in part if value is not None] for part in (reference, current))
    if not left or not right:
        return float("nan")
    names, codes = np.unique(np.array([*left, *right]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(names)) for part in (codes[: len(left)], codes[len(left) :])]
    return counted_jensenshannon(counts[0], counts[1])


def overlap(reference: np.ndarray, current: np.ndarray) -> float:
    """1 minus the Kolmogorov-Smirnov distance of the finite values: 1 for equal distributions, 0 for disjoint ones."""
    left, right = (np.sort(part[np.isfinite(part)].astype(np.float64)) for part in (reference, current))
    if not len(left) or not len(right):
        return 0.0
    points = np.concatenate([left, right])
    gap = np.searchsorted(left, points, "right") / len(left) - np.searchsorted(right, points, "right") / len(right)
    return float(1.0 - np.abs(gap).max())


def scale_factor(reference: np.ndarray, current: np.ndarray) -> float | None:
    """Median of the current over that of the reference, over values that are not zero; None where it makes no sense."""
    medians = []
    for part in (reference, current):
        values = part[np.isfinite(part) & (part != 0)].astype(np.float64)
        if not len(values):
            return None
        medians.append(float(np.median(values)))
    factor = medians[1] / medians[0]
    return factor if factor > 0 and np.isfinite(factor) else None
