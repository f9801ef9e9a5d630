"""The continuous watch over the active release: does live traffic still look like what its model was trained on?

Drift is not harm: it freezes promotions and asks for a retrained model. A fault is for people at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import Evidence, GateResult, Verdict, evaluate_closed
from tidegate.files.release_folder import read_contract
from tidegate.gates.drift_check import check_drift, read_profile
from tidegate.gates.monitor_file import monitor_of
from tidegate.gates.pairing import Outcome, outcome
from tidegate.ports.drift import DriftMeter
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords

ADVICE = {
    "none": "nothing to do",
    "drift": "promotions should be frozen and the model retrained on data that includes these weeks",
    "fault": "an input is broken: find its source, or roll back if a release brought it",
}


@dataclass(frozen=True)
class WatchResult:
    """`freeze` and `retrain` say what the verdict asks for; `week` is the Monday (ISO date) of the vectors' event times."""

    result: GateResult
    week: str
    freeze: bool
    retrain: bool
    advice: str


def watch(
    release: ReleaseManifest, folder: Path, records: InferenceRecords, meter: DriftMeter, since: float = 0.0
) -> list[WatchResult]:
    """The latest window of live vectors of `release` in each week of their event times, oldest week first.

    Tensors that clients sent have no event times: they are looked at with the latest week. A week with fewer vectors than can
    be judged is INCONCLUSIVE; without any traffic the answer is one INCONCLUSIVE.
    """
    live = [r for r in records.records(release.digest, shadow=False, since=since) if outcome(r.status) is Outcome.ANSWERED]
    weeks: dict[str, list[InferenceRecord]] = {}
    for record in live:
        if len(record.event_times):
            weeks.setdefault(week_of(record.event_times), []).append(record)
    sent = [record for record in live if not len(record.event_times) and len(record.features)]
    if sent:
        weeks.setdefault(max(weeks, default=""), []).extend(sent)
    return [_watched(release, folder, week, weeks[week], meter) for week in sorted(weeks)] or [
        _watched(release, folder, "", [], meter)
    ]


def week_of(event_times: np.ndarray) -> str:
    """Monday (ISO date) of the week of the latest of `event_times`: microseconds, stamped with the midnight that ends a day."""
    day = datetime.fromtimestamp(int(event_times.max()) / 1e6, UTC) - timedelta(days=1)
    return (day - timedelta(days=day.weekday())).date().isoformat()


def _watched(
    release: ReleaseManifest, folder: Path, week: str, records: Sequence[InferenceRecord], meter: DriftMeter
) -> WatchResult:
    def evaluate() -> tuple[Verdict, Evidence]:
        profile = read_profile(folder, release)
        rules = monitor_of(folder, release).gates.drift
        return check_drift(release, profile, records, read_contract(folder, release), meter, rules)

    result = evaluate_closed("drift", release.id, evaluate)
    kind = str(result.evidence.numbers.get("kind", "none"))
    failed = result.verdict is Verdict.FAIL
    advice = ADVICE[kind] if result.verdict in (Verdict.PASS, Verdict.FAIL) else result.evidence.summary
    return WatchResult(result, week, freeze=failed, retrain=failed and kind == "drift", advice=advice)
