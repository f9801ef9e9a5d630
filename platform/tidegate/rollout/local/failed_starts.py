"""Replicas that ended before they were ever ready: why, in their own words, and whether trying again still makes sense."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot

if TYPE_CHECKING:
    from tidegate.rollout.local.replicas import Replica

LIMIT = 3  # ends in a row after which a process that says it cannot start is believed
LIMIT_OUTSIDE = 6  # the same where the cause may lie outside: something could not be reached, or a signal ended it
TAIL = 16 * 1024
LONGEST = 300


@dataclass(frozen=True)
class Failure:
    replica: Replica
    count: int
    code: int | None
    words: str

    @property
    def hopeless(self) -> bool:
        outside = self.code is None or self.code < 0 or self.code == Unavailable.exit_code
        return self.count >= (LIMIT_OUTSIDE if outside else LIMIT)

    def describe(self) -> str:
        one = self.replica
        if self.code is None:
            how = "ended"
        elif self.code < 0:
            how = f"was ended by signal {-self.code}"
        else:
            how = f"ended with code {self.code}"
        times = "" if self.count == 1 else f", {self.count} times in a row"
        name = f"replica {one.number} of {one.model}@{one.release[:12]} in {one.slot}"
        return f"{name} {how} before it was ready{times}: {self.words}"


class FailedStarts:
    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._failures: dict[str, Failure] = {}
        self._from: dict[str, tuple[Path, int]] = {}  # where the words of the latest process begin

    def starting(self, name: str, log: Path) -> None:
        try:
            self._from[name] = (log, log.stat().st_size)
        except OSError:
            self._from[name] = (log, 0)

    def ended(self, name: str, replica: Replica, code: int | None) -> None:
        before = self._failures.get(name)
        words = last_words(*self._from.get(name, (self.logs / f"{replica.model}-{replica.slot}-{replica.number}.log", 0)))
        self._failures[name] = Failure(replica, before.count + 1 if before else 1, code, words)

    def lasted(self, name: str) -> None:
        self._failures.pop(name, None)

    def keep_only(self, names: Set[str]) -> None:
        for name in self._failures.keys() - names:
            del self._failures[name]

    @property
    def problems(self) -> dict[str, str]:
        return {name: failure.describe() for name, failure in self._failures.items()}

    def hopeless(self, model: str, slot: Slot) -> str:
        """Why the release wanted in a slot cannot start; "" as long as it may."""
        found = [f for f in self._failures.values() if (f.replica.model, f.replica.slot) == (model, slot) and f.hopeless]
        return found[0].describe() if found else ""


def last_words(log: Path, begin: int = 0) -> str:
    """The last error that a process wrote after byte `begin` of its log, else its last line."""
    try:
        with log.open("rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(min(begin, size), size - TAIL))
            lines = [line.strip() for line in handle.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    said = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "")
    words = "".join(c for c in said.removeprefix("error: ") if c.isprintable())[:LONGEST]
    return words or f"it said nothing; see {log}"
