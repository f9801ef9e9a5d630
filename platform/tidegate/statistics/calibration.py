"""Drift thresholds from the reference itself: what distance does an ordinary window of this size show?

Each draw takes a contiguous block of the reference's time (`block_days`, as long as the stretch that a live window spans),
samples `window` rows of it, and measures every column's distance, and the difference of its share of missing values, to the
rest of the reference. So day-to-day movement and autocorrelation are in the thresholds, and so is the window's noise. A
reference without times, or of one time, is cut into blocks at random. Columns that all keys share at a time are counted as the
few values that they are (`statistics.shared`).

The budget is for a whole check (family-wise): each distance is divided by its own scale (its 90 % quantile over the draws),
the largest over all columns is the statistic of a draw, and one limit for it gives every column's threshold
(limit x scale). The limit is the (1 - budget) quantile of the draws, or, where larger, the prediction bound for a *new* block
from few and dependent blocks: mean + t * sd * sqrt(1 + 1/n) of the logarithm, n the effective number of blocks. Categories of
many values are far apart by chance alone: their scale is that of the squared distance beyond what chance makes.

Limit: the budget holds for windows that come from the process of the reference. A season the reference has not seen is
drift, and is meant to be found.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.formats import Format, Unknown, added, document
from tidegate.statistics.distances import DISTANCES
from tidegate.statistics.drift_columns import Column, column_of, drawn_distances, expected_by_chance
from tidegate.statistics.shared import NOT_JUDGED, in_time, shared_columns, shared_draws, stretches

METHOD = "block-bootstrap-max"
TIME = "event_timestamp"
SCALE_QUANTILE = 0.9
DISTANCE_FLOOR = {name: each.floor for name, each in DISTANCES.items()}
MISSING_FLOOR = 0.02
# Where a ceiling applies, the reference spans times with little in common: take a shorter one.
DISTANCE_CEILING = {name: each.ceiling for name, each in DISTANCES.items()}
MISSING_CEILING = 0.8
LARGEST = math.sqrt(math.log(2))  # Jensen-Shannon distance of disjoint distributions
CEILING = 0.8  # of the way from what chance makes to that, for categories
THRESHOLDS_FORMAT = Format("drift thresholds", Unknown.REFUSED)  # one that is not applied is a gate that is wider
AIM = 0.8  # of the budget: the limit is itself estimated, from few hundred draws
UNTIMED_BLOCKS = 40
THREADS = 4


@dataclass(frozen=True)
class FeatureThreshold:
    """`threshold` for the distance by `method`; `missing` for the difference of the shares of missing values.

    A `category` is compared by its texts. A `shared` column is compared by its values in time, `values` of them (`threshold`
    is `NOT_JUDGED` where the reference has too few). `cut` says that the threshold would be higher, but for the ceiling.
    """

    method: str
    threshold: float
    missing: float
    category: bool = added(default=False)
    shared: bool = added(default=False)
    values: int = added(default=0)
    cut: bool = added(default=False)


@dataclass(frozen=True)
class Thresholds:
    """`thresholds.json` of a release. `block_days` is 0 where the reference has no times to be cut by."""

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
class _Draws:
    """`samples` int [D, window] are rows of `blocks[which[d]]`; `places` [D] say where in the reference a block lies, in
    blocks, and `fit` is how many fit into it without overlap."""

    samples: np.ndarray
    blocks: Sequence[np.ndarray]
    which: np.ndarray
    places: np.ndarray | None
    fit: float


def calibrate(
    reference: pl.DataFrame,
    features: Sequence[str],
    window: int,
    block: float,
    budget: float,
    seed: int,
    draws: int = 400,
    categorical: Collection[str] = (),
) -> Thresholds:
    """Thresholds for windows of `window` rows that span `block` days, with `budget` of false alarms a check.

    `reference` has the `features` (numbers, booleans, texts; `categorical` ones are compared as texts) and, where it has times,
    `event_timestamp`. Raises InvalidInput when it lacks one, or spans fewer than four blocks.
    """
    for name in features:
        if name not in reference.columns:
            raise InvalidInput(
                f"drift calibration: the reference has no column '{name}', observed {', '.join(reference.columns)}"
            )
    if not features:
        raise InvalidInput("drift calibration: no feature is left to watch; exclude fewer in the drift rules' excluded")
    columns = [column_of(name, values_of(reference[name], name in categorical)) for name in features]
    days, rng = days_of(reference), np.random.default_rng(seed)
    made = _untimed(len(reference), window, draws, rng) if days is None else _timed(days, block, window, draws, rng)
    order = None if days is None else in_time(days)
    shared = [] if order is None else shared_columns(columns, order)
    rowwise = [column for column in columns if column.name not in shared]
    share = len(rowwise) / len(columns)
    entries, effective = _rowwise(rowwise, made, window, share * budget, seed) if rowwise else ({}, made.fit)
    if shared and order is not None:
        apart = [column for column in columns if column.name in shared]
        typical = {column.name: _typical(column, order, days, block) for column in apart}
        entries |= shared_thresholds(apart, order, typical, (1.0 - share) * budget, draws)
    entries = {name: entries[name] for name in features}
    return Thresholds(METHOD, window, budget, block if days is not None else 0.0, draws, seed, round(effective, 2), entries)


def values_of(series: pl.Series, category: bool = False) -> np.ndarray:
    """Float64 [n] with NaN for a number or a boolean; objects, texts with None, for anything else and for a `category`."""
    if not category and (series.dtype.is_numeric() or series.dtype == pl.Boolean or series.dtype == pl.Null):
        return series.cast(pl.Float64).to_numpy()
    if series.dtype.is_float():
        series = series.fill_nan(None)
    texts = series if series.dtype == pl.Object else series.cast(pl.String)
    return np.array([None if value is None else str(value) for value in texts.to_list()], dtype=object)


def days_of(reference: pl.DataFrame) -> np.ndarray | None:
    """Times in days; None for a reference that has none, or one alone."""
    if TIME not in reference.columns:
        return None
    days = reference[TIME].cast(pl.Datetime("us")).to_physical().to_numpy() / 86_400e6
    return days if len(days) and days.min() < days.max() else None


def shared_thresholds(
    columns: Sequence[Column], order: np.ndarray, values: Mapping[str, int], budget: float, draws: int
) -> dict[str, FeatureThreshold]:
    """Thresholds of columns that are shared, for windows that hold `values[name]` of their values."""
    measured, begins, fit, names = shared_draws(columns, order, values, draws)
    judged = [column for column in columns if column.name in names]
    entries = {
        column.name: FeatureThreshold(
            column.method, NOT_JUDGED, MISSING_CEILING, column.category, shared=True, values=values[column.name]
        )
        for column in columns
    }
    if judged:
        scale = np.maximum(np.quantile(measured, SCALE_QUANTILE, axis=0), _pairs(judged, DISTANCE_FLOOR, MISSING_FLOOR))
        largest = np.log(np.maximum((measured / scale).max(axis=1), 1e-6))
        limit, _ = _limit(largest, begins * fit, fit, AIM * budget)
        for i, column in enumerate(judged):
            missing = min(limit * scale[2 * i + 1], MISSING_CEILING)
            entries[column.name] = FeatureThreshold(
                column.method,
                float(limit * scale[2 * i]),
                float(missing),
                column.category,
                shared=True,
                values=values[column.name],
            )
    return entries


def _typical(column: Column, order: np.ndarray, days: np.ndarray | None, block: float) -> int:
    """How many values of the column a block holds."""
    assert days is not None  # noqa: S101 (of a reference with times, for the type checker)
    span = float(days.max() - days.min())
    return max(1, round(len(stretches(column.codes[order])) * min(1.0, block / span)))


def _rowwise(
    columns: Sequence[Column], made: _Draws, window: int, budget: float, seed: int
) -> tuple[dict[str, FeatureThreshold], float]:
    by_chance = np.array([expected_by_chance(c, window, seed) if c.category else 0.0 for c in columns])
    held = float(np.median([len(rows) for rows in made.blocks]))
    if held < window:  # a sample with repetitions is farther from the rest by chance than a window of the same size
        size = max(1, round(held * window / (held + window)))
        drawn_by_chance = np.array([expected_by_chance(c, size, seed) if c.category else 0.0 for c in columns])
    else:
        drawn_by_chance = by_chance

    def measure(column: Column, chance: float) -> tuple[np.ndarray, np.ndarray]:
        distances, missing = drawn_distances(column, column.codes[made.samples], made.blocks, made.which)
        return np.sqrt(np.maximum(0.0, distances**2 - chance**2)) if chance else distances, missing

    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        measured = np.stack([part for both in pool.map(measure, columns, drawn_by_chance) for part in both], axis=1)
    scale = np.maximum(np.quantile(measured, SCALE_QUANTILE, axis=0), _pairs(columns, DISTANCE_FLOOR, MISSING_FLOOR))
    largest = np.log(np.maximum((measured / scale).max(axis=1), 1e-6))
    limit, effective = _limit(largest, made.places, made.fit, AIM * budget)
    entries = {}
    for i, (column, chance) in enumerate(zip(columns, by_chance, strict=True)):
        wanted, missing = float(limit * scale[2 * i]), float(limit * scale[2 * i + 1])
        top = DISTANCE_CEILING[column.method]
        if column.category:
            wanted, top = math.hypot(wanted, chance), ceiling_of(chance)
        entries[column.name] = FeatureThreshold(
            column.method, min(wanted, top), min(missing, MISSING_CEILING), column.category, cut=bool(wanted >= top)
        )
    return entries, effective


def ceiling_of(chance: float) -> float:
    """The highest threshold of a category whose samples are `chance` apart by themselves."""
    return chance + CEILING * (LARGEST - chance)


def _pairs(columns: Sequence[Column], of_distance: Mapping[str, float], of_missing: float) -> np.ndarray:
    return np.array([value for column in columns for value in (of_distance[column.method], of_missing)])


def _timed(days: np.ndarray, block: float, window: int, draws: int, rng: np.random.Generator) -> _Draws:
    starts, fit = _blocks(days, block)
    chosen = np.sort(np.concatenate([rng.permutation(starts) for _ in range(math.ceil(draws / len(starts)))])[:draws])
    distinct, which = np.unique(chosen, return_inverse=True)
    order = np.argsort(days, kind="stable")
    edges = [np.searchsorted(days[order], at - 1e-9, "left") for at in (distinct, distinct + block)]
    blocks = [np.sort(order[first:end]) for first, end in zip(*edges, strict=True)]
    samples = np.stack([rng.choice(blocks[b], window, replace=len(blocks[b]) < window) for b in which])
    return _Draws(samples, blocks, which, (chosen - chosen.min()) / block, fit)


def _untimed(rows: int, window: int, draws: int, rng: np.random.Generator) -> _Draws:
    size = min(window, rows // 4)
    if size < 1:
        raise InvalidInput(f"drift calibration: the reference has {rows} rows, required at least four; give a longer reference")
    per = rows // size
    blocks: list[np.ndarray] = []
    while len(blocks) < UNTIMED_BLOCKS:
        order = rng.permutation(rows)
        blocks += [order[i * size : (i + 1) * size] for i in range(per)]
    which = np.arange(draws) % len(blocks)
    samples = np.stack([rng.choice(blocks[b], window, replace=size < window) for b in which])
    return _Draws(samples, blocks, which, None, per)


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


def _limit(largest: np.ndarray, places: np.ndarray | None, fit: float, budget: float) -> tuple[float, float]:
    """Limit of the largest normed distance and the effective number of blocks. `largest` are logarithms, [draws]; `places` are
    in blocks, None where blocks have no order."""
    from scipy.stats import t as student

    present, dependence = fit, 0.0
    if places is not None:
        index = (places + 1e-9).astype(int)
        means = np.array([largest[index == i].mean() for i in np.unique(index)])
        centred = means - means.mean()
        variance = float(centred @ centred)
        dependence = float(centred[1:] @ centred[:-1]) / variance if variance > 0 else 0.0
        present, dependence = min(fit, len(means)), min(max(dependence, 0.0), 0.95)
    effective = max(3.0, present * (1 - dependence) / (1 + dependence))
    bound = largest.mean() + student.ppf(1 - budget, effective - 1) * largest.std(ddof=1) * math.sqrt(1 + 1 / effective)
    return float(np.exp(max(bound, np.quantile(largest, 1 - budget)))), effective
