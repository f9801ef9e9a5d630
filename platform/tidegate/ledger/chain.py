"""Hash chain of the ledger, as pure functions over lines of bytes.

Every entry is one line of canonical JSON. Its `hash` is the SHA-256 of the line without the hash itself, as it lies on disk;
one of the other fields is `previous`, the hash of the entry before; so an edited, deleted, reordered or inserted entry breaks
the chain at a place that can be named. A chain alone cannot tell that its tail is missing, or that all of it was computed anew:
for that a `Head`, kept and signed apart, names the last acknowledged entry, and `tidegate.ledger.checkpoint` a copy elsewhere.

`Head.pending` is the intent written before an entry's line: a line after the head is ours if its hash was announced, and
whatever else lies there was put there by someone else. An entry counts as acknowledged when the head covers it.

Formats last: nothing is serialized again to be verified, so an entry of any version verifies for ever. A field that this
version does not know is covered by the hash and ignored. A line whose meaning changes says another `schema` than 1, and is
refused here.

Limit: who holds the signing key, or puts back an older ledger together with its older head, is not found here; keep the
key and checkpoints where the ledger's writer has no access.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tidegate.domain.digests import canonical_json, digest_of
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.ports.ledger import Entry, Line, Verification

GENESIS = "0" * 64
SCHEMA = 1
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "sequence": int,
    "at": (int, float),
    "actor": str,
    "action": str,
    "subject": str,
    "body": dict,
    "previous": str,
    "hash": str,
}


@dataclass(frozen=True)
class Head:
    """What is acknowledged: `sequence` entries, the last with `hash`, in the first `size` bytes of the ledger."""

    sequence: int = 0
    hash: str = GENESIS
    size: int = 0
    pending: str | None = None  # hash of an entry about to be written

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Head:
        """Raises KeyError, TypeError or ValueError. What it does not know is signed too, and ignored."""
        read = cls(**{field.name: value[field.name] for field in fields(cls)})
        if not (isinstance(read.sequence, int) and isinstance(read.size, int) and isinstance(read.hash, str)):
            raise ValueError("sequence, hash and size have not the types of a head")
        return read

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def signed_bytes(head: Mapping[str, Any]) -> bytes:
    """What a head's signature covers, given all that it says."""
    return canonical_json(head)


def entry_hash(entry: Entry) -> str:
    """The hash that `entry` is to have as it is written by this version."""
    return digest_of({name: getattr(entry, name) for name in sorted(TYPES.keys() - {"hash"})})


def next_entry(head: Head, at: float, actor: str, action: str, subject: str, body: Mapping[str, Any]) -> Entry:
    """The entry that follows `head`; raises InvalidInput when `body` is not plain JSON."""
    try:
        plain = json.loads(canonical_json(dict(body)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"ledger: the body of entry '{action}' of {subject} is not plain JSON ({error}); give strings, finite numbers, "
            "lists and mappings only"
        ) from error
    unsealed = Entry(head.sequence + 1, round(at, 6), actor, action, subject, plain, head.hash, "")
    return Entry(**{**_fields(unsealed), "hash": entry_hash(unsealed)})


def to_line(entry: Entry) -> bytes:
    return canonical_json(_fields(entry)) + b"\n"


def from_line(line: bytes, number: int) -> Entry:
    """The entry in line `number` (from 1); raises IntegrityError when it is none. Does not check its hash."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict) or not set(TYPES) <= set(value):
            raise ValueError("not the fields of an entry")
        if value.get("schema", SCHEMA) != SCHEMA:
            raise ValueError(f"its schema is {value['schema']!r:.20}, this version of Tidegate reads {SCHEMA}")
        wrong = [name for name, kind in TYPES.items() if not isinstance(value[name], kind) or isinstance(value[name], bool)]
        if wrong:
            raise ValueError(f"'{wrong[0]}' is not of its type")
        return Entry(**{name: value[name] for name in TYPES})
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            f"ledger: line {number} cannot be read as an entry ({error}); it was edited or damaged, "
            "compare it with a backup and run 'tidegate ledger verify'"
        ) from error


def split_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """Complete lines without their ends, and the rest after the last line's end."""
    *lines, rest = content.split(b"\n")
    return lines, rest


def sealed(line: bytes, entry: Entry) -> bool:
    """Whether the line's bytes, without the hash that it records, have that hash."""
    # Sorted keys put the hash right before `previous`, behind the body; no string can hold the quotes of this.
    seal = f'"hash":"{entry.hash}",'.encode()
    at = line.rfind(seal + f'"previous":"{entry.previous}"'.encode())
    return at >= 0 and hashlib.sha256(line[:at] + line[at + len(seal) :]).hexdigest() == entry.hash


def check_chain(content: bytes, head: Head, after: Head | None = None) -> Verification:
    """Check the whole ledger against its head (whose signature the caller has checked).

    One announced entry after the head, whole or torn, is what a crash leaves and is no problem: it was never acknowledged.
    `after` is a head whose bytes the caller knows to be unchanged since they were checked: only what follows is looked at.
    """
    after = after or Head()
    lines, rest = split_lines(content[after.size :])
    last, previous, problem, size = after.sequence + len(lines), after.hash, "", after.size
    for number, line in enumerate(lines, start=after.sequence + 1):
        problem = _problem_of(line, number, previous, lines[number - after.sequence :], head)
        if problem:
            return Verification(False, last, head.hash, problem)
        previous = from_line(line, number).hash
        size += len(line) + 1
        if number == head.sequence and (previous, size) != (head.hash, head.size):
            problem = f"entry {number} has hash {previous[:12]}, the signed head names {head.hash[:12]}: it was rewritten"
            return Verification(False, last, head.hash, problem)
    if last < head.sequence:
        problem = f"entries {last + 1} to {head.sequence} are missing: the signed head covers {head.sequence} entries"
    elif rest and not (head.pending and last == head.sequence):
        problem = f"{len(rest)} bytes follow entry {last} that no entry announced: they were inserted"
    return Verification(not problem, head.sequence, head.hash, problem)


def marked_lines(content: bytes, head: Head | None) -> Iterator[Line]:
    """Every line with what is wrong with it alone: where one was taken away, the next says so, and those after it are sound.

    Without a head that can be trusted, `head` is None and nothing can be said about the end.
    """
    lines, rest = split_lines(content)
    before: Entry | None = None
    for number, line in enumerate(lines, start=1):
        try:
            entry = from_line(line, number)
        except IntegrityError as error:
            before = None
            yield Line(number, None, str(error))
            continue
        yield Line(number, entry, _mark(line, number, entry, before, head))
        before = entry
    announced = head is not None and head.pending and len(lines) == head.sequence
    if rest and not announced:
        yield Line(len(lines) + 1, None, f"{len(rest)} bytes that are no line")
    if head is not None and len(lines) < head.sequence:
        yield Line(head.sequence, None, f"entries {len(lines) + 1} to {head.sequence} are missing: the signed head covers them")


def _mark(line: bytes, number: int, entry: Entry, before: Entry | None, head: Head | None) -> str:
    if not sealed(line, entry):
        return "it was edited: its content has not the hash that it records"
    if number == 1 and entry.previous != GENESIS:
        return f"it is entry {entry.sequence}: what came before it is missing"
    if number > 1 and before is None:
        return "it follows a line that cannot be read"
    if before is not None and (entry.previous, entry.sequence) != (before.hash, before.sequence + 1):
        return f"it does not follow the line before it: entries between {before.sequence} and {entry.sequence} were changed"
    if head is not None and number > head.sequence and entry.hash != head.pending:
        return f"the signed head covers {head.sequence} entries and announces no such entry: it was inserted"
    if head is not None and number == head.sequence and entry.hash != head.hash:
        return f"the signed head names {head.hash[:12]} in its place: it was rewritten"
    return ""


def _problem_of(line: bytes, number: int, previous: str, later: Sequence[bytes], head: Head) -> str:
    """What is wrong with line `number`, given the hash of the entry before it and the lines after; empty when nothing is."""
    try:
        entry = from_line(line, number)
    except IntegrityError as error:
        return f"entry {number} was edited: {error}"
    if entry.sequence != number:
        if entry.sequence > number and not any(_sequence(each) == number for each in later):
            return f"entry {number} was deleted: line {number} holds entry {entry.sequence}"
        return f"entry {number} is not in its place: line {number} holds entry {entry.sequence} (reordered or inserted)"
    if entry.previous != previous:
        return (
            f"entry {max(1, number - 1)} or {number} was replaced: entry {number} follows {entry.previous[:12]}, "
            f"the entry before it has hash {previous[:12]}"
        )
    if not sealed(line, entry):
        return f"entry {number} was edited: its content has not the hash {entry.hash[:12]} that it records"
    if number > head.sequence and not (number == head.sequence + 1 and entry.hash == head.pending):
        return f"entry {number} was inserted: the signed head covers {head.sequence} entries and announces no such entry"
    return ""


def _sequence(line: bytes) -> int | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value.get("sequence") if isinstance(value, dict) else None


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in TYPES}
