"""A schedule whose last run failed, or that is late, is said to be, with what to do; one that does as it should is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tidegate.apps import wiring
from tidegate.domain.schedule import Missed, Schedule
from tidegate.scheduling.records import ScheduleRecord
from tidegate.scheduling.standing import standing_of

NIGHTLY = Schedule(name="nightly", cron="30 2 * * *", zone="UTC", run=("features", "refresh"), timeout_seconds=3600)
DUE = datetime(2026, 3, 2, 2, 30, tzinfo=UTC)
AT, ENDED = DUE + timedelta(seconds=1), DUE + timedelta(minutes=4)
RAN = ScheduleRecord(DUE.isoformat(), DUE.isoformat(), AT.isoformat(), ENDED.isoformat(), 0)
FAILED = ScheduleRecord(*(DUE.isoformat(),) * 2, AT.isoformat(), ENDED.isoformat(), 7, succeeded="2026-03-01T02:31:00+00:00")
RUNNING = ScheduleRecord(DUE.isoformat(), DUE.isoformat(), AT.isoformat())
NEW = ScheduleRecord((DUE - timedelta(hours=1)).isoformat())


@pytest.mark.parametrize(
    ("record", "after", "failed", "late", "says"),
    [
        (None, 6, False, False, ""),
        (RAN, 6, False, False, ""),
        (FAILED, 6, True, False, "its last run, of 2026-03-02 02:30 UTC, failed with exit code 7; see logs/job-nightly.log"),
        (ScheduleRecord(*(DUE.isoformat(),) * 3, ENDED.isoformat(), 124, True), 6, True, False, "time limit of 3600 s"),
        (RUNNING, 59, False, False, ""),
        (RUNNING, 62, True, False, "was cut off"),
        (NEW, 4, False, False, ""),  # minutes are nothing
        (NEW, 6, False, True, "its run of 2026-03-02 02:30 UTC has not begun; schedules run while the platform is up"),
        (RAN, 24 * 60 + 6, False, True, "its run of 2026-03-03 02:30 UTC has not begun"),
        (FAILED, 24 * 60 + 6, True, True, "exit code 7; see logs/job-nightly.log; its run of 2026-03-03"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(
    record: ScheduleRecord | None, after: int, failed: bool, late: bool, says: str
) -> None:
    found = standing_of(NIGHTLY, record, DUE + timedelta(minutes=after), wiring.cron_times())
    assert (found.failed, found.late) == (failed, late)
    assert says in found.problem
    assert bool(found.problem) == (failed or late)
    if says:
        assert found.problem.endswith("'tidegate schedule run nightly' runs it now")


def test_a_time_that_is_to_be_skipped_is_not_late() -> None:
    skipping = Schedule(name="s", cron=NIGHTLY.cron, zone="UTC", run=("x",), missed=Missed.SKIP)
    assert not standing_of(skipping, NEW, DUE + timedelta(hours=1), wiring.cron_times()).late


def test_a_failure_keeps_when_it_last_worked() -> None:
    times = wiring.cron_times()
    assert standing_of(NIGHTLY, FAILED, ENDED, times).last_success == datetime(2026, 3, 1, 2, 31, tzinfo=UTC).timestamp()
    assert standing_of(NIGHTLY, RAN, ENDED, times).last_success == ENDED.timestamp()
    assert standing_of(NIGHTLY, NEW, ENDED, times).last_success is None
