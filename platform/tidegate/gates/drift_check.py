"""One window of vectors against one reference profile: what the drift gate and the watch over the active release share.

A feature that drifted is called a *fault* where no change of the world explains it: the typical value is off by a factor in
a distribution that hardly overlaps (pence instead of pounds), or values went missing. Everything else is *drift*.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.rules import between, reasons, share
from tidegate.domain.verdict import Evidence, Finding, Number, Verdict
from tidegate.files.release_folder import REFERENCE, THRESHOLDS, verified_bytes
from tidegate.gates.matching import UNKNOWN_SHARE, Matched, ReferenceKeys
from tidegate.gates.window import Traffic, Window, keyed_window, sent_window
from tidegate.ports.drift import DriftCheck, DriftMeter, DriftScore
from tidegate.statistics.calibration import DISTANCE_CEILING, MISSING_CEILING, FeatureThreshold, Thresholds, calibrate
from tidegate.statistics.distances import WASSERSTEIN, comparable, finite, overlap, scale_factor

NAMED = 3  # features named in the summary
SMALLEST = 30  # vectors that are judged at all, where the reference has so many keys
ALL_KEYS = 0.9  # of the reference's: a window that has them has seen the world
PATIENCE = 4  # windows' worth of rows that are waited for more keys
# of windows that are judged before they are full
SIZES = (10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600)
TYPED_SHARE = 100  # times as many rows of tensors as of looked-up vectors: a release that gets nothing else
REMEMBERED = 32
_calibrated: dict[tuple[str, int], Thresholds] = {}


@dataclass(frozen=True)
class DriftRules:
    """`excluded` names features that say nothing about the world, each with the reason."""

    window: int = between(30, default=500)
    false_alarm_budget: float = between(0.001, 0.5, 0.05)
    block_days: float = between(0.01, default=1.0)
    draws: int = between(50, default=400)
    fault_scale: float = between(1.5, default=8.0)
    fault_overlap: float = share(0.5)
    fault_missing: float = share(0.5)
    excluded: Mapping[str, str] = reasons("FEATURE")
    min_tensor_requests: int = between(1, default=50)


@dataclass(frozen=True)
class Profile:
    """What a release knows of its own data: reference vectors and thresholds calibrated on them."""

    reference: pl.DataFrame
    thresholds: Thresholds


@dataclass(frozen=True)
class FeatureDrift:
    """`ratio` is the larger of distance and missing share over its threshold: 1 or more is drift."""

    feature: str
    distance: float | None  # None where one side has no value at all
    threshold: float
    missing: float  # change of the share of missing values
    missing_threshold: float
    ratio: float
    drifted: bool
    fault: bool
    note: str

    def finding(self) -> Finding:
        by_missing = self.distance is None or abs(self.missing) / self.missing_threshold > self.distance / self.threshold
        observed, limit = (abs(self.missing), self.missing_threshold) if by_missing else (self.distance, self.threshold)
        what = "change of the missing share" if by_missing else "distance"
        return Finding(self.feature, observed, f"{what} below {limit:.4g}", not self.drifted, self.note)


def read_profile(folder: Path, manifest: ReleaseManifest) -> Profile:
    """The profile of the release in `folder`, digests verified."""
    reference = pl.read_parquet(io.BytesIO(verified_bytes(folder, manifest, REFERENCE)))
    thresholds = Thresholds.from_bytes(verified_bytes(folder, manifest, THRESHOLDS), f"release {manifest.id}")
    return Profile(reference, thresholds)


def watched(vector: Sequence[str], rules: DriftRules) -> list[str]:
    """The features to calibrate and watch: the vector's without those the rules exclude by name and reason."""
    unknown = sorted(set(rules.excluded) - set(vector))
    if unknown:
        raise InvalidInput(
            f"the drift rules exclude '{unknown[0]}', which is no feature of the model; it reads {', '.join(sorted(vector))}"
        )
    return [name for name in vector if name not in rules.excluded]


def check_drift(
    manifest: ReleaseManifest,
    profile: Profile,
    traffic: Traffic,
    contract: FeatureContract,
    meter: DriftMeter,
    rules: DriftRules,
) -> tuple[Verdict, Evidence]:
    """Verdict on what the latest of `traffic` says of the world. Fewer vectors than can be judged are INCONCLUSIVE.

    Vectors that clients sent as tensors are their own choice: they are measured and said, and decide only for a release that
    gets (almost) nothing else.
    """
    width, size = len(contract.vector), profile.thresholds.window
    known, keyed = reference_keys(profile.reference, contract.entity), keyed_window(traffic.keyed(), size, width)
    unknown = known.unknown(keyed) if known else 0
    if unknown > UNKNOWN_SHARE * len(keyed.keys):
        known = None  # a sample of so many keys that the window's are hardly among them: all is compared with all
    elif unknown:
        keyed = keyed_window(traffic.keyed(), size, width, known)
    sent = sent_window(traffic.sent(), size, width, rules.min_tensor_requests)
    tensors = sent if len(sent.vectors) >= size and sent.requests >= rules.min_tensor_requests else None
    limits = {"window": size, "false_alarm_budget": profile.thresholds.budget}
    judged = judged_size(keyed, size, len(known) if known else None)
    if judged is None and not (tensors and keyed.rows * TYPED_SHARE < sent.rows):
        summary = f"{len(keyed.vectors)} distinct vectors in {keyed.rows} rows so far, thresholds are calibrated for {size}"
        if sent.rows:
            summary += f"; {len(sent.vectors)} of tensors that clients sent, in {sent.requests} requests"
        return Verdict.INCONCLUSIVE, Evidence(summary, len(keyed.vectors), thresholds=limits)
    if judged is None and tensors:
        results = measure(profile, profile.thresholds, Matched(tensors), contract.vector, meter, rules)
        return _verdict(results, tensors, limits)
    thresholds = profile.thresholds if judged == size else calibrated(manifest, profile, judged or size, rules)
    window = keyed.latest(judged or size)
    found = known.match(window, zlib.crc32(manifest.digest.encode())) if known else Matched(window)
    results = measure(profile, thresholds, found, contract.vector, meter, rules)
    verdict, evidence = _verdict(results, window, limits, unknown if known else 0)
    return verdict, _with_tensors(evidence, profile, tensors, contract, meter, rules)


def judged_size(window: Window, size: int, keys: int | None) -> int | None:
    """How many of the window's vectors are judged; None while more are to be waited for. `keys` is how many the reference has.

    Traffic that asks for few keys again and again never fills a window: it is judged by what it has, on thresholds for so many.
    """
    found = len(window.vectors)
    if found >= size:
        return size
    smallest = SMALLEST if keys is None else min(SMALLEST, keys)
    patience = 1 if keys is not None and found >= ALL_KEYS * keys else PATIENCE
    if found < max(1, smallest) or window.rows < patience * size:
        return None
    return max(step for step in (1, *SIZES, smallest) if step <= found)


def reference_keys(reference: pl.DataFrame, entity: str) -> ReferenceKeys | None:
    """The keys of the reference's rows; None for one that keeps none."""
    if entity not in reference.columns:
        return None
    return ReferenceKeys(reference[entity].cast(pl.String).to_numpy())


def calibrated(manifest: ReleaseManifest, profile: Profile, size: int, rules: DriftRules) -> Thresholds:
    """Thresholds for a window of `size`, from the release's own reference; remembered, because they take seconds."""
    key = (manifest.digest, size)
    if key not in _calibrated:
        while len(_calibrated) >= REMEMBERED:
            _calibrated.pop(next(iter(_calibrated)))
        had = profile.thresholds
        _calibrated[key] = calibrate(
            profile.reference, list(had.features), size, had.block_days, had.budget, had.seed, rules.draws
        )
    return _calibrated[key]


def _verdict(
    results: Sequence[FeatureDrift], window: Window, limits: Mapping[str, Number], unknown: int = 0
) -> tuple[Verdict, Evidence]:
    drifted = [result for result in results if result.drifted]
    kind = "fault" if any(result.fault for result in drifted) else "drift" if drifted else "none"
    n = len(window.vectors)
    numbers: dict[str, Number | str | None] = {"kind": kind, "drifted": len(drifted), "features": len(results)}
    numbers |= {"worst_feature": results[0].feature, "worst_ratio": results[0].ratio}
    numbers |= {"vectors": n, "rows": window.rows, "requests": window.requests, "unknown_keys": unknown}
    what = f"{n} vectors" if window.keys else f"{n} vectors that clients sent"
    summary = _summary(results, drifted, kind, what)
    if unknown:
        summary += f"; {unknown} others have keys that the reference does not hold"
    findings = tuple(result.finding() for result in results)
    return (Verdict.FAIL if drifted else Verdict.PASS), Evidence(summary, n, numbers, limits, findings)


def _with_tensors(
    evidence: Evidence,
    profile: Profile,
    tensors: Window | None,
    contract: FeatureContract,
    meter: DriftMeter,
    rules: DriftRules,
) -> Evidence:
    if tensors is None:
        return evidence
    found = Matched(tensors)
    _, beside = _verdict(measure(profile, profile.thresholds, found, contract.vector, meter, rules), tensors, {})
    numbers = {**evidence.numbers, "tensors_drifted": beside.numbers["drifted"], "tensors_kind": beside.numbers["kind"]}
    return replace(evidence, summary=f"{evidence.summary}; not judged: {beside.summary}", numbers=numbers)


def measure(
    profile: Profile, thresholds: Thresholds, found: Matched, vector: Sequence[str], meter: DriftMeter, rules: DriftRules
) -> list[FeatureDrift]:
    """Every watched feature, the most drifted first. Raises InvalidInput for a feature that one side lacks."""
    limits = thresholds.features
    if not limits:
        raise InvalidInput("drift: the release's thresholds name no feature; build the release again")
    for name in limits:
        if name not in vector or name not in profile.reference.columns:
            raise InvalidInput(
                f"drift: feature '{name}' has a threshold but is missing in the vectors or the reference profile"
            )
    columns = [_column(name, limit, profile, found, vector) for name, limit in limits.items()]
    usable = [column for column in columns if np.isfinite(column.current).any() and np.isfinite(column.reference).any()]
    checks = [DriftCheck(column.name, column.limit.method, column.limit.threshold / column.unit) for column in usable]
    scores = meter.measure({c.name: c.positions for c in usable}, {c.name: c.current_positions for c in usable}, checks)
    for check in checks:
        if not math.isfinite(scores[check.feature].distance):
            raise InvalidInput(f"drift: the distance of feature '{check.feature}' is not a number")
    results = [_result(column, scores.get(column.name), rules) for column in columns]
    return sorted(results, key=lambda result: (-result.ratio, result.feature))


@dataclass(frozen=True)
class _Column:
    """A feature of the matched reference and of the window, as they are and as they are compared. A distance as measured is
    in spreads of the matched reference; times `unit` it is in spreads of the whole one, as thresholds are."""

    name: str
    limit: FeatureThreshold
    reference: np.ndarray
    current: np.ndarray
    positions: np.ndarray
    current_positions: np.ndarray
    unit: float


def _column(name: str, limit: FeatureThreshold, profile: Profile, found: Matched, vector: Sequence[str]) -> _Column:
    whole = finite(profile.reference[name].cast(pl.Float64).to_numpy())
    current = finite(found.window.vectors[:, list(vector).index(name)])
    positions = comparable(whole, whole, limit.method)
    unit = 1.0
    reference = whole
    if found.rows is not None:
        spread = _spread(positions)
        reference, positions = whole[found.rows], positions[found.rows]
        unit = _spread(positions) / spread if limit.method == WASSERSTEIN else 1.0
    wide = FeatureThreshold(
        limit.method,
        min(limit.threshold * found.widening, max(limit.threshold, DISTANCE_CEILING[limit.method])),
        min(limit.missing * found.widening, max(limit.missing, MISSING_CEILING)),
    )
    return _Column(name, wide, reference, current, positions, comparable(whole, current, limit.method), unit)


def _spread(positions: np.ndarray) -> float:
    """The standard deviation by which Evidently divides a Wasserstein distance."""
    known = positions[np.isfinite(positions)]
    return max(float(known.std()), 0.001) if len(known) else 0.001


def _result(column: _Column, score: DriftScore | None, rules: DriftRules) -> FeatureDrift:
    name, limit, reference, current = column.name, column.limit, column.reference, column.current
    missing = float(np.isnan(current).mean() - np.isnan(reference).mean())
    distance = score.distance * column.unit if score else None
    ratio = max(abs(missing) / limit.missing, distance / limit.threshold if distance is not None else 0.0)
    drifted = abs(missing) >= limit.missing or (score is not None and score.drifted)
    if not drifted:
        return FeatureDrift(name, distance, limit.threshold, missing, limit.missing, ratio, False, False, "")
    fault, note = _explanation(missing, reference, current, rules)
    return FeatureDrift(name, distance, limit.threshold, missing, limit.missing, ratio, True, fault, note)


def _explanation(missing: float, reference: np.ndarray, current: np.ndarray, rules: DriftRules) -> tuple[bool, str]:
    """Whether a drifted feature is a fault, and what people read about it."""
    if missing >= rules.fault_missing:
        shares = (
            f"{np.isnan(current).mean():.0%} of live values are missing, {np.isnan(reference).mean():.0%} of the reference's"
        )
        return True, f"fault: {shares}"
    factor, common = scale_factor(reference, current), overlap(reference, current)
    if factor is None:
        return False, f"distributions overlap by {common:.0%}"
    medians = [float(np.median(part[np.isfinite(part) & (part != 0)])) for part in (current, reference)]
    typical = f"typical live value {medians[0]:.4g}, reference {medians[1]:.4g} (x{factor:.3g}), overlap {common:.0%}"
    off = factor >= rules.fault_scale or factor <= 1 / rules.fault_scale
    if off and common < rules.fault_overlap:
        return True, f"fault of unit or scale: {typical}"
    return False, typical


def _summary(results: Sequence[FeatureDrift], drifted: Sequence[FeatureDrift], kind: str, what: str) -> str:
    if not drifted:
        return f"none of {len(results)} features drifted over {what}, nearest is {results[0].feature} at " + (
            f"{results[0].ratio:.0%} of its threshold"
        )
    first = sorted(drifted, key=lambda result: (not result.fault, -result.ratio))[:NAMED]
    named = "; ".join(f"{r.feature} at {r.ratio:.1f}x its threshold ({r.note})" for r in first)
    more = f"; and {len(drifted) - len(first)} more" if len(drifted) > len(first) else ""
    word = "incompatible with its reference" if kind == "fault" else "drifted"
    return f"{len(drifted)} of {len(results)} features {word} over {what}: {named}{more}"
