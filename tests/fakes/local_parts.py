"""Processes, probe and router of the local supervisor, without any process: what is started runs and is ready at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Unavailable
from tidegate.ports.local import ProcessRecord


class FakeProcesses:
    def __init__(self) -> None:
        self.known: dict[str, ProcessRecord] = {}
        self.ended: list[str] = []
        self.full = False  # no process can be started

    def records(self) -> list[ProcessRecord]:
        return list(self.known.values())

    def start(
        self, name: str, command: Sequence[str], labels: Mapping[str, Any], log: Path, folder: Path | None = None
    ) -> ProcessRecord:
        if self.full:
            raise Unavailable(f"starting {name}: no space left on device")
        self.known[name] = ProcessRecord(name, 1000 + len(self.known) + len(self.ended), 0.0, dict(labels))
        return self.known[name]

    def alive(self, record: ProcessRecord) -> bool:
        return record.name in self.known and record.name not in self.ended

    def exit_code(self, record: ProcessRecord) -> int | None:
        return 0 if record.name in self.ended else None

    def terminate(self, record: ProcessRecord, force: bool = False) -> None:
        if record.name not in self.ended:
            self.ended.append(record.name)

    def forget(self, record: ProcessRecord) -> None:
        self.known.pop(record.name, None)

    def port_free(self, port: int) -> bool:
        return True


class FakeProbe:
    def ready(self, name: str, port: int, *_: Any, **__: Any) -> bool:
        return True

    def silent_seconds(self, name: str) -> float:
        return 0.0

    def unready_seconds(self, name: str) -> float:
        return 0.0

    def forget(self, name: str) -> None: ...
