"""Port to a library of cron expressions: five fields, as cron(5) and Kubernetes' CronJobs have them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class CronTimes(Protocol):
    """Times are minutes of a time zone by its IANA name, answered in UTC. Where clocks are put forward, what falls into the
    missing hour comes at its end; where they are put back, a time of day comes once."""

    def check(self, cron: str, zone: str) -> None:
        """Raises InvalidInput for an expression or a time zone that there is not."""

    def latest(self, cron: str, zone: str, until: datetime) -> datetime | None:
        """The latest time at or before `until`; None for a date that never was."""

    def next(self, cron: str, zone: str, after: datetime) -> datetime | None:
        """The first time after `after`; None for a date that never comes."""
