"""How long a release may not be reached before that is its fault: restarts end, and what is at fault goes on.

A spell begins with a request that nobody could answer (or a proxy that cannot be asked) and ends when none has come for a
while. Spells are forgiven as long as they last no longer than the allowance, all together; from then on everything counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUIET_SECONDS = 2.0  # without another failure to reach it, after which a spell is over


@dataclass
class Reach:
    """`now` is any clock of seconds that never goes back."""

    allowance: float
    spent: float = 0.0
    _looked: float | None = None
    _quiet_at: float = float("-inf")

    def look(self, now: float, failed: bool, unwatched: bool = False) -> None:
        """Note whether something could not be reached since the last look. `unwatched`: nobody looked for long, so that all
        the time since may have been a spell, and is taken for one."""
        if self._looked is not None and self._looked < self._quiet_at:
            self.spent += min(now, self._quiet_at) - self._looked
        if failed and unwatched and self._looked is not None:
            self.spent += max(0.0, now - max(self._looked, self._quiet_at))
        if failed:
            self._quiet_at = now + QUIET_SECONDS
        self._looked = now

    @property
    def forgiven(self) -> bool:
        """Whether what cannot be reached is not charged to the release yet."""
        return self.spent < self.allowance

    def to_json(self) -> dict[str, Any]:
        quiet_at = None if math.isinf(self._quiet_at) else self._quiet_at
        return {"spent": self.spent, "looked": self._looked, "quiet_at": quiet_at}

    @classmethod
    def from_json(cls, allowance: float, value: Mapping[str, Any]) -> Reach:
        quiet_at = value["quiet_at"]
        return cls(allowance, value["spent"], value["looked"], float("-inf") if quiet_at is None else quiet_at)

    def quiet_seconds(self, now: float) -> float:
        """How long ago the last spell ended."""
        return now - self._quiet_at
