"""Everything the local supervisor and its gateway are told: the project's local target, and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.domain.project import MEGABYTE, Project

LOOPBACK = "127.0.0.1"
BODY_LIMIT = MEGABYTE


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
    default_model: str | None = None  # which model answers at `/`; None: none does
    drain_seconds: float = 10.0
    stop_seconds: float = 10.0
    request_timeout_seconds: float = 15.0
    arrival_seconds: float = 15.0  # until a request's last byte has come
    max_request_bytes: int = 4 * MEGABYTE  # of what is no model's
    body_limits: Mapping[str, int] = field(default_factory=dict)  # bytes of a request, by model; of others BODY_LIMIT
    gateway_workers: int = 2

    @property
    def online_place(self) -> str:
        """The online store as people may read it: without user, password and options."""
        scheme, found, rest = self.online_store.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if found else scheme

    @classmethod
    def of(cls, project: Project) -> LocalConfig:
        """The model at `/` is the one that is set, else the project's only one. A slot that is being replaced needs its ports
        twice for a while."""
        local = project.local
        only = next(iter(project.models)) if len(project.models) == 1 else None
        return cls(
            gateway_port=local.gateway_port,
            admin_port=local.admin_port,
            slot_ports=local.slot_ports,
            slot_port_count=4 * local.replicas * max(1, len(project.models)),
            replicas=local.replicas,
            online_store=local.online_store,
            default_model=local.default_model or only,
            body_limits={name: model.body_limit for name, model in project.models.items()},
        )
