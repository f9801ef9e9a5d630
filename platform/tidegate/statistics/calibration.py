"""Drift thresholds from the reference itself: what distance does an ordinary window of this size show?

Each draw takes a contiguous block of the reference's time (`block_days`, as long as the stretch that a live window spans),
samples `window` rows of it, and measures every feature's distance, and the difference of its share of missing values, to the
rest of the reference. So day-to-day movement and autocorrelation are in the thresholds, and so is the window's noise.

The budget is for a whole check (family-wise): each distance is divided by its own scale (its 90 % quantile over the draws),
the largest over all features is the statistic of a draw, and one limit for it gives every feature's threshold
(limit x scale). The limit is the (1 - budget) quantile of the draws, or, where larger, the prediction bound for a *new* block
from few and dependent blocks: mean + t * sd * sqrt(1 + 1/n) of the logarithm, n the effective number of blocks.

Limit: the budget holds for windows that come from the process of the reference. A season the reference has not seen is
drift, and is meant to be found.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.formats import Format, Unknown, document
from tidegate.statistics.distances import (
    WASSERSTEIN,
    comparable,
    counted_jensenshannon,
    counted_wasserstein,
    finite,
    method_for,
)

METHOD = "block-bootstrap-max"
TIME = "event_timestamp"
SCALE_QUANTILE = 0.9
# No threshold is below these: a difference this small is of no interest even if the reference shows none at all.
DISTANCE_FLOOR = {"wasserstein": 0.03, "jensenshannon": 0.05}
MISSING_FLOOR = 0.02
# Nor above these, some four fifths of what disjoint distributions show: however restless the reference, a value in pence for
# one in pounds must be found. Where a ceiling applies, the reference spans times with little in common: take a shorter one.
DISTANCE_CEILING = {"wasserstein": 1.38, "jensenshannon": 0.66}
MISSING_CEILING = 0.8
THRESHOLDS_FORMAT = Format("drift thresholds", Unknown.REFUSED)  # one that is not applied is a gate that is wider
AIM = 0.8  # of the budget: the limit is itself estimated, from few hundred draws


@dataclass(frozen=True)
class FeatureThreshold:
    """`threshold` for the distance by `method`; `missing` for the difference of the shares of missing values."""

    method: str
    threshold: float
    missing: float


@dataclass(frozen=True)
class Thresholds:
    """`thresholds.json` of a release."""

    method: str
    window: int
    budget: float
    block_days: float
    draws: int
    seed: int
    effective_blocks: float
    features: Mapping[str, FeatureThreshold]

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = document(self)
        return value

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Thresholds:
        """Raises IntegrityError that names `where`."""
        return THRESHOLDS_FORMAT.convert(THRESHOLDS_FORMAT.parse(content, where), cls, where)


@dataclass(frozen=True)
class _Column:
    """A feature of the reference as codes of its distinct values; the last code, U, stands for missing."""

    name: str
    method: str
    positions: np.ndarray  # [U] sorted, in the form that is compared
    codes: np.ndarray  # int [rows]

    def counts(self, rows: np.ndarray | slice) -> np.ndarray:
        """[U + 1]: how often each value occurs in `rows`, the missing ones last."""
        return np.bincount(self.codes[rows], minlength=len(self.positions) + 1)

    def distances(self, rest: np.ndarray, sample: np.ndarray) -> tuple[float, float]:
        """Distance of values and difference of missing shares, between counts as `counts` gives them."""
        missing = abs(sample[-1] / sample.sum() - rest[-1] / rest.sum())
        if not rest[:-1].any() or not sample[:-1].any():
            return 0.0, float(missing)  # nothing to compare, and the missing share says so
        if self.method == WASSERSTEIN:
            return counted_wasserstein(self.positions, rest[:-1], sample[:-1]), float(missing)
        return counted_jensenshannon(rest[:-1], sample[:-1]), float(missing)


def calibrate(
    reference: pl.DataFrame,
    features: Sequence[str],
    window: int,
    block: float,
    budget: float,
    seed: int,
    draws: int = 400,
) -> Thresholds:
    """Thresholds for windows of `window` rows that span `block` days, with `budget` of false alarms a check.

    `reference` has the `features` (numbers) and `event_timestamp`. Raises InvalidInput when it lacks one, or spans fewer than
    four blocks.
    """
    for name in (*features, TIME):
        if name not in reference.columns:
            raise InvalidInput(
                f"drift calibration: the reference has no column '{name}', observed {', '.join(reference.columns)}"
            )
    if not features:
        raise InvalidInput("drift calibration: no feature is left to watch; exclude fewer in the drift rules' excluded")
    columns = [_column(name, reference[name].cast(pl.Float64).to_numpy()) for name in features]
    days = reference[TIME].cast(pl.Datetime("us")).to_physical().to_numpy() / 86_400e6
    starts, blocks = _blocks(days, block)
    rng = np.random.default_rng(seed)
    chosen = np.sort(np.concatenate([rng.permutation(starts) for _ in range(math.ceil(draws / len(starts)))])[:draws])
    measured = np.array(list(_draws(columns, days, chosen, block, window, rng)))  # [draws, 2 F]
    floors = np.array([floor for column in columns for floor in (DISTANCE_FLOOR[column.method], MISSING_FLOOR)])
    scale = np.maximum(np.quantile(measured, SCALE_QUANTILE, axis=0), floors)
    largest = np.log(np.maximum((measured / scale).max(axis=1), 1e-6))
    limit, effective = _limit(largest, chosen, blocks, block, AIM * budget)
    ceilings = np.array([top for column in columns for top in (DISTANCE_CEILING[column.method], MISSING_CEILING)])
    thresholds = np.minimum(limit * scale, ceilings)
    entries = {
        column.name: FeatureThreshold(column.method, float(thresholds[2 * i]), float(thresholds[2 * i + 1]))
        for i, column in enumerate(columns)
    }
    return Thresholds(METHOD, window, budget, block, draws, seed, round(effective, 2), entries)


def _column(name: str, raw: np.ndarray) -> _Column:
    method = method_for(raw)
    values = comparable(raw, finite(raw), method)
    present = ~np.isnan(values)
    positions, codes = np.unique(values[present], return_inverse=True)
    all_codes = np.full(len(values), len(positions))
    all_codes[present] = codes
    return _Column(name, method, positions, all_codes)


def _blocks(days: np.ndarray, block: float) -> tuple[np.ndarray, int]:
    """Starts of whole blocks, and how many blocks fit without overlap."""
    times = np.unique(days)
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    end = times[-1] + step if len(times) else 0.0
    span = end - times[0] if len(times) else 0.0
    count = int(span / block + 1e-9)
    if count < 4:
        raise InvalidInput(
            f"drift calibration: the reference spans {span:.1f} days, required at least four blocks of {block:g} days; "
            "give a longer reference or a smaller block_days"
        )
    return times[times + block <= end + 1e-9], count


def _draws(
    columns: Sequence[_Column], days: np.ndarray, starts: np.ndarray, block: float, window: int, rng: np.random.Generator
) -> Iterator[list[float]]:
    totals = [column.counts(slice(None)) for column in columns]
    rest: list[np.ndarray] = []
    rows = np.empty(0, dtype=int)
    previous = None
    for start in starts:  # sorted, so that the rest is counted once a block
        if start != previous:
            rows = np.flatnonzero((days >= start - 1e-9) & (days < start + block - 1e-9))
            rest = [total - column.counts(rows) for total, column in zip(totals, columns, strict=True)]
            previous = start
        sample = rng.choice(rows, window, replace=len(rows) < window)
        yield [v for column, other in zip(columns, rest, strict=True) for v in column.distances(other, column.counts(sample))]


def _limit(largest: np.ndarray, chosen: np.ndarray, blocks: int, block: float, budget: float) -> tuple[float, float]:
    """Limit of the largest normed distance and the effective number of blocks. `largest` are logarithms, [draws]."""
    from scipy.stats import t as student

    index = ((chosen - chosen.min()) / block + 1e-9).astype(int)
    present = np.unique(index)
    means = np.array([largest[index == i].mean() for i in present])
    centred = means - means.mean()
    variance = float(centred @ centred)
    dependence = float(centred[1:] @ centred[:-1]) / variance if variance > 0 else 0.0
    dependence = min(max(dependence, 0.0), 0.95)
    effective = max(3.0, min(blocks, len(present)) * (1 - dependence) / (1 + dependence))
    bound = largest.mean() + student.ppf(1 - budget, effective - 1) * largest.std(ddof=1) * math.sqrt(1 + 1 / effective)
    return float(np.exp(max(bound, np.quantile(largest, 1 - budget)))), effective
