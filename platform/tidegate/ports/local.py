"""Ports of the local supervisor: detached processes, the proxy that routes to them, and readiness probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tidegate.domain.slots import Slot


@dataclass(frozen=True)
class ProcessRecord:
    """A detached process. `started` (seconds since the epoch) tells it from another that got the same pid later.

    `labels` say what it is for: `kind` (`envoy`, `slot`, `control`) and, for slots, model, slot, replica, release, port.
    """

    name: str
    pid: int
    started: float
    labels: Mapping[str, Any] = field(default_factory=dict)


class Processes(Protocol):
    def records(self) -> list[ProcessRecord]:
        """All that were started and not forgotten, dead ones included; survives a restart of the caller."""

    def start(self, name: str, command: Sequence[str], labels: Mapping[str, Any], log: Path) -> ProcessRecord: ...

    def alive(self, record: ProcessRecord) -> bool: ...

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
    def ready(self, name: str, port: int) -> bool:
        """The latest known answer of `GET /readyz`; asks in the background and never blocks."""

    def forget(self, name: str) -> None: ...
