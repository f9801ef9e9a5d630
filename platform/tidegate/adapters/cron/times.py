"""Times of cron expressions by cronsim, which knows daylight saving."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from tidegate.domain.errors import InvalidInput

FIELDS = 5


class CronsimTimes:
    """Implements `tidegate.ports.cron.CronTimes`."""

    def check(self, cron: str, zone: str) -> None:
        _zone(zone)
        self.next(cron, zone, datetime(2000, 1, 1, tzinfo=UTC))

    def latest(self, cron: str, zone: str, until: datetime) -> datetime | None:
        second = until.replace(microsecond=0) + timedelta(seconds=1)  # reversed iteration begins before its start
        return _first(cron, second.astimezone(_zone(zone)), backwards=True)

    def next(self, cron: str, zone: str, after: datetime) -> datetime | None:
        return _first(cron, after.astimezone(_zone(zone)))


def _first(cron: str, start: datetime, backwards: bool = False) -> datetime | None:
    if len(cron.split()) != FIELDS:
        raise InvalidInput(f"cron expression '{cron}' has {len(cron.split())} fields, required {FIELDS}, as '30 2 * * 1-5'")
    try:
        found = next(CronSim(cron, start, reverse=backwards), None)
    except CronSimError as error:
        raise InvalidInput(f"cron expression '{cron}' cannot be read ({error}); write it as '30 2 * * 1-5'") from error
    return found.astimezone(UTC) if found else None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"time zone '{name}' is not known; name one as 'UTC' or 'Europe/London'") from error
