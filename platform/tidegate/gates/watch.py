"""The continuous watch over the active release: does live traffic still look like what its model was trained on?

Drift is not harm: it freezes promotions and asks for a retrained model. A fault is for people at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import Evidence, GateResult, Verdict, evaluate_closed
from tidegate.files.release_folder import read_contract
from tidegate.gates.drift_check import check_drift, read_profile
from tidegate.gates.monitor_file import monitor_of
from tidegate.gates.pairing import Outcome, outcome
from tidegate.gates.window import Traffic
from tidegate.ports.drift import DriftMeter
from tidegate.ports.inference_records import InferenceRecords, Selection

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
    be judged is INCONCLUSIVE; without any traffic the answer is one INCONCLUSIVE. Of each week, the latest is read and no more.
    """
    live = Selection(release.digest, shadow=False, since=since)
    mondays = sorted({monday_of(day) for day in records.days(live)})
    weeks = [replace(live, days=(monday + 1, monday + 8)) for monday in mondays]  # stamped with the midnight that ends a day
    weeks = [week for week in weeks if _answered(records, week)]
    sent = replace(live, timed=False, vectors="sent")
    chosen = [(_name(week), Traffic.of(records, week)) for week in weeks]
    if _answered(records, sent):
        latest = Traffic.of(records, sent, *weeks[-1:])
        chosen = [*chosen[:-1], (_name(weeks[-1]) if weeks else "", latest)]
    return [_watched(release, folder, week, traffic, meter) for week, traffic in chosen] or [
        _watched(release, folder, "", Traffic.of(records), meter)
    ]


def monday_of(day: int) -> int:
    """The Monday of the week of event times of `day`, which are stamped with the midnight that ends one; both in days since the
    epoch, a Thursday."""
    return (day - 1 + 3) // 7 * 7 - 3


def _name(week: Selection) -> str:
    """ISO date of the Monday."""
    first, _ = week.days or (1, 8)
    return (date(1970, 1, 1) + timedelta(days=first - 1)).isoformat()


def _answered(records: InferenceRecords, selection: Selection) -> bool:
    found = records.read(selection, newest_first=True)
    return any(outcome(record.status) is Outcome.ANSWERED for record in found)


def _watched(release: ReleaseManifest, folder: Path, week: str, traffic: Traffic, meter: DriftMeter) -> WatchResult:
    def evaluate() -> tuple[Verdict, Evidence]:
        profile = read_profile(folder, release)
        rules = monitor_of(folder, release).rules_of("drift")
        return check_drift(release, profile, traffic, read_contract(folder, release), meter, rules)

    result = evaluate_closed("drift", release.id, evaluate)
    kind = str(result.evidence.numbers.get("kind", "none"))
    failed = result.verdict is Verdict.FAIL
    advice = ADVICE[kind] if result.verdict in (Verdict.PASS, Verdict.FAIL) else result.evidence.summary
    return WatchResult(result, week, freeze=failed, retrain=failed and kind == "drift", advice=advice)
