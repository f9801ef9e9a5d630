"""A schedule: a command of Tidegate that is run at the times of a cron expression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate.domain.fields import key


class Missed(StrEnum):
    """What becomes of times that passed while nothing could run."""

    ONCE = "once"  # the latest of them is made up for
    SKIP = "skip"


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is run when. A run begins only when the one before it has ended, and is ended at its time limit."""

    name: str
    cron: str = key("cron", "When: minute, hour, day of the month, month, day of the week, as cron(5).")
    zone: str = key("timeZone", "The time zone of `cron`, by its IANA name.", default="UTC")
    run: tuple[str, ...] = key("run", "A command of tidegate and its arguments, as a list.", pattern=r".+")
    timeout_seconds: int = key("timeoutSeconds", "How long a run may take.", default=3600, minimum=1, maximum=7 * 86400)
    missed: Missed = key(
        "missed", "Times that passed while nothing could run: the latest is made up for, or none.", default=Missed.ONCE
    )
