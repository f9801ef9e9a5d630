"""How long a release may not be reached before that is its fault: restarts end, and what is at fault goes on.

A spell begins with a request that nobody could answer (or a proxy that cannot be asked) and ends when none has come for a
while. Spells are forgiven as long as they last no longer than the allowance, all together; from then on everything counts.
"""

from __future__ import annotations

from dataclasses import dataclass

QUIET_SECONDS = 2.0  # without another failure to reach it, after which a spell is over


@dataclass
class Reach:
    """`now` is any clock of seconds that never goes back."""

    allowance: float
    spent: float = 0.0
    _looked: float | None = None
    _quiet_at: float = float("-inf")

    def look(self, now: float, failed: bool) -> None:
        """Note whether something could not be reached since the last look."""
        if self._looked is not None and self._looked < self._quiet_at:
            self.spent += min(now, self._quiet_at) - self._looked
        if failed:
            self._quiet_at = now + QUIET_SECONDS
        self._looked = now

    @property
    def forgiven(self) -> bool:
        """Whether what cannot be reached is not charged to the release yet."""
        return self.spent < self.allowance

    def quiet_seconds(self, now: float) -> float:
        """How long ago the last spell ended."""
        return now - self._quiet_at
