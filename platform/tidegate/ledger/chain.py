"""Hash chain of the ledger, as pure functions over lines of bytes.

Every entry is one line of canonical JSON. Its `hash` is the SHA-256 of the line without the hash itself, as it lies on disk;
one of the other fields is `previous`, the hash of the entry before; so an edited, deleted, reordered or inserted entry breaks
the chain at a place that can be named. A chain alone cannot tell that its tail is missing, or that all of it was computed anew:
for that a `Head`, kept and signed apart, names the last acknowledged entry, and `tidegate.ledger.checkpoint` a copy elsewhere.

`Head.pending` is the intent written before the lines of a batch of entries, mostly one: lines after the head are ours if the
last one's hash was announced, and whatever else lies there was put there by someone else. A batch that is not whole counts as
torn. An entry counts as acknowledged when the head covers it.

Formats last: nothing is serialized again to be verified, so an entry of any version verifies for ever. A field that this
version does not know is covered by the hash and ignored. A line whose meaning changes says another `schema` than 1, and is
refused here.

Limit: who holds the signing key, or puts back an older ledger together with its older head, is not found here; keep the
key and checkpoints where the ledger's writer has no access.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from tidegate.domain.actor import ACTOR, Actor
from tidegate.domain.digests import canonical_json, digest_of
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.domain.formats import added, document
from tidegate.ports.ledger import Draft, Entry, Line, Verification

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
ACTORS = ("author", "by")  # of an entry, where they are known


@dataclass(frozen=True)
class Head:
    """What is acknowledged: `sequence` entries, the last with `hash`, in the first `size` bytes of the ledger's segments.

    `pending` is the hash of the last of `batch` entries about to be written. `closed` segments are never written again; their
    seals (`tidegate.ledger.segments`) have the digest `seals`.
    """

    sequence: int = 0
    hash: str = GENESIS
    size: int = 0
    pending: str | None = None
    batch: int = added(default=1)
    closed: int = added(default=0)
    seals: str = added(default="")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Head:
        """Raises KeyError, TypeError or ValueError. What it does not know is signed too, and ignored."""
        named = {field.name: value[field.name] for field in fields(cls) if field.name in value or field.name in _ALWAYS}
        read = cls(**named)
        counts, texts = (read.sequence, read.size, read.batch, read.closed), (read.hash, read.seals)
        if not (all(isinstance(each, int) for each in counts) and all(isinstance(each, str) for each in texts)):
            raise ValueError("sequence, hash and size have not the types of a head")
        return read

    def to_json(self) -> dict[str, Any]:
        return dict(document(self))

    def settled(self) -> Head:
        """With nothing about to be written."""
        return replace(self, pending=None, batch=1)

    def announces(self, number: int, hash: str) -> bool:
        """Whether an entry behind those that are acknowledged is one that was about to be written."""
        last = self.sequence + self.batch
        return self.pending is not None and (number < last or (number == last and hash == self.pending))


_ALWAYS = ("sequence", "hash", "size", "pending")


def signed_bytes(head: Mapping[str, Any]) -> bytes:
    """What a head's signature covers, given all that it says."""
    return canonical_json(head)


def entry_hash(entry: Entry) -> str:
    """The hash that `entry` is to have as it is written by this version."""
    return digest_of({name: value for name, value in _fields(entry).items() if name != "hash"})


def next_entry(
    head: Head, at: float, actor: Actor, action: str, subject: str, body: Mapping[str, Any], by: Actor | None = None
) -> Entry:
    """The entry that follows `head`, recorded by `by`; raises InvalidInput when `body` is not plain JSON."""
    try:
        plain = json.loads(canonical_json(dict(body)))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"ledger: the body of entry '{action}' of {subject} is not plain JSON ({error}); give strings, finite numbers, "
            "lists and mappings only"
        ) from error
    author = actor.unclaimed if actor.proof and actor.unclaimed != by else None
    unsealed = Entry(head.sequence + 1, round(at, 6), actor.name, action, subject, plain, head.hash, "", by, author)
    return replace(unsealed, hash=entry_hash(unsealed))


def next_entries(head: Head, clock: Callable[[], float], drafts: Sequence[Draft], by: Actor | None = None) -> list[Entry]:
    """The entries that follow `head`, one after the other; raises InvalidInput as `next_entry` does."""
    entries: list[Entry] = []
    for draft in drafts:
        after = Head(entries[-1].sequence, entries[-1].hash) if entries else head
        entries.append(next_entry(after, clock(), draft.actor, draft.action, draft.subject, draft.body, by))
    return entries


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
        who = {name: ACTOR.read(value[name], Actor, f"ledger: line {number}") for name in ACTORS if name in value}
        return Entry(**{**{name: value[name] for name in TYPES}, **who})
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


@dataclass(frozen=True)
class Chain:
    """What lies behind a known head: entries in order, those that were announced and not acknowledged among them, and what is
    wrong, empty for nothing."""

    entries: tuple[Entry, ...]
    problem: str = ""


def read_chain(content: bytes, head: Head, after: Head | None = None) -> Chain:
    """Check `content`, the bytes that follow those of `after`, up to a head (whose signature the caller has checked).

    What was announced behind the head, whole or torn, is what a crash leaves and is no problem: it was never acknowledged.
    """
    after = after or Head()
    lines, rest = split_lines(content)
    entries: list[Entry] = []
    last, previous, size = after.sequence + len(lines), after.hash, after.size
    for number, line in enumerate(lines, start=after.sequence + 1):
        entry = _checked(line, number, previous, lines[number - after.sequence :], head)
        if isinstance(entry, str):
            return Chain(tuple(entries), entry)
        entries.append(entry)
        previous = entry.hash
        size += len(line) + 1
        if number == head.sequence and (previous, size) != (head.hash, head.size):
            problem = f"entry {number} has hash {previous[:12]}, the signed head names {head.hash[:12]}: it was rewritten"
            return Chain(tuple(entries), problem)
    problem = ""
    if last < head.sequence:
        problem = f"entries {last + 1} to {head.sequence} are missing: the signed head covers {head.sequence} entries"
    elif rest and not (head.pending and last < head.sequence + head.batch):
        problem = f"{len(rest)} bytes follow entry {last} that no entry announced: they were inserted"
    return Chain(tuple(entries), problem)


def check_chain(content: bytes, head: Head) -> Verification:
    """A whole ledger of one segment."""
    problem = read_chain(content, head).problem
    return Verification(not problem, head.sequence, head.hash, problem)


def marked_lines(segments: Iterable[bytes], head: Head | None) -> Iterator[Line]:
    """Every line with what is wrong with it alone: where one was taken away, the next says so, and those after it are sound.

    Without a head that can be trusted, `head` is None and nothing can be said about the end.
    """
    number, rest = 0, b""
    before: Entry | None = None
    for number, line, behind in _numbered(segments):
        if line is None:
            rest = behind
            continue
        if rest:
            yield Line(number, None, f"{len(rest)} bytes that are no line")
            rest = b""
        try:
            entry = from_line(line, number)
        except IntegrityError as error:
            before = None
            yield Line(number, None, str(error))
            continue
        yield Line(number, entry, _mark(line, number, entry, before, head))
        before = entry
    announced = head is not None and head.pending and head.sequence <= number < head.sequence + head.batch
    if rest and not announced:
        yield Line(number + 1, None, f"{len(rest)} bytes that are no line")
    if head is not None and number < head.sequence:
        yield Line(head.sequence, None, f"entries {number + 1} to {head.sequence} are missing: the signed head covers them")


def _numbered(segments: Iterable[bytes]) -> Iterator[tuple[int, bytes | None, bytes]]:
    """Number and line, and what follows the last line's end of a segment; None for a line where there is only that."""
    number = 0
    for content in segments:
        lines, rest = split_lines(content)
        for line in lines:
            number += 1
            yield number, line, b""
        if rest:
            yield number, None, rest


def _mark(line: bytes, number: int, entry: Entry, before: Entry | None, head: Head | None) -> str:
    if not sealed(line, entry):
        return "it was edited: its content has not the hash that it records"
    if number == 1 and entry.previous != GENESIS:
        return f"it is entry {entry.sequence}: what came before it is missing"
    if number > 1 and before is None:
        return "it follows a line that cannot be read"
    if before is not None and (entry.previous, entry.sequence) != (before.hash, before.sequence + 1):
        return f"it does not follow the line before it: entries between {before.sequence} and {entry.sequence} were changed"
    if head is not None and number > head.sequence and not head.announces(number, entry.hash):
        return f"the signed head covers {head.sequence} entries and announces no such entry: it was inserted"
    if head is not None and number == head.sequence and entry.hash != head.hash:
        return f"the signed head names {head.hash[:12]} in its place: it was rewritten"
    return ""


def _checked(line: bytes, number: int, previous: str, later: Sequence[bytes], head: Head) -> Entry | str:
    """The entry in line `number`, given the hash of the entry before it and the lines after; or what is wrong with it."""
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
    if number > head.sequence and not head.announces(number, entry.hash):
        return f"entry {number} was inserted: the signed head covers {head.sequence} entries and announces no such entry"
    return entry


def _sequence(line: bytes) -> int | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value.get("sequence") if isinstance(value, dict) else None


def _fields(entry: Entry) -> dict[str, Any]:
    # keys are sorted: `hash` stays right before `previous`
    said = {name: document(actor) for name in ACTORS if (actor := getattr(entry, name)) is not None}
    return {name: getattr(entry, name) for name in TYPES} | said
