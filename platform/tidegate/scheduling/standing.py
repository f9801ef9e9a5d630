"""How a schedule stands: when it last worked, whether its last run failed, whether it is late, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.domain.schedule import Missed, Schedule
from tidegate.ports.cron import CronTimes
from tidegate.scheduling.due import LATE
from tidegate.scheduling.records import ScheduleRecord

CUT_OFF = timedelta(minutes=1)  # beyond its time limit a run has ended, whatever its record says


@dataclass(frozen=True)
class ScheduleStanding:
    """`last_success` is in seconds since 1970, None where it never worked. `problem` says in a sentence what is wrong and what
    to do; it is empty where nothing is."""

    name: str
    last_success: float | None = None
    failed: bool = False
    late: bool = False
    problem: str = ""


def standing_of(schedule: Schedule, record: ScheduleRecord | None, now: datetime, times: CronTimes) -> ScheduleStanding:
    """Of a schedule on this machine, by its record; None for one that nobody has looked at yet."""
    if record is None:
        return ScheduleStanding(schedule.name)
    again = f"'tidegate schedule run {schedule.name}' runs it now"
    wrong = _failure(schedule, record, now)
    missed = overdue(schedule, record.moment, now, times)
    said = [f"its last run, of {_minute(record.started)}, {wrong}; see logs/job-{schedule.name}.log"] if wrong else []
    said += (
        [f"its run of {_minute(missed.isoformat())} has not begun; schedules run while the platform is up"] if missed else []
    )
    problem = f"schedule '{schedule.name}': {'; '.join(said)}; {again}" if said else ""
    success = datetime.fromisoformat(record.succeeded_at).timestamp() if record.succeeded_at else None
    return ScheduleStanding(schedule.name, success, bool(wrong), missed is not None, problem)


def overdue(schedule: Schedule, since: datetime, now: datetime, times: CronTimes) -> datetime | None:
    """The time at which a run should have begun and has not, where nothing at or before `since` is due any more."""
    latest = times.latest(schedule.cron, schedule.zone, now) if schedule.missed is Missed.ONCE else None
    return latest if latest is not None and latest > since and now - latest > LATE else None


def _failure(schedule: Schedule, record: ScheduleRecord, now: datetime) -> str:
    if record.failed:
        limit = f"ended at its time limit of {schedule.timeout_seconds} s"
        return limit if record.timed_out else f"failed with exit code {record.exit_code}"
    if record.started and not record.ended:
        limit_at = datetime.fromisoformat(record.started) + timedelta(seconds=schedule.timeout_seconds) + CUT_OFF
        return "was cut off" if now > limit_at else ""
    return ""


def _minute(iso: str) -> str:
    return f"{iso[:16].replace('T', ' ')} UTC"
