"""What the local target is told: ports, replicas and limits of the gateway and of the slots on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tidegate.domain.errors import InvalidInput

LOOPBACK = "127.0.0.1"

# names in the project file's `targets.local`, and their types
_NAMES = {
    "gatewayPort": "gateway_port",
    "adminPort": "admin_port",
    "slotPorts": "slot_ports",
    "slotPortCount": "slot_port_count",
    "replicas": "replicas",
    "onlineStore": "online_store",
    "drainSeconds": "drain_seconds",
    "stopSeconds": "stop_seconds",
    "requestTimeoutSeconds": "request_timeout_seconds",
    "maxRequestBytes": "max_request_bytes",
    "gatewayWorkers": "gateway_workers",
}


@dataclass(frozen=True)
class LocalConfig:
    """`targets.local` of the project file. Seconds are wall-clock bounds, ports are on loopback.

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

    def __post_init__(self) -> None:
        for name in ("gateway_port", "admin_port", "slot_ports"):
            if not 0 < getattr(self, name) < 65536:
                raise InvalidInput(f"targets.local: {name} is {getattr(self, name)}, required is a port between 1 and 65535")
        if self.replicas < 1:
            raise InvalidInput(f"targets.local: replicas is {self.replicas}, required is at least 1")

    @classmethod
    def from_project(cls, target: Mapping[str, Any], default_model: str | None = None) -> LocalConfig:
        """From the mapping `targets.local`; raises InvalidInput naming the key that is unknown or of a wrong type."""
        types = {field.name: field.type for field in fields(cls)}
        values: dict[str, Any] = {"default_model": default_model}
        for key, value in target.items():
            if key not in _NAMES:
                raise InvalidInput(f"targets.local: key '{key}' is unknown, allowed are {', '.join(_NAMES)}")
            numeric = types[_NAMES[key]] != "str"
            if numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise InvalidInput(f"targets.local: {key} is {value!r}, required is a number")
            values[_NAMES[key]] = value
        return cls(**values)

    def online(self, state: Path) -> str:
        """Where serving processes find the online store: the SQLite file in the state folder, or a URL as given."""
        return str(state / "features" / "online.db") if self.online_store == "sqlite" else self.online_store
