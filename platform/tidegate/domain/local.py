"""Everything the local supervisor and its gateway are told: the project's local target, and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.domain.project import Project

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class LocalConfig:
    """Seconds are wall-clock bounds, ports are on loopback.

    `slot_ports` is the first of `slot_port_count` ports that slot replicas take; `drain_seconds` bounds the wait for
    requests in flight before a replica is asked to stop, `stop_seconds` the wait before it is killed.
    """

    gateway_port: int = 8800
    admin_port: int = 8801
    slot_ports: int = 8810
    slot_port_count: int = 40
    replicas: int = 2
    online_store: str = "sqlite"
    default_model: str | None = None  # which model answers at `/`; None: the first by name
    drain_seconds: float = 10.0
    stop_seconds: float = 10.0
    request_timeout_seconds: float = 15.0
    max_request_bytes: int = 4 * 1024 * 1024
    gateway_workers: int = 2

    @classmethod
    def of(cls, project: Project) -> LocalConfig:
        """The project's first model answers at `/`. A slot that is being replaced needs its ports twice for a while."""
        local = project.local
        return cls(
            gateway_port=local.gateway_port,
            admin_port=local.admin_port,
            slot_ports=local.slot_ports,
            slot_port_count=4 * local.replicas * max(1, len(project.models)),
            replicas=local.replicas,
            online_store=local.online_store,
            default_model=next(iter(project.models), None),
        )
