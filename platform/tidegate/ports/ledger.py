"""Port to the ledger: append-only, durable before it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Entry:
    """One entry. `hash` covers everything else and `previous`, the hash of the entry before."""

    sequence: int
    at: float
    actor: str
    action: str  # e.g. 'promotion', 'verdict', 'rollout.switch', 'rollout.rollback', 'override'
    subject: str
    body: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Verification:
    ok: bool
    entries: int
    head: str
    problem: str = ""  # one sentence naming the entry, empty when ok


class Ledger(Protocol):
    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: str = "tidegate") -> Entry:
        """Durable (fsync) before it returns."""

    def entries(self) -> Iterator[Entry]: ...

    def verify(self) -> Verification: ...
