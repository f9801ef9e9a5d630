"""A run is due once for the times that passed, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.adapters.cron.times import CronsimTimes
from tidegate.domain.errors import InvalidInput
from tidegate.domain.schedule import Missed, Schedule
from tidegate.scheduling.due import LATE, due

TIMES = CronsimTimes()
NIGHTLY = Schedule(name="nightly", cron="30 2 * * *", run=("status",))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_nothing_is_due_before_its_time_and_one_run_at_it() -> None:
    since = at("2026-03-01T12:00")
    assert due(NIGHTLY, since, at("2026-03-02T02:29"), TIMES) is None
    assert due(NIGHTLY, since, at("2026-03-02T02:30"), TIMES) == at("2026-03-02T02:30")
    assert due(NIGHTLY, at("2026-03-02T02:30"), at("2026-03-02T02:31"), TIMES) is None


def test_many_times_that_passed_are_made_up_for_by_one_run_or_none() -> None:
    since, now = at("2026-03-01T12:00"), at("2026-03-09T12:00")
    assert due(NIGHTLY, since, now, TIMES) == at("2026-03-09T02:30")
    skips = Schedule(name="nightly", cron="30 2 * * *", run=("status",), missed=Missed.SKIP)
    assert due(skips, since, now, TIMES) is None
    assert due(skips, since, at("2026-03-10T02:30") + LATE, TIMES) == at("2026-03-10T02:30")


def test_a_clock_that_was_put_back_by_a_year_stops_nothing() -> None:
    assert due(NIGHTLY, at("2027-03-01T02:30"), at("2026-03-02T02:31"), TIMES) is None
    times = [at("2026-03-03T02:29"), at("2026-03-03T02:30")]
    assert [due(NIGHTLY, min(at("2027-03-01T02:30"), times[0]), now, TIMES) for now in times] == [None, times[1]]


def test_a_time_of_day_that_the_clocks_leave_out_or_repeat_runs_once() -> None:
    london = Schedule(name="a", cron="30 1 * * *", zone="Europe/London", run=("status",))
    for first, days in ((at("2026-03-27T12:00"), 4), (at("2026-10-23T12:00"), 4)):
        since, runs = first, 0
        for step in range(days * 24 * 4):
            now = first + timedelta(minutes=15 * step)
            if moment := due(london, since, now, TIMES):
                since, runs = moment, runs + 1
        assert runs == days


@given(
    st.sampled_from(["* * * * *", "*/15 3 * * 1-5", "0 0 29 2 *", "5 4 1 * *"]),
    st.datetimes(datetime(2001, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
    st.timedeltas(timedelta(0), timedelta(days=900)),
)
def test_what_is_due_lies_after_what_was_run_and_not_ahead(cron: str, since: datetime, passed: timedelta) -> None:
    schedule = Schedule(name="a", cron=cron, run=("status",))
    moment = due(schedule, since, since + passed, TIMES)
    assert moment is None or since < moment <= since + passed
    if moment is None:
        following = TIMES.next(cron, "UTC", since)
        assert following is None or following > since + passed


@pytest.mark.parametrize("cron", ["", "a", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "@daily"])
def test_an_expression_that_is_none_is_refused_in_one_sentence(cron: str) -> None:
    with pytest.raises(InvalidInput, match="cron expression"):
        TIMES.check(cron, "UTC")


@pytest.mark.parametrize("zone", ["", "Mars/Phobos", "../../etc/passwd", "/etc/localtime"])
def test_a_time_zone_that_is_none_is_refused_in_one_sentence(zone: str) -> None:
    with pytest.raises(InvalidInput, match="time zone"):
        TIMES.check("* * * * *", zone)
