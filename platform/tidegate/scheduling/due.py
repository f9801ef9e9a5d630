"""Which run of a schedule is due: pure, by what was run last and what time it is."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidegate.domain.schedule import Missed, Schedule
from tidegate.ports.cron import CronTimes

LATE = timedelta(minutes=5)  # a run that begins later than that was missed


def due(schedule: Schedule, since: datetime, now: datetime, times: CronTimes) -> datetime | None:
    """The time of the run to begin now; None for none. Nothing at or before `since` is due any more.

    Of several times that passed, one run makes up for all. A clock that was put back (`since` lies ahead) delays nothing
    beyond the next time.
    """
    latest = times.latest(schedule.cron, schedule.zone, now)
    if latest is None or latest <= min(since, now):
        return None
    return None if schedule.missed is Missed.SKIP and now - latest > LATE else latest
