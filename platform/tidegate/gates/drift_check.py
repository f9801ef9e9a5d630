"""One window of rows against one reference profile: what the drift gate and the watch over the active release share.

Columns are measured one by one (`gates.measured`). Whose rows they are is settled here: rows that were looked up are compared
with the reference's rows of the same keys, rows that clients sent are their own choice unless the model stores no features.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import did_you_mean
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.rules import between, reasons, share
from tidegate.domain.verdict import Evidence, Finding, Number, Verdict
from tidegate.files.release_folder import REFERENCE, THRESHOLDS, verified_bytes
from tidegate.gates.columns import Columns, reference_values
from tidegate.gates.free_text import PARTS, with_parts
from tidegate.gates.matching import UNKNOWN_SHARE, Matched, ReferenceKeys
from tidegate.gates.measured import FeatureDrift, measure, summary_of
from tidegate.gates.reference import entities_in
from tidegate.gates.window import Extract, Traffic, Window, keyed_window, often_alike, sent_window
from tidegate.ports.drift import DriftMeter
from tidegate.ports.inference_records import InferenceRecord
from tidegate.statistics.calibration import Thresholds, calibrate, days_of

NAMED = 3  # features named in the summary
SMALLEST = 30  # vectors that are judged at all, where the reference has so many keys
ALL_KEYS = 0.9  # of the reference's: a window that has them has seen the world
PATIENCE = 4  # windows' worth of rows that are waited for more keys
# of windows that are judged before they are full
SIZES = (10, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600)
TYPED_SHARE = 100  # times as many rows of tensors as of looked-up vectors: a release that gets nothing else
A_YEAR = 350  # days, from which on a reference has every season
REMEMBERED = 32
MOST_LACKING = 1000  # records that are looked through for one that could not be judged
_calibrated: dict[tuple[str, int], Thresholds] = {}


@dataclass(frozen=True)
class DriftRules:
    """`excluded` names columns that say nothing about the world, each with the reason; `categorical` numbers that are names."""

    window: int = between(30, default=500)
    false_alarm_budget: float = between(0.001, 0.5, 0.05)
    block_days: float = between(0.01, default=1.0)
    draws: int = between(50, default=400)
    fault_scale: float = between(1.5, default=8.0)
    fault_overlap: float = share(0.5)
    fault_missing: float = share(0.5)
    excluded: Mapping[str, str] = reasons("FEATURE")
    categorical: tuple[str, ...] = ()
    min_tensor_requests: int = between(1, default=50)


@dataclass(frozen=True)
class Profile:
    """What a release knows of its own data: reference rows, in the columns that are judged, and thresholds for them."""

    reference: pl.DataFrame
    thresholds: Thresholds


@dataclass(frozen=True)
class _Judge:
    """One release's profile, with all that a window of it is measured by."""

    manifest: ReleaseManifest
    profile: Profile
    columns: Columns
    meter: DriftMeter
    rules: DriftRules

    @property
    def size(self) -> int:
        return self.profile.thresholds.window

    def measured(self, thresholds: Thresholds, found: Matched) -> list[FeatureDrift]:
        return measure(self.profile.reference, thresholds, found, self.meter, self.rules)

    def extract(self, names: Collection[str]) -> Extract:
        """The columns of a record that has all of `names`; one that has not is not looked at."""
        wanted = set(names)

        def of(record: object) -> Mapping[str, object]:
            made = with_parts(self.columns.of_record(record), wanted)  # type: ignore[arg-type]
            return made if wanted <= made.keys() else {}

        return of  # type: ignore[return-value]


def read_reference(folder: Path, manifest: ReleaseManifest) -> pl.DataFrame:
    """The reference of the release in `folder`, digest verified, as it was written."""
    return pl.read_parquet(io.BytesIO(verified_bytes(folder, manifest, REFERENCE)))


def read_thresholds(folder: Path, manifest: ReleaseManifest) -> Thresholds:
    return Thresholds.from_bytes(verified_bytes(folder, manifest, THRESHOLDS), f"release {manifest.id}")


def read_profile(folder: Path, manifest: ReleaseManifest, columns: Columns | None = None) -> Profile:
    """The profile of the release in `folder`, digests verified; with `columns`, as these judge it."""
    reference, thresholds = read_reference(folder, manifest), read_thresholds(folder, manifest)
    if columns is not None:
        unread = set(columns.contract.vector) - columns.contract.read  # no record has them; older releases have limits for them
        limits = {name: limit for name, limit in thresholds.features.items() if name not in unread}
        thresholds = replace(thresholds, features=limits)
        outputs = {_whole(name) for name in thresholds.features} - set(columns.contract.vector)
        reference = columns.of_reference(reference, outputs, f"release {manifest.id}", thresholds.features)
    return Profile(reference, thresholds)


def watched(names: Sequence[str], rules: DriftRules, also: Collection[str] = ()) -> list[str]:
    """The columns to calibrate and watch: all without those that the rules exclude by name (or by that of the whole input or
    output) and reason. `also` are known, though a reference need not have them."""
    known = {*names, *(_whole(name) for name in names), *also}
    for what, asked in (("exclude", rules.excluded), ("call categorical", rules.categorical)):
        unknown = sorted(set(asked) - known)
        if unknown:
            raise InvalidInput(
                f"the drift rules {what} '{unknown[0]}', which is no feature of the model; {did_you_mean(unknown[0], names)}"
            )
    return [name for name in names if name not in rules.excluded and _whole(name) not in rules.excluded]


def _whole(name: str) -> str:
    """The input or output that a column is of."""
    for end in (".mean", ".spread", ".norm", *PARTS):
        name = name.removesuffix(end)
    return name.partition("[")[0]


def check_drift(
    manifest: ReleaseManifest, profile: Profile, traffic: Traffic, columns: Columns, meter: DriftMeter, rules: DriftRules
) -> tuple[Verdict, Evidence]:
    """Verdict on what the latest of `traffic` says of the world. Fewer rows than can be judged are INCONCLUSIVE.

    Rows that clients sent as tensors are their own choice: they are measured and said, and decide only for a release that
    gets (almost) nothing else, or whose model stores no features.
    """
    judge = _Judge(manifest, profile, columns, meter, rules)
    verdict, evidence = _of_keys(judge, traffic) if columns.contract.stored else _of_requests(judge, traffic)
    return verdict, _with_period(verdict, evidence, profile.reference)


def _of_requests(judge: _Judge, traffic: Traffic) -> tuple[Verdict, Evidence]:
    """Of a model whose inputs all come with the request: its traffic is its world."""
    size, names = judge.size, list(judge.profile.thresholds.features)
    rows = zip(*(_identities(judge.profile, name) for name in names), strict=True)
    most = pl.Series([hash(row) for row in rows]).value_counts()["count"].max()
    alike = often_alike(int(most) if isinstance(most, int) else 1, len(judge.profile.reference), size)
    window = sent_window(traffic.sent(), size, judge.extract(names), judge.rules.min_tensor_requests, alike)
    judged = judged_size(window, size, None)
    if judged is None:
        said = f"{len(window)} rows of {window.requests} requests so far"
        return _open(said, judge, len(window), _lacking(judge, window, traffic.sent(), names))
    thresholds = judge.profile.thresholds if judged == size else calibrated(judge.manifest, judge.profile, judged, judge.rules)
    window = window.latest(judged)
    return _verdict(judge.measured(thresholds, Matched(window)), window, _limits(judge), what="rows")


def _identities(profile: Profile, name: str) -> list[object]:
    values = reference_values(profile.reference[name], profile.thresholds.features[name].category).tolist()
    return [None if value != value else value for value in values]  # a missing number is equal to another


def _of_keys(judge: _Judge, traffic: Traffic) -> tuple[Verdict, Evidence]:
    profile, size, names = judge.profile, judge.size, list(judge.profile.thresholds.features)
    extract, key = judge.extract(names), judge.columns.contract.key
    known, keyed = reference_keys(profile.reference, judge.columns), keyed_window(traffic.keyed(), size, extract)
    unknown = known.unknown(keyed) if known else 0
    if unknown > UNKNOWN_SHARE * len(keyed.keys):
        known = None  # a sample of so many keys that the window's are hardly among them: all is compared with all
    elif unknown:
        keyed = keyed_window(traffic.keyed(), size, extract, known)
    sent = sent_window(traffic.sent(), size, judge.extract(_sent_names(judge)), judge.rules.min_tensor_requests)
    tensors = sent if len(sent) >= size and sent.requests >= judge.rules.min_tensor_requests else None
    limits = _limits(judge)
    judged = judged_size(keyed, size, len(known) if known else None)
    if judged is None and not (tensors and keyed.rows * TYPED_SHARE < sent.rows):
        said = f"{len(keyed)} distinct vectors in {keyed.rows} rows so far"
        sent_too = f"; {len(sent)} of tensors that clients sent, in {sent.requests} requests" if sent.rows else ""
        return _open(said, judge, len(keyed), sent_too + _lacking(judge, keyed, traffic.keyed(), names))
    if judged is None and tensors:
        return _verdict(judge.measured(_sent_thresholds(judge), Matched(tensors)), tensors, limits)
    thresholds = profile.thresholds if judged == size else calibrated(judge.manifest, profile, judged or size, judge.rules)
    window = keyed.latest(judged or size)
    found = known.match(window, zlib.crc32(judge.manifest.digest.encode())) if known and key else Matched(window)
    verdict, evidence = _verdict(judge.measured(thresholds, found), window, limits, unknown if known else 0)
    return verdict, _with_tensors(evidence, judge, tensors)


def _sent_names(judge: _Judge) -> list[str]:
    """Columns that tensors of clients' own have: a request's other inputs are not among them."""
    contract = judge.columns.contract
    aside = set(contract.request) - set(contract.vector) - {tensor.name for tensor in contract.asked}
    return [name for name in judge.profile.thresholds.features if name not in aside]


def _sent_thresholds(judge: _Judge) -> Thresholds:
    had, names = judge.profile.thresholds, set(_sent_names(judge))
    return replace(had, features={name: limit for name, limit in had.features.items() if name in names})


def _limits(judge: _Judge) -> dict[str, Number]:
    return {"window": judge.size, "false_alarm_budget": judge.profile.thresholds.budget}


def _lacking(judge: _Judge, window: Window, records: Iterable[InferenceRecord], names: Collection[str]) -> str:
    """What the requests that could not be looked at are without."""
    for record in islice(records, window.lacking and MOST_LACKING):
        if without := sorted(set(names) - with_parts(judge.columns.of_record(record), names).keys()):
            more = f" and {len(without) - 1} others" if len(without) > 1 else ""
            return f"; {window.lacking} requests cannot be judged, the latest has no column '{without[0]}'{more}"
    return ""


def _open(said: str, judge: _Judge, found: int, more: str = "") -> tuple[Verdict, Evidence]:
    summary = f"{said}, thresholds are calibrated for {judge.size}{more}"
    return Verdict.INCONCLUSIVE, Evidence(summary, found, thresholds=_limits(judge))


def judged_size(window: Window, size: int, keys: int | None) -> int | None:
    """How many of the window's vectors are judged; None while more are to be waited for. `keys` is how many the reference has.

    Traffic that asks for few keys again and again never fills a window: it is judged by what it has, on thresholds for so many.
    """
    found = len(window)
    if found >= size:
        return size
    smallest = SMALLEST if keys is None else min(SMALLEST, keys)
    patience = 1 if keys is not None and found >= ALL_KEYS * keys else PATIENCE
    if found < max(1, smallest) or window.rows < patience * size:
        return None
    return max(step for step in (1, *SIZES, smallest) if step <= found)


def reference_keys(reference: pl.DataFrame, columns: Columns) -> ReferenceKeys | None:
    """The keys of the reference's rows; None for one that keeps none."""
    entities = entities_in(reference, columns.contract)
    return None if entities is None else ReferenceKeys(np.array(entities, dtype=object))


def calibrated(manifest: ReleaseManifest, profile: Profile, size: int, rules: DriftRules) -> Thresholds:
    """Thresholds for a window of `size`, from the release's own reference; remembered, because they take seconds."""
    key = (manifest.digest, size)
    if key not in _calibrated:
        while len(_calibrated) >= REMEMBERED:
            _calibrated.pop(next(iter(_calibrated)))
        had = profile.thresholds
        names = [name for name, limit in had.features.items() if limit.category]
        _calibrated[key] = calibrate(
            profile.reference, list(had.features), size, had.block_days or 1.0, had.budget, had.seed, rules.draws, names
        )
    return _calibrated[key]


def _verdict(
    results: Sequence[FeatureDrift], window: Window, limits: Mapping[str, Number], unknown: int = 0, what: str = "vectors"
) -> tuple[Verdict, Evidence]:
    drifted = [result for result in results if result.drifted]
    kind = "fault" if any(result.fault for result in drifted) else "drift" if drifted else "none"
    n, cut = len(window), [result.feature for result in results if result.cut]
    numbers: dict[str, Number | str | None] = {"kind": kind, "drifted": len(drifted), "features": len(results)}
    numbers |= {"worst_feature": results[0].feature, "worst_ratio": results[0].ratio}
    numbers |= {"vectors": n, "rows": window.rows, "requests": window.requests, "unknown_keys": unknown}
    numbers |= {"cut_thresholds": len(cut)} if cut else {}
    over = f"{n} {what}" if window.keys or what != "vectors" else f"{n} vectors that clients sent"
    summary = summary_of(results, kind, over, NAMED)
    if unknown:
        summary += f"; {unknown} others have keys that the reference does not hold"
    if cut:
        summary += f"; {len(cut)} thresholds are cut at their ceiling ({', '.join(sorted(cut)[:NAMED])})"
    findings = tuple(result.finding() for result in results)
    return (Verdict.FAIL if drifted else Verdict.PASS), Evidence(summary, n, numbers, limits, findings)


def _with_tensors(evidence: Evidence, judge: _Judge, tensors: Window | None) -> Evidence:
    if tensors is None:
        return evidence
    _, beside = _verdict(judge.measured(_sent_thresholds(judge), Matched(tensors)), tensors, {})
    numbers = {**evidence.numbers, "tensors_drifted": beside.numbers["drifted"], "tensors_kind": beside.numbers["kind"]}
    return replace(evidence, summary=f"{evidence.summary}; not judged: {beside.summary}", numbers=numbers)


def _with_period(verdict: Verdict, evidence: Evidence, reference: pl.DataFrame) -> Evidence:
    """With the time that the reference spans: what it does not hold, such as a season, is drift by definition."""
    days = days_of(reference)
    if days is None or not evidence.findings:
        return evidence
    first, last = (datetime.fromtimestamp(float(day) * 86_400, UTC).date().isoformat() for day in (days.min(), days.max()))
    span = float(days.max() - days.min())
    note = f"from {first} to {last}"
    if span < A_YEAR:
        note += ", which is not a year: a season that it does not hold is drift"
    finding = Finding("reference period", span, "days, said", True, note)
    said = f"; the reference is {note}" if verdict is Verdict.FAIL and span < A_YEAR else ""
    return replace(evidence, summary=evidence.summary + said, findings=(*evidence.findings, finding))
