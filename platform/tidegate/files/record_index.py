"""What a segment of the inference log holds, block by block: which releases, in which times, on data of which days.

A block is a run of whole lines. Its summary says where a reader need not look; what a reader does look at, it judges by the
lines themselves. The summary of a segment is kept beside it (`<segment>.index`) and is derived data: one that is missing,
damaged, of another version or of another file is made anew from the segment, and one that cannot be written is done without.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from tidegate.domain.slots import Slot

SUFFIX = ".index"
BLOCK = 256 * 1024  # bytes of lines, about
MOST_DAYS = 32  # listed one by one in a summary; of more, first and last are
DAY_US = 86_400_000_000
FURTHEST = 10_000_000  # days; event times that are further away are as far
_VERSION = b"tidegate-records 1 "
_ENDS = 4096

Vectors = Literal["keyed", "sent", "none"]


class RecordHead(msgspec.Struct):
    """A line without what was asked and answered."""

    id: str
    at: float
    model: str
    release: str
    slot: Slot
    shadow: bool
    status: int
    latency_ms: float
    rows: int
    client_id: str = ""
    route: str = ""
    error: str = ""
    entities: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"[]"))
    event_times: list[int] = msgspec.field(default_factory=list)

    @property
    def vectors(self) -> Vectors:
        """Whether vectors were looked up by key, sent by the client, or there are none."""
        if bytes(self.entities) != b"[]":
            return "keyed"
        return "sent" if self.rows > 0 else "none"

    @property
    def day(self) -> int | None:
        """Days since the epoch of the latest of its event times."""
        if not self.event_times:
            return None
        return max(-FURTHEST, min(FURTHEST, max(self.event_times) // DAY_US))


class Group(msgspec.Struct, array_like=True):
    """Records of a block that have the first six fields in common: how many, when the first and last were made, and the days
    of their event times, all or (`between`) the first and last."""

    model: str
    release: str
    slot: Slot
    shadow: bool
    vectors: Vectors
    timed: bool
    count: int
    first: float
    last: float
    days: list[int]
    between: bool = False


class Block(msgspec.Struct, array_like=True):
    """Lines from byte `start` to `end` of a segment, of which `bad` cannot be read. In a compressed segment `packed` says
    where the block's bytes are."""

    start: int
    end: int
    bad: int
    groups: list[Group]
    packed: tuple[int, int] | None = None


class _Saved(msgspec.Struct):
    ends: str
    blocks: list[Block]


_head = msgspec.json.Decoder(RecordHead)
_saved = msgspec.json.Decoder(_Saved)


def read_head(line: bytes) -> RecordHead | None:
    """Who answered, when; None for a line that cannot be read."""
    try:
        return _head.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def summary(start: int, data: bytes) -> Block:
    """The block of `data`, whole lines that begin at `start`."""
    bad = 0
    found: dict[tuple[object, ...], Group] = {}
    for line in data.split(b"\n")[:-1]:
        head = read_head(line)
        if head is None:
            bad += 1
            continue
        day, vectors = head.day, head.vectors
        key = (head.release, head.slot, head.shadow, vectors, day is not None, head.model)
        group = found.get(key)
        if group is None:
            first = (head.model, head.release, head.slot, head.shadow, vectors, day is not None)
            group = found[key] = Group(*first, 0, head.at, head.at, [])
        group.count += 1
        group.first, group.last = min(group.first, head.at), max(group.last, head.at)
        if day is not None:
            _add_days(group, (day,))
    return Block(start, start + len(data), bad, list(found.values()))


def joined(one: Block, two: Block) -> Block:
    """Both as one; `two` begins where `one` ends."""
    groups = {_key(group): msgspec.structs.replace(group, days=list(group.days)) for group in one.groups}
    for more in two.groups:
        group = groups.get(_key(more))
        if group is None:
            groups[_key(more)] = more
            continue
        group.count += more.count
        group.first, group.last = min(group.first, more.first), max(group.last, more.last)
        group.between |= more.between
        _add_days(group, more.days)
    return Block(one.start, two.end, one.bad + two.bad, list(groups.values()))


def _key(group: Group) -> tuple[object, ...]:
    return (group.release, group.slot, group.shadow, group.vectors, group.timed, group.model)


def _add_days(group: Group, days: Iterable[int]) -> None:
    for day in days:
        if not group.between and day in group.days:
            continue
        group.days.append(day)
        if group.between or len(group.days) > MOST_DAYS:
            group.days, group.between = [min(group.days), max(group.days)], True


def save(path: Path, segment: Path, blocks: list[Block]) -> None:
    """Write the summary of what `segment` holds so far, in one step; without one where that cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with suppress(OSError):
        try:
            body = msgspec.json.encode(_Saved(_ends(segment, _length(blocks)), blocks))
            temporary.write_bytes(_VERSION + _digest(body) + b"\n" + body)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def load(path: Path, segment: Path) -> list[Block]:
    """The blocks that were saved of `segment`; none where they are not whole, or not of this file."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        if head != _VERSION + _digest(body):
            return []
        saved = _saved.decode(body)
        return saved.blocks if saved.ends == _ends(segment, _length(saved.blocks)) else []
    except (OSError, ValueError, msgspec.MsgspecError, UnicodeDecodeError):
        return []


def _length(blocks: list[Block]) -> int:
    """Of what the blocks tell of, in the file that holds it."""
    if not blocks:
        return 0
    return blocks[-1].packed[1] if blocks[-1].packed else blocks[-1].end


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()


def _ends(segment: Path, length: int) -> str:
    """Names the first `length` bytes of a file by its ends. Raises OSError, and ValueError for one that is shorter."""
    with segment.open("rb") as handle:
        if os.fstat(handle.fileno()).st_size < length:
            raise ValueError(f"{segment} is shorter than {length} bytes")
        first = handle.read(min(_ENDS, length))
        handle.seek(max(0, length - _ENDS))
        return hashlib.blake2b(first + handle.read(min(_ENDS, length)), key=str(length).encode(), digest_size=16).hexdigest()
