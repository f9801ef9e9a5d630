"""One window of vectors against one reference profile: what the drift gate and the watch over the active release share.

A feature that drifted is called a *fault* where no change of the world explains it: the typical value is off by a factor in
a distribution that hardly overlaps (pence instead of pounds), or values went missing. Everything else is *drift*.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.release_folder import REFERENCE, THRESHOLDS, verified_bytes
from tidegate.domain.verdict import Evidence, Finding, Verdict
from tidegate.monitoring.calibration import FeatureThreshold, Thresholds
from tidegate.monitoring.config import DriftRules
from tidegate.monitoring.distances import comparable, finite, overlap, scale_factor
from tidegate.ports.drift import DriftCheck, DriftMeter, DriftScore
from tidegate.ports.inference_records import InferenceRecord

NAMED = 3  # features named in the summary


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
            f"gates.drift.excluded names '{unknown[0]}', which is no feature of the model; it reads {', '.join(sorted(vector))}"
        )
    return [name for name in vector if name not in rules.excluded]


def latest_vectors(records: Sequence[InferenceRecord], window: int) -> np.ndarray:
    """float32 [at most `window`, F]: the latest vectors of `records` (oldest first); [0, 0] when there are none.

    One vector an entity of a request: its others differ in the request's inputs alone (each horizon of a forecast, say), and
    a window that counted them all would be a smaller sample than it claims to be.
    """
    parts: list[np.ndarray] = []
    count = 0
    for record in reversed(records):
        if count >= window:
            break
        if record.features.ndim == 2 and len(record.features):
            parts.append(_one_an_entity(record))
            count += len(parts[-1])
    return np.concatenate(parts[::-1])[-window:] if parts else np.empty((0, 0), dtype=np.float32)


def _one_an_entity(record: InferenceRecord) -> np.ndarray:
    """One row of each entity, chosen by the request's id, so that no horizon is preferred; all rows where none is named."""
    if len(record.entities) != len(record.features):
        return record.features
    order = np.random.default_rng(zlib.crc32(record.id.encode())).permutation(len(record.entities))
    chosen = {record.entities[row]: row for row in order}
    return record.features[sorted(chosen.values())]


def check_drift(
    profile: Profile, vectors: np.ndarray, vector: Sequence[str], meter: DriftMeter, rules: DriftRules
) -> tuple[Verdict, Evidence]:
    """Verdict on float32 [n, F] `vectors` whose columns are `vector`. Fewer than the calibrated window are INCONCLUSIVE."""
    window = profile.thresholds.window
    limits = {"window": window, "false_alarm_budget": profile.thresholds.budget}
    if len(vectors) < window:
        summary = f"{len(vectors)} vectors so far, thresholds are calibrated for {window}"
        return Verdict.INCONCLUSIVE, Evidence(summary, len(vectors), thresholds=limits)
    if vectors.shape[1] != len(vector):
        raise InvalidInput(f"drift: vectors have {vectors.shape[1]} features, the contract has {len(vector)}")
    results = measure(profile, vectors[-window:], vector, meter, rules)
    drifted = [result for result in results if result.drifted]
    kind = "fault" if any(result.fault for result in drifted) else "drift" if drifted else "none"
    numbers: dict[str, float | int | str | None] = {"kind": kind, "drifted": len(drifted), "features": len(results)}
    if results:
        numbers |= {"worst_feature": results[0].feature, "worst_ratio": results[0].ratio}
    findings = tuple(result.finding() for result in results)
    evidence = Evidence(_summary(results, drifted, kind, window), window, numbers, limits, findings)
    return (Verdict.FAIL if drifted else Verdict.PASS), evidence


def measure(
    profile: Profile, vectors: np.ndarray, vector: Sequence[str], meter: DriftMeter, rules: DriftRules
) -> list[FeatureDrift]:
    """Every watched feature, the most drifted first. Raises InvalidInput for a feature that one side lacks."""
    limits = profile.thresholds.features
    if not limits:
        raise InvalidInput("drift: the release's thresholds name no feature; build the release again")
    for name in limits:
        if name not in vector or name not in profile.reference.columns:
            raise InvalidInput(
                f"drift: feature '{name}' has a threshold but is missing in the vectors or the reference profile"
            )
    current = {name: finite(vectors[:, list(vector).index(name)]) for name in limits}
    reference = {name: finite(profile.reference[name].cast(pl.Float64).to_numpy()) for name in limits}
    checks = [
        DriftCheck(name, limit.method, limit.threshold)
        for name, limit in limits.items()
        if np.isfinite(current[name]).any() and np.isfinite(reference[name]).any()
    ]
    scores = meter.measure(
        {c.feature: comparable(reference[c.feature], reference[c.feature], c.method) for c in checks},
        {c.feature: comparable(reference[c.feature], current[c.feature], c.method) for c in checks},
        checks,
    )
    for check in checks:
        if not math.isfinite(scores[check.feature].distance):
            raise InvalidInput(f"drift: the distance of feature '{check.feature}' is not a number")
    results = [_result(name, limits[name], scores.get(name), reference[name], current[name], rules) for name in limits]
    return sorted(results, key=lambda result: (-result.ratio, result.feature))


def _result(
    name: str, limit: FeatureThreshold, score: DriftScore | None, reference: np.ndarray, current: np.ndarray, rules: DriftRules
) -> FeatureDrift:
    missing = float(np.isnan(current).mean() - np.isnan(reference).mean())
    distance = score.distance if score else None
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


def _summary(results: Sequence[FeatureDrift], drifted: Sequence[FeatureDrift], kind: str, window: int) -> str:
    if not drifted:
        return f"none of {len(results)} features drifted over {window} vectors, nearest is {results[0].feature} at " + (
            f"{results[0].ratio:.0%} of its threshold"
        )
    first = sorted(drifted, key=lambda result: (not result.fault, -result.ratio))[:NAMED]
    named = "; ".join(f"{r.feature} at {r.ratio:.1f}x its threshold ({r.note})" for r in first)
    more = f"; and {len(drifted) - len(first)} more" if len(drifted) > len(first) else ""
    word = "incompatible with its reference" if kind == "fault" else "drifted"
    return f"{len(drifted)} of {len(results)} features {word} over {window} vectors: {named}{more}"
