"""Ports to the ledger: append-only, durable before it returns; and to the place where its checkpoints are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidegate.domain.actor import PLATFORM, Actor


@dataclass(frozen=True)
class Entry:
    """One entry. `hash` covers everything else and `previous`, the hash of the entry before. `actor` is the name under which it
    was recorded, `by` the identity of the process that recorded it, None for entries of versions before there was one.
    `author` is the identity of who acted, where it is known and is not that of the process."""

    sequence: int
    at: float
    actor: str
    action: str  # e.g. 'promotion', 'verdict', 'rollout.switch', 'rollout.rollback', 'override'
    subject: str
    body: Mapping[str, Any]
    previous: str
    hash: str
    by: Actor | None = None
    author: Actor | None = None

    @property
    def who(self) -> Actor:
        """Who acted, as far as it is known."""
        known = self.author or self.by
        return known.claiming(self.actor) if known else Actor(self.actor)


@dataclass(frozen=True)
class Draft:
    """What is to become an entry."""

    action: str
    subject: str
    body: Mapping[str, Any]
    actor: Actor = PLATFORM


@dataclass(frozen=True)
class Query:
    """Which entries: all that are given have to match. `actor` is a name or an identity, `after` a sequence number, `since` and
    `until` (exclusive) are seconds since the epoch by the clock of people; no `actions` means any."""

    subject: str | None = None
    actor: str | None = None
    actions: tuple[str, ...] = ()
    after: int = 0
    since: float | None = None
    until: float | None = None

    def matches(self, entry: Entry) -> bool:
        return (
            entry.sequence > self.after
            and self.subject in (None, entry.subject)
            and self.actor in (None, entry.actor, entry.who.identity)
            and (not self.actions or entry.action in self.actions)
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
        )


ALL = Query()


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
    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: Actor = PLATFORM) -> Entry:
        """Durable (fsync) before it returns. Raises IntegrityError, with nothing appended, where `check` is not ok."""

    def append_many(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        """All of them or none, one after the other, with one fsync of their lines. Raises as `append` does."""

    def entries(self, query: Query = ALL, *, newest_first: bool = False) -> Iterator[Entry]:
        """Those that match, oldest first. Raises IntegrityError where `check` is not ok, and where it comes to entries that
        were changed: what was changed is no evidence."""

    def lines(self) -> Iterator[Line]:
        """What lies there, good or bad, oldest first."""

    def check(self) -> Verification:
        """Whether it is sound, as far as what is new since this object last looked. Its cost does not grow with the ledger's
        age; what was changed in old entries in the meantime is found, what was changed before this object first looked is
        found where those entries are read or `verify` is called."""

    def verify(self) -> Verification:
        """Everything from the first byte."""


class CheckpointPlace(Protocol):
    """Where the latest checkpoint lies: where whoever writes the ledger does not write by accident."""

    @property
    def name(self) -> str: ...

    def read(self) -> bytes | None:
        """None where none was written yet. Raises Unavailable."""

    def write(self, content: bytes) -> None:
        """Replace what is there. Raises Unavailable."""
