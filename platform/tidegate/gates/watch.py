"""The continuous watch over the active release: does live traffic still look like what its model was trained on?

Drift is not harm: it freezes promotions and asks for a retrained model. A fault is for people at once.

Traffic is looked at in windows of `watch.every` (of the release's monitor file; a week unless it says otherwise): of event
time where rows have one, of arrival where there is none. Windows begin at whole multiples from a Monday on, and an event time
belongs to the window that ends with it, for it stamps what was known by then. A window that a later one follows is judged once
and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import Evidence, GateResult, Verdict, evaluate_closed, from_json, to_json
from tidegate.gates.columns import Columns
from tidegate.gates.drift_check import check_drift, read_profile
from tidegate.gates.judged import WEEK
from tidegate.gates.monitor_file import monitor_of
from tidegate.gates.pairing import Outcome, outcome
from tidegate.gates.window import Traffic
from tidegate.ports.drift import DriftMeter
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, Selection

ADVICE = {
    "none": "nothing to do",
    "drift": "promotions should be frozen and the model retrained on data that includes these windows",
    "fault": "an input is broken: find its source, or roll back if a release brought it",
}
MONDAY = -3 * 86_400  # seconds since the epoch, a Thursday
LOOKED_BACK = 60  # windows, the latest ones
WATCHED = "drift"  # the kind whose rules the watch goes by
Memory = MutableMapping[str, Any]


@dataclass(frozen=True)
class WatchResult:
    """`freeze` and `retrain` say what the verdict asks for; `window` is when the window begins: an ISO date, or a date and time
    in UTC, empty where there is no traffic."""

    result: GateResult
    window: str
    freeze: bool
    retrain: bool
    advice: str


@dataclass(frozen=True)
class _Span:
    """A window of traffic, from `start` on, in seconds since the epoch."""

    start: int
    traffic: Traffic


def watch(
    release: ReleaseManifest,
    folder: Path,
    records: InferenceRecords,
    meter: DriftMeter,
    since: float = 0.0,
    memory: Memory | None = None,
    admit: Callable[[Path], None] | None = None,
) -> list[WatchResult]:
    """Live traffic of `release` in each window, oldest first; at most the latest `LOOKED_BACK`.

    Tensors that clients sent in the place of keys have no event times: they are looked at with the latest window. A window
    with fewer rows than can be judged is INCONCLUSIVE; without any traffic the answer is one INCONCLUSIVE. Of each window, the
    latest is read and no more. `memory` keeps what past windows showed; `admit` raises for a release whose code may not run.
    """
    remembered: Memory = {} if memory is None else memory
    look = _Look(release, folder, meter, admit)
    live, every = Selection(release.digest, shadow=False, since=since), look.every
    spans = list(_by_event_time(records, live, every) or _by_arrival(records, live, every))[-LOOKED_BACK:]
    results = []
    for span in spans:
        window = name_of(span.start, every)
        key, past = f"{release.digest} {every} {window}", span is not spans[-1]
        if past and key in remembered:
            results.append(_result(from_json(remembered[key]), window))
            continue
        result = look.at(span.traffic)
        if past and result.verdict in (Verdict.PASS, Verdict.FAIL):
            remembered[key] = to_json(result)
        results.append(_result(result, window))
    return results or [_result(look.at(Traffic.of(records)), "")]


def start_of(at: float, every: int) -> int:
    """When the window begins that an event time belongs to, both in seconds since the epoch."""
    return -int((MONDAY - at) // every) * every + MONDAY - every


def name_of(start: int, every: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=start)
    return moment.date().isoformat() if every % 86_400 == 0 else moment.strftime("%Y-%m-%dT%H:%MZ")


def _by_event_time(records: InferenceRecords, live: Selection, every: int) -> list[_Span]:
    """Empty where no record has an event time."""
    spans = []
    for start in sorted(_starts(records, live, every))[-LOOKED_BACK:]:
        found, inside = _days_of(live, start, every), _inside(start, every)
        if _answered(records, found, inside):
            spans.append(_Span(start, Traffic.of(records, found, only=inside)))
    sent = replace(live, timed=False, vectors="sent")
    if spans and _answered(records, sent):
        latest, last = spans[-1].traffic, Traffic.of(records, sent)
        spans[-1] = replace(spans[-1], traffic=Traffic(latest.keyed, lambda: _both(last.sent(), latest.sent())))
    return spans


def _starts(records: InferenceRecords, live: Selection, every: int) -> set[int]:
    """Where windows begin that may hold records, the latest `LOOKED_BACK` at least. The log knows days: what is shorter is
    found by the records of each."""
    starts = set[int]()
    for day in reversed(list(records.days(live))):
        if len(starts) >= LOOKED_BACK:
            break
        if every >= 86_400:
            first, last = start_of(day * 86_400, every), start_of((day + 1) * 86_400 - 1e-6, every)
            starts.update(range(first, last + 1, every))
        else:
            found = records.read(replace(live, days=(day, day + 1)))
            starts.update(start_of(int(record.event_times.max()) / 1e6, every) for record in found if len(record.event_times))
    return starts


def _days_of(live: Selection, start: int, every: int) -> Selection:
    return replace(live, days=(start // 86_400, (start + every) // 86_400 + 1))


def _both(one: Iterator[InferenceRecord], two: Iterator[InferenceRecord]) -> Iterator[InferenceRecord]:
    yield from one
    yield from two


def _inside(start: int, every: int) -> Callable[[InferenceRecord], bool]:
    low, high = start * 1_000_000, (start + every) * 1_000_000

    def inside(record: InferenceRecord) -> bool:
        return bool(len(record.event_times)) and low < int(record.event_times.max()) <= high

    return inside


def _by_arrival(records: InferenceRecords, live: Selection, every: int) -> list[_Span]:
    """From the newest record back, window by window."""
    spans: list[_Span] = []
    before = live
    while len(spans) < LOOKED_BACK:
        newest = next((r for r in records.read(before, newest_first=True) if outcome(r.status) is Outcome.ANSWERED), None)
        if newest is None:
            break
        start = start_of(newest.at, every)
        part = replace(live, since=max(live.since, start + 1e-6), until=min(before.until, start + every + 1e-6))
        spans.append(_Span(start, Traffic.of(records, part)))
        before = replace(live, until=start + 1e-6)
    return spans[::-1]


def _answered(records: InferenceRecords, selection: Selection, inside: Callable[[InferenceRecord], bool] | None = None) -> bool:
    found = records.read(selection, newest_first=True)
    return any(outcome(r.status) is Outcome.ANSWERED and (inside is None or inside(r)) for r in found)


class _Look:
    """Reads what the release carries once, for all windows."""

    def __init__(self, release: ReleaseManifest, folder: Path, meter: DriftMeter, admit: Callable[[Path], None] | None) -> None:
        self._release, self._folder, self._meter, self._admit = release, folder, meter, admit
        self._read: tuple[Any, ...] | None = None

    @property
    def every(self) -> int:
        """Seconds; a week where the monitor file cannot be read, which `at` then says."""
        try:
            return monitor_of(self._folder, self._release).judged.every
        except TidegateError:
            return WEEK

    def at(self, traffic: Traffic) -> GateResult:
        def evaluate() -> tuple[Verdict, Evidence]:
            if self._read is None:
                config = monitor_of(self._folder, self._release)
                if config.judged.profile:
                    (self._admit or _refuse)(self._folder)
                columns = Columns.of_release(self._folder, self._release, config.judged)
                self._read = read_profile(self._folder, self._release, columns), columns, config.rules_of(WATCHED)
            profile, columns, rules = self._read
            return check_drift(self._release, profile, traffic, columns, self._meter, rules)

        return evaluate_closed(WATCHED, self._release.id, evaluate)


def _refuse(folder: Path) -> None:
    raise InvalidInput(f"release {folder.name}: its profile function may not run here, for nobody says whose code is trusted")


def _result(result: GateResult, window: str) -> WatchResult:
    kind = str(result.evidence.numbers.get("kind", "none"))
    failed = result.verdict is Verdict.FAIL
    advice = ADVICE[kind] if result.verdict in (Verdict.PASS, Verdict.FAIL) else result.evidence.summary
    return WatchResult(result, window, freeze=failed, retrain=failed and kind == "drift", advice=advice)
