"""Segments of the ledger: closed ones are never written again, and each has a seal that says what it holds.

A seal has the digest of its segment's bytes, so a segment is verified without its entries being parsed; and tokens of the
subjects, actions and actors in it, so a query leaves out the segments that hold nothing it matches. The signed head names the
digest of all seals: what a query leaves out is as certain as what it finds. Seals are derived, and made again from the segments
where they are lost; the head says whether they are the same.

Limits: a token is 32 bits of a hash, so a segment is now and then read in vain. A query by time reads the segments whose range
of times overlaps, for the clock of people may go back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from tidegate.domain.digests import canonical_json
from tidegate.domain.formats import Format, Unknown
from tidegate.ledger.audit import started
from tidegate.ledger.chain import Head
from tidegate.ports.ledger import Entry, Query

FIRST = "ledger.jsonl"  # the only one of ledgers that were written before there were segments
SEALS = Format("seal of a segment", Unknown.IGNORED)
Token = str


@dataclass(frozen=True)
class Seal:
    """Of the closed segment with entries `first` to `last`, the last with `hash`; `size` and `digest` are of its bytes."""

    first: int
    last: int
    hash: str
    size: int
    digest: str
    since: float
    until: float
    holds: tuple[Token, ...]

    def to_line(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @cached_property
    def _tokens(self) -> frozenset[Token]:
        return frozenset(self.holds)

    def may_hold(self, query: Query) -> bool:
        """False only where no entry of the segment matches."""
        if self.last <= query.after or (query.since is not None and self.until < query.since):
            return False
        if query.until is not None and self.since >= query.until:
            return False
        exact = [("subject", query.subject), ("actor", query.actor)]
        if any(value is not None and token(name, value) not in self._tokens for name, value in exact):
            return False
        return not query.actions or any(token("action", action) in self._tokens for action in query.actions)

    def may_start(self, rollout: str) -> bool:
        return token("rollout", rollout) in self._tokens


def token(name: str, value: str) -> Token:
    return hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:8]


def seal(entries: Sequence[Entry], content: bytes) -> Seal:
    """The seal of a segment with these entries, at least one."""
    held = {token(name, value) for entry in entries for name, value in _named(entry)}
    times, first, last = [entry.at for entry in entries], entries[0], entries[-1]
    size, digest = len(content), hashlib.sha256(content).hexdigest()
    return Seal(first.sequence, last.sequence, last.hash, size, digest, min(times), max(times), tuple(sorted(held)))


def _named(entry: Entry) -> Iterator[tuple[str, str]]:
    yield from (("subject", entry.subject), ("action", entry.action), ("actor", entry.actor), ("actor", entry.who.identity))
    if (rollout := started(entry)) is not None:
        yield "rollout", rollout


def read_seals(lines: Iterable[bytes]) -> tuple[Seal, ...]:
    """The seals in lines that the caller knows to be signed."""
    return tuple(SEALS.convert(SEALS.parse(line, "ledger"), Seal, "ledger") for line in lines)


def digest_of_seals(seals: Iterable[bytes]) -> str:
    """What a head says of the lines of its closed segments."""
    return hashlib.sha256(b"".join(seals)).hexdigest()


def end_of(seals: Sequence[Seal]) -> Head:
    """The head that stands after all closed segments."""
    return Head(seals[-1].last, seals[-1].hash, sum(each.size for each in seals)) if seals else Head()


def segment_name(first: int) -> str:
    """The file of the segment that begins with entry `first`."""
    return FIRST if first == 1 else f"ledger-{first:012d}.jsonl"


def first_of(name: str) -> int | None:
    """Which entry a segment's file begins with; None for a file that is none."""
    if name == FIRST:
        return 1
    number = name.removeprefix("ledger-").removesuffix(".jsonl")
    return int(number) if name == f"ledger-{number}.jsonl" and number.isascii() and number.isdecimal() else None
