"""A window of rows measured column by column against a reference, by thresholds that were calibrated on it.

A column that drifted is called a *fault* where no change of the world explains it: the typical value is off by a factor in a
distribution that hardly overlaps (pence instead of pounds), values went missing, or hardly any text is one that the reference
holds. Everything else is *drift*.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.verdict import Finding
from tidegate.gates.columns import reference_values, texts_of
from tidegate.gates.examples import printable
from tidegate.gates.matching import Matched
from tidegate.ports.drift import DriftCheck, DriftMeter, DriftScore
from tidegate.statistics.calibration import (
    DISTANCE_CEILING,
    LARGEST,
    MISSING_CEILING,
    FeatureThreshold,
    Thresholds,
    days_of,
    shared_thresholds,
)
from tidegate.statistics.distances import DISTANCES, comparable, finite, overlap, scale_factor
from tidegate.statistics.drift_columns import column_of
from tidegate.statistics.shared import NOT_JUDGED, in_time, stretches

if TYPE_CHECKING:
    from tidegate.gates.drift_check import DriftRules

UNSEEN = 0.9  # share of live texts that the reference does not hold, from which on they are written otherwise
NAMED_VALUES = 3


@dataclass(frozen=True)
class FeatureDrift:
    """`ratio` is the larger of distance and missing share over its threshold: 1 or more is drift."""

    feature: str
    distance: float | None  # None where one side has no value at all, or the column is not judged by it
    threshold: float
    missing: float  # change of the share of missing values
    missing_threshold: float
    ratio: float
    drifted: bool
    fault: bool
    note: str
    cut: bool = False

    def finding(self) -> Finding:
        by_missing = self.distance is None or abs(self.missing) / self.missing_threshold > self.distance / self.threshold
        observed, limit = (abs(self.missing), self.missing_threshold) if by_missing else (self.distance, self.threshold)
        what = "change of the missing share" if by_missing else "distance"
        return Finding(self.feature, observed, f"{what} below {limit:.4g}", not self.drifted, self.note)


@dataclass(frozen=True)
class _Column:
    """A column of the matched reference and of the window, as they are and as they are compared. A distance as measured is
    in spreads of the matched reference; times `unit` it is in spreads of the whole one, as thresholds are."""

    name: str
    limit: FeatureThreshold
    reference: np.ndarray
    current: np.ndarray
    positions: np.ndarray
    current_positions: np.ndarray
    unit: float = 1.0

    @property
    def comparable(self) -> bool:
        judged = self.limit.threshold < NOT_JUDGED
        return judged and all((~_missing(part)).any() for part in (self.current, self.reference))


def measure(
    reference: pl.DataFrame, thresholds: Thresholds, found: Matched, meter: DriftMeter, rules: DriftRules
) -> list[FeatureDrift]:
    """Every watched column, the most drifted first. Raises InvalidInput for one that one side lacks."""
    limits = thresholds.features
    if not limits:
        raise InvalidInput("drift: the release's thresholds name no feature; build the release again")
    values = {}
    for name, limit in limits.items():
        current = found.window.column(name)
        if current is None or name not in reference.columns:
            raise InvalidInput(
                f"drift: feature '{name}' has a threshold but is missing in the vectors or the reference profile"
            )
        values[name] = reference_values(reference[name], limit.category), _as(current, limit.category)
    apart = [name for name, limit in limits.items() if limit.shared]
    columns = [_rowwise(name, limits[name], *values[name], found) for name in limits if name not in apart]
    columns += _shared(reference, thresholds, {name: values[name] for name in apart}, found, rules)
    usable = [column for column in columns if column.comparable]
    checks = [
        DriftCheck(c.name, c.limit.method, c.limit.threshold / c.unit, c.limit.category)  # as the meter measures
        for c in usable
    ]
    scores = meter.measure({c.name: c.positions for c in usable}, {c.name: c.current_positions for c in usable}, checks)
    for check in checks:
        if not math.isfinite(scores[check.feature].distance):
            raise InvalidInput(f"drift: the distance of feature '{check.feature}' is not a number")
    results = [_result(column, scores.get(column.name), rules) for column in columns]
    return sorted(results, key=lambda result: (-result.ratio, result.feature))


def _as(values: np.ndarray, category: bool) -> np.ndarray:
    return texts_of(values) if category else finite(values)


def _missing(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "O":
        return np.array([value is None for value in values], dtype=bool)
    return np.asarray(~np.isfinite(values))


def _rowwise(name: str, limit: FeatureThreshold, whole: np.ndarray, current: np.ndarray, found: Matched) -> _Column:
    widened = _widened(limit, found.widening)
    if limit.category:
        reference = whole if found.rows is None else whole[found.rows]
        return _Column(name, widened, reference, current, reference, current)
    whole = finite(whole)
    positions = comparable(whole, whole, limit.method)
    reference, unit = whole, 1.0
    if found.rows is not None:
        spread = _spread(positions)
        reference, positions = whole[found.rows], positions[found.rows]
        unit = _spread(positions) / spread if DISTANCES[limit.method].ranked else 1.0
    return _Column(name, widened, reference, current, positions, comparable(whole, current, limit.method), unit)


def _widened(limit: FeatureThreshold, widening: float) -> FeatureThreshold:
    top = 0.98 * LARGEST if limit.category else DISTANCE_CEILING[limit.method]
    return replace(
        limit,
        threshold=min(limit.threshold * widening, max(limit.threshold, top)),
        missing=min(limit.missing * widening, max(limit.missing, MISSING_CEILING)),
        cut=limit.cut or (limit.threshold >= top and not limit.shared),
    )


def _shared(
    reference: pl.DataFrame,
    thresholds: Thresholds,
    values: Mapping[str, tuple[np.ndarray, np.ndarray]],
    found: Matched,
    rules: DriftRules,
) -> list[_Column]:
    """Columns that all keys share at a time, each by its values in time, on thresholds for as many as the window has."""
    days = days_of(reference)
    if not values or days is None:
        return []
    order, live = in_time(days), in_time(found.window.times)
    known = {name: column_of(name, whole) for name, (whole, _) in values.items()}
    current = {name: seen[live][stretches(column_of(name, seen).codes[live])] for name, (_, seen) in values.items()}
    counts = {name: len(seen) for name, seen in current.items()}
    budget = thresholds.budget * len(values) / len(thresholds.features)
    limits = shared_thresholds(list(known.values()), order, counts, budget, rules.draws)
    columns = []
    for name, (whole, _) in values.items():
        past = whole[order][stretches(known[name].codes[order])]
        limit = limits[name]
        before, now = (part if limit.category else comparable(whole, part, limit.method) for part in (past, current[name]))
        columns.append(_Column(name, limit, past, current[name], before, now))
    return columns


def _spread(positions: np.ndarray) -> float:
    """The standard deviation by which Evidently divides a Wasserstein distance."""
    known = positions[np.isfinite(positions)]
    return max(float(known.std()), 0.001) if len(known) else 0.001


def _result(column: _Column, score: DriftScore | None, rules: DriftRules) -> FeatureDrift:
    name, limit, reference, current = column.name, column.limit, column.reference, column.current
    missing = float(_missing(current).mean() - _missing(reference).mean())
    distance = score.distance * column.unit if score else None
    ratio = max(abs(missing) / limit.missing, distance / limit.threshold if distance is not None else 0.0)
    drifted = abs(missing) >= limit.missing or (score is not None and score.drifted)
    about = _about(limit)
    if limit.shared and not drifted and _far_outside(reference, current):
        drifted, ratio, about = True, max(ratio, 1.0), f"{about}; all of them lie far outside the reference"
    sizes = (distance, limit.threshold, missing, limit.missing, ratio)
    if not drifted:
        return FeatureDrift(name, *sizes, False, False, about.strip("; "), limit.cut)
    explain = _of_texts if limit.category else _of_numbers
    fault, note = explain(missing, reference, current, rules)
    return FeatureDrift(name, *sizes, True, fault, note + about, limit.cut)


def _about(limit: FeatureThreshold) -> str:
    if limit.shared:
        few = ", too few of them in the reference to judge them by distance" if limit.threshold >= NOT_JUDGED else ""
        return f"; one value for all keys at a time, {limit.values} in the window{few}"
    return "; threshold cut at its ceiling: blocks of the reference have little in common" if limit.cut else ""


def _far_outside(reference: np.ndarray, current: np.ndarray) -> bool:
    """Whether all values lie beyond the reference's by more than all of its range: no handful is needed to see that."""
    if reference.dtype.kind == "O" or not np.isfinite(reference).any() or not np.isfinite(current).any():
        return False
    low, high = np.nanmin(reference), np.nanmax(reference)
    known, span = current[np.isfinite(current)], max(high - low, 1e-9)
    return bool((known > high + span).all() or (known < low - span).all())


def _gone(missing: float, reference: np.ndarray, current: np.ndarray, rules: DriftRules) -> str:
    if missing < rules.fault_missing:
        return ""
    shares = [f"{_missing(part).mean():.0%}" for part in (current, reference)]
    return f"fault: {shares[0]} of live values are missing, {shares[1]} of the reference's"


def _of_numbers(missing: float, reference: np.ndarray, current: np.ndarray, rules: DriftRules) -> tuple[bool, str]:
    """Whether a drifted column is a fault, and what people read about it."""
    gone = _gone(missing, reference, current, rules)
    if gone:
        return True, gone
    factor, common = scale_factor(reference, current), overlap(reference, current)
    if factor is None:
        return False, f"distributions overlap by {common:.0%}"
    medians = [float(np.median(part[np.isfinite(part) & (part != 0)])) for part in (current, reference)]
    typical = f"typical live value {medians[0]:.4g}, reference {medians[1]:.4g} (x{factor:.3g}), overlap {common:.0%}"
    off = factor >= rules.fault_scale or factor <= 1 / rules.fault_scale
    if off and common < rules.fault_overlap:
        return True, f"fault of unit or scale: {typical}"
    return False, typical


def _of_texts(missing: float, reference: np.ndarray, current: np.ndarray, rules: DriftRules) -> tuple[bool, str]:
    gone = _gone(missing, reference, current, rules)
    if gone:
        return True, gone
    known, live = (Counter(value for value in part if value is not None) for part in (reference, current))
    totals = [max(1, sum(part.values())) for part in (known, live)]
    unseen = sum(count for value, count in live.items() if value not in known) / totals[1]
    apart = {value: live[value] / totals[1] - known[value] / totals[0] for value in {*live, *known}}
    most = sorted(apart, key=lambda value: (-abs(apart[value]), value))[:NAMED_VALUES]
    changes = ", ".join(
        f"'{printable(value, 30)}' {live[value] / totals[1]:.0%} of live values, {known[value] / totals[0]:.0%} before"
        for value in most
    )
    if unseen >= UNSEEN:
        return True, f"fault: {unseen:.0%} of live values are none that the reference holds; {changes}"
    return False, changes + (f"; {unseen:.0%} of live values are none that the reference holds" if unseen else "")


def summary_of(results: Sequence[FeatureDrift], kind: str, what: str, named: int) -> str:
    drifted = [result for result in results if result.drifted]
    if not drifted:
        return f"none of {len(results)} features drifted over {what}, nearest is {results[0].feature} at " + (
            f"{results[0].ratio:.0%} of its threshold"
        )
    first = sorted(drifted, key=lambda result: (not result.fault, -result.ratio))[:named]
    said = "; ".join(f"{r.feature} at {r.ratio:.1f}x its threshold ({r.note})" for r in first)
    more = f"; and {len(drifted) - len(first)} more" if len(drifted) > len(first) else ""
    word = "incompatible with its reference" if kind == "fault" else "drifted"
    return f"{len(drifted)} of {len(results)} features {word} over {what}: {said}{more}"
