"""Processes, proxy and probe of the local supervisor, in memory; a process answers what the test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.local import READY_PATH, ModelRoutes, ProcessRecord


@dataclass
class FakeProcesses:
    known: dict[str, ProcessRecord] = field(default_factory=dict)
    dead: dict[int, int | None] = field(default_factory=dict)  # exit code by pid
    taken: set[int] = field(default_factory=set)  # ports
    started: list[str] = field(default_factory=list)  # names, in order
    killed: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    full: bool = False  # no process can be started

    def records(self) -> list[ProcessRecord]:
        return list(self.known.values())

    def start(
        self, name: str, command: Sequence[str], labels: Mapping[str, Any], log: Path, folder: Path | None = None
    ) -> ProcessRecord:
        if self.full:
            raise Unavailable(f"starting {name}: no space left on device")
        self.started.append(name)
        self.known[name] = ProcessRecord(name, 1000 + len(self.started), 0.0, dict(labels))
        return self.known[name]

    def alive(self, record: ProcessRecord) -> bool:
        return record.pid not in self.dead

    def exit_code(self, record: ProcessRecord) -> int | None:
        return self.dead.get(record.pid)

    def terminate(self, record: ProcessRecord, force: bool = False) -> None:
        (self.killed if force else self.asked).append(record.name)
        self.dead.setdefault(record.pid, -9 if force else 0)

    def forget(self, record: ProcessRecord) -> None:
        self.known.pop(record.name, None)

    def port_free(self, port: int) -> bool:
        return port not in self.taken

    def die(self, kind: str, code: int | None = -9) -> str:
        record = next(r for r in self.known.values() if r.labels["kind"] == kind and self.alive(r))
        self.dead[record.pid] = code
        return record.name

    def running(self, kind: str) -> list[str]:
        return [r.name for r in self.known.values() if r.labels["kind"] == kind and self.alive(r)]


@dataclass
class FakeProbe:
    """All are ready but those in `unready` (by kind's beginning of the name); `silent` and `unready_for` are in seconds."""

    unready: set[str] = field(default_factory=set)
    silent: dict[str, float] = field(default_factory=dict)
    unready_for: dict[str, float] = field(default_factory=dict)

    def ready(self, name: str, port: int, path: str = READY_PATH, release: str | None = None) -> bool:
        return name not in self.silent and not any(name.startswith(each) for each in self.unready)

    def silent_seconds(self, name: str) -> float:
        return self.silent.get(name, 0.0)

    def unready_seconds(self, name: str) -> float:
        return self.unready_for.get(name, 0.0)

    def forget(self, name: str) -> None:
        self.silent.pop(name, None)
        self.unready_for.pop(name, None)


@dataclass
class FakeRouter:
    home: Path = Path("run")
    routes: Sequence[ModelRoutes] = ()
    drained: bool = False

    def command(self) -> list[str]:
        return ["envoy"]

    def apply(self, routes: Sequence[ModelRoutes]) -> None:
        self.routes = list(routes)

    def applied(self) -> Sequence[ModelRoutes]:
        return self.routes

    def ready(self) -> bool:
        return True

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        found = next((r for r in self.routes if r.model == model), None)
        return (found.active, found.mirror) if found else (None, False)

    def in_flight(self, model: str, slot: Slot) -> int:
        return 0

    def drain(self) -> None:
        self.drained = True

    def downstream_active(self) -> int:
        return 0
