"""Ports of the local supervisor: detached processes, the proxy that routes to them, and readiness probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tidegate.domain.slots import Slot

READY_PATH = "/readyz"


@dataclass(frozen=True)
class ProcessRecord:
    """A detached process. `ticks` (kernel clock ticks from boot `boot` to its start) tell it from another that got the same
    pid later, whatever the wall clock does; records of old have only `started`, seconds since the epoch.

    `labels` say what it is for: `kind` (`envoy`, `slot`, `control`, `watcher`, `job`, or `stray`, one that nobody wants) and,
    for slots, model, slot, replica, release, port.
    """

    name: str
    pid: int
    started: float
    labels: Mapping[str, Any] = field(default_factory=dict)
    ticks: int | None = None
    boot: str = ""


class Processes(Protocol):
    def records(self) -> list[ProcessRecord]:
        """All that were started and not forgotten, dead ones included; survives a restart of the caller."""

    def start(
        self, name: str, command: Sequence[str], labels: Mapping[str, Any], log: Path, folder: Path | None = None
    ) -> ProcessRecord:
        """Start `command` detached, in `folder`; raises Unavailable when it cannot be started."""

    def alive(self, record: ProcessRecord) -> bool: ...

    def exit_code(self, record: ProcessRecord) -> int | None:
        """How a process that is dead ended, negative for a signal; None when that is not known."""

    def terminate(self, record: ProcessRecord, force: bool = False) -> None:
        """SIGTERM, or with `force` SIGKILL of its whole process group; never a stranger that got the same pid."""

    def forget(self, record: ProcessRecord) -> None: ...

    def port_free(self, port: int) -> bool: ...


@dataclass(frozen=True)
class ModelRoutes:
    """How the proxy should treat one model: `endpoints` are loopback ports of replicas by slot."""

    model: str
    active: Slot | None = None
    mirror: bool = False
    endpoints: Mapping[Slot, tuple[int, ...]] = field(default_factory=dict)


class Router(Protocol):
    @property
    def home(self) -> Path:
        """The folder that the proxy runs in."""

    def command(self) -> list[str]:
        """The proxy's command line, its configuration written; raises Unavailable when there is no proxy binary."""

    def apply(self, routes: Sequence[ModelRoutes]) -> None:
        """Write what is wanted; the proxy takes it up by itself."""

    def applied(self) -> Sequence[ModelRoutes]:
        """What was written last; survives a restart of the caller."""

    def ready(self) -> bool: ...

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        """What the proxy really does; raises Unavailable when it cannot be asked or refused its configuration."""

    def in_flight(self, model: str, slot: Slot) -> int: ...

    def drain(self) -> None:
        """Stop accepting connections; requests in flight go on."""

    def downstream_active(self) -> int: ...


class Probe(Protocol):
    """What parts answer at their ports; asks in the background and never blocks."""

    def ready(self, name: str, port: int, path: str = READY_PATH, release: str | None = None) -> bool:
        """The latest known answer. What says that it is another release than `release` is not ready."""

    def silent_seconds(self, name: str) -> float:
        """For how long it has not answered at all, several times in a row; 0 for one that does."""

    def unready_seconds(self, name: str) -> float:
        """How long ago it was ready last, if it was once and is not now; else 0."""

    def forget(self, name: str) -> None: ...
