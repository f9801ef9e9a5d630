"""Ports to the ledger: append-only, durable before it returns; and to the place where its checkpoints are kept."""

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
class Line:
    """One line of a ledger as it lies there. `entry` is None where it cannot be read, `problem` empty where it verifies."""

    number: int
    entry: Entry | None
    problem: str = ""


@dataclass(frozen=True)
class Verification:
    """`problem` is one sentence naming the entry, empty when ok; `checkpoint` says what it was compared with elsewhere."""

    ok: bool
    entries: int
    head: str
    problem: str = ""
    checkpoint: str = ""


class Ledger(Protocol):
    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: str = "tidegate") -> Entry:
        """Durable (fsync) before it returns. Raises IntegrityError, with nothing appended, where `verify` is not ok."""

    def entries(self) -> Iterator[Entry]:
        """All of them, oldest first. Raises IntegrityError where `verify` is not ok: what was changed is no evidence."""

    def lines(self) -> Iterator[Line]:
        """What lies there, good or bad, oldest first."""

    def verify(self) -> Verification: ...


class CheckpointPlace(Protocol):
    """Where the latest checkpoint lies: where whoever writes the ledger does not write by accident."""

    @property
    def name(self) -> str: ...

    def read(self) -> bytes | None:
        """None where none was written yet. Raises Unavailable."""

    def write(self, content: bytes) -> None:
        """Replace what is there. Raises Unavailable."""
