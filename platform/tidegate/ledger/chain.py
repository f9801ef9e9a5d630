"""Hash chain of the ledger, as pure functions over lines of bytes.

Every entry is one line of canonical JSON. Its `hash` is the SHA-256 of the canonical JSON of all other fields, one of
which is `previous`, the hash of the entry before; so an edited, deleted, reordered or inserted entry breaks the chain
at a place that can be named. A chain alone cannot tell that its tail is missing, or that all of it was computed anew:
for that a `Head`, kept and signed apart, names the last acknowledged entry.

`Head.pending` is the intent written before an entry's line: a line after the head is ours if its hash was announced, and
whatever else lies there was put there by someone else. An entry counts as acknowledged when the head covers it.

Limit: who holds the signing key, or puts back an older ledger together with its older head, is not found here; keep the
key and copies of the head where the ledger's writer has no access.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tidegate.domain.digests import canonical_json, digest_of
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.ports.ledger import Entry, Verification

GENESIS = "0" * 64
FIELDS = frozenset({"sequence", "at", "actor", "action", "subject", "body", "previous", "hash"})


@dataclass(frozen=True)
class Head:
    """What is acknowledged: `sequence` entries, the last with `hash`, in the first `size` bytes of the ledger."""

    sequence: int = 0
    hash: str = GENESIS
    size: int = 0
    pending: str | None = None  # hash of an entry about to be written

    def to_bytes(self) -> bytes:
        """What is signed."""
        return canonical_json(asdict(self))


def entry_hash(entry: Entry) -> str:
    """SHA-256 of everything in `entry` but its hash."""
    return digest_of({name: getattr(entry, name) for name in sorted(FIELDS - {"hash"})})


def next_entry(head: Head, at: float, actor: str, action: str, subject: str, body: Mapping[str, Any]) -> Entry:
    """The entry that follows `head`; raises InvalidInput when `body` is not plain JSON."""
    try:
        plain = json.loads(canonical_json(dict(body)))
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"ledger: the body of entry '{action}' of {subject} is not plain JSON ({error}); give strings, finite numbers, "
            "lists and mappings only"
        ) from error
    unsealed = Entry(head.sequence + 1, round(at, 6), actor, action, subject, plain, head.hash, "")
    return Entry(**{**_fields(unsealed), "hash": entry_hash(unsealed)})


def to_line(entry: Entry) -> bytes:
    return canonical_json(_fields(entry)) + b"\n"


def from_line(line: bytes, number: int) -> Entry:
    """The entry in line `number` (from 1); raises IntegrityError when it is none."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or set(value) != FIELDS or not isinstance(value["sequence"], int):
            raise ValueError("not the fields of an entry")
        return Entry(**value)
    except ValueError as error:
        raise IntegrityError(
            f"ledger: line {number} cannot be read as an entry ({error}); it was edited or damaged, "
            "compare it with a backup and run 'tidegate ledger verify'"
        ) from error


def split_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """Complete lines without their ends, and the rest after the last line's end."""
    *lines, rest = content.split(b"\n")
    return lines, rest


def check_chain(content: bytes, head: Head) -> Verification:
    """Check the whole ledger against its head (whose signature the caller has checked).

    One announced entry after the head, whole or torn, is what a crash leaves and is no problem: it was never acknowledged.
    """
    lines, rest = split_lines(content)
    previous, problem = GENESIS, ""
    for number, line in enumerate(lines, start=1):
        problem = _problem_of(line, number, previous, lines, head)
        if problem:
            return Verification(False, len(lines), head.hash, problem)
        previous = from_line(line, number).hash
        if number == head.sequence and previous != head.hash:
            problem = f"entry {number} has hash {previous[:12]}, the signed head names {head.hash[:12]}: it was rewritten"
            return Verification(False, len(lines), head.hash, problem)
    if len(lines) < head.sequence:
        problem = f"entries {len(lines) + 1} to {head.sequence} are missing: the signed head covers {head.sequence} entries"
    elif rest and not head.pending:
        problem = f"{len(rest)} bytes follow entry {len(lines)} that no entry announced: they were inserted"
    return Verification(not problem, head.sequence, head.hash, problem)


def _problem_of(line: bytes, number: int, previous: str, lines: Sequence[bytes], head: Head) -> str:
    """What is wrong with line `number`, given the hash of the entry before it; empty when nothing is."""
    try:
        entry = from_line(line, number)
    except IntegrityError as error:
        return f"entry {number} was edited: {error}"
    if entry.sequence != number:
        if entry.sequence > number and not any(_sequence(later) == number for later in lines[number:]):
            return f"entry {number} was deleted: line {number} holds entry {entry.sequence}"
        return f"entry {number} is not in its place: line {number} holds entry {entry.sequence} (reordered or inserted)"
    if entry.previous != previous:
        return (
            f"entry {max(1, number - 1)} or {number} was replaced: entry {number} follows {entry.previous[:12]}, "
            f"the entry before it has hash {previous[:12]}"
        )
    if entry_hash(entry) != entry.hash or to_line(entry) != line + b"\n":
        return f"entry {number} was edited: its content has hash {entry_hash(entry)[:12]}, recorded {entry.hash[:12]}"
    if number > head.sequence and not (number == head.sequence + 1 and entry.hash == head.pending):
        return f"entry {number} was inserted: the signed head covers {head.sequence} entries and announces no such entry"
    return ""


def _sequence(line: bytes) -> int | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("sequence") if isinstance(value, dict) else None


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in FIELDS}
