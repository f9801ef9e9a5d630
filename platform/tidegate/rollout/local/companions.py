"""Processes that the supervisor keeps beside slots and gateway: the controllers of rollouts, and its own watcher.

What is dead is started again; what beats no more is killed, which makes it dead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.ports.local import Processes, ProcessRecord
from tidegate.rollout.local.backoff import Backoff

HUNG = 8.0  # seconds without a beat
# Seconds since the last beat of that very process; None when it has not beaten yet, or nobody can tell.
Silence = Callable[[ProcessRecord], float | None]


@dataclass(frozen=True)
class Companion:
    """`name` is unique to it. `urgent` is what must run although the gateway was not ready yet."""

    name: str
    command: Sequence[str]
    kind: str = "control"
    urgent: bool = False


class Companions:
    def __init__(self, processes: Processes, silence: Silence, logs: Path, clock: Callable[[], float]) -> None:
        self.processes, self.silence, self.logs, self.clock = processes, silence, logs, clock
        self.backoff = Backoff()

    def keep(self, kind: str, wanted: Sequence[Companion]) -> None:
        running = set()
        for record in [r for r in self.processes.records() if r.labels.get("kind") == kind]:
            if not self.processes.alive(record):
                self.processes.forget(record)
                continue
            running.add(record.name)
            silent = self.silence(record)
            if silent is not None and silent > HUNG:
                self.processes.terminate(record, force=True)
            elif silent is not None:
                self.backoff.lasted(record.name)
        for one in wanted:
            if one.name not in running and self.backoff.may_start(one.name, self.clock()):
                self.backoff.started(one.name, self.clock())
                self.processes.start(one.name, one.command, {"kind": kind}, self.logs / f"{one.name}.log")
