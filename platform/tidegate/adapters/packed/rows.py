"""The packed layout of the online store: one row a view and entity, and what a place for such rows must do.

A row is MessagePack `[schema, event time, values, check]`: the schema of the view's names and the values as `columns` has them,
microseconds since the epoch (UTC), and a CRC-32 of view, entity and all bytes before it. The names themselves are stored once a
view. A reader compares each row's schema with the one it decodes by, so values never end up under wrong names, and its check,
so that a flipped bit, or a row under another key, is no feature. Rows of earlier versions have no check; they are read all the
same.

A place also keeps a watermark (`tidegate.ports.features.Watermark`), written with the rows, and beside it the newest event time
of each view. See packed_sqlite.py and packed_redis.py. The serving process imports this module: no vendor library.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol

import msgspec
import numpy as np

from tidegate.adapters.packed.columns import Columns, Texts, contents
from tidegate.domain.errors import IntegrityError
from tidegate.ports.features import ViewMark, Watermark

READ_TIMEOUT_S, WRITE_TIMEOUT_S = 0.25, 60.0
FORMAT = 1  # of watermarks
VERIFICATIONS = 3  # of a store that is written meanwhile
AGAIN = "materialize again with 'tidegate features materialize'"
RowKey = tuple[str, str]  # view, entity

Row = tuple[bytes, int, bytes]  # schema, event time, values

_FOUR, _CHECK = 0x94, b"\xc4\x04"  # MessagePack: an array of four; four bytes
_RESIDUE = 0x2144DF1C  # the CRC-32 of anything followed by its own CRC-32, the lowest byte first

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, int, bytes, bytes]).decode
_decode_unchecked = msgspec.msgpack.Decoder(Row).decode
_decode_watermark = msgspec.json.Decoder(Watermark).decode


@dataclass(frozen=True)
class ViewRows:
    """Rows of one view: `values` float64 [n, features], `event_times` int64 [n] in microseconds since the epoch.

    `until` is the moment up to which they are all there is to know (default: the newest event time), `table` the digest of
    the feature table they come from, `texts` the features that are no numbers.
    """

    features: tuple[str, ...]
    entities: Sequence[str]
    event_times: np.ndarray
    values: np.ndarray
    until: int | None = None
    table: str = ""
    texts: Texts = field(default_factory=dict)

    @property
    def columns(self) -> Columns:
        return Columns(tuple(self.features), tuple(self.texts))

    def packed(self, view: str) -> dict[str, bytes]:
        """The bytes of each entity's row; raises InvalidInput for a text that is too long."""
        schema, times = self.columns.schema, self.event_times.tolist()
        rows = zip(self.entities, times, contents(view, self.entities, self.values, self.texts), strict=True)
        return {entity: pack((view, entity), schema, at, content) for entity, at, content in rows}

    def mark(self, rows: int, digest: str, earlier: ViewMark | None) -> ViewMark:
        """The view's mark once these are written; `earlier` is that of the rows that stay beside them, if any stay."""
        newest = int(self.event_times.max()) if len(self.event_times) else 0
        until = newest if self.until is None else self.until
        if earlier is None:
            return ViewMark(until, time.time(), rows, digest, self.table, newest)
        return ViewMark(max(until, earlier.until), time.time(), rows, digest, self.table, max(newest, earlier.newest))


@dataclass(frozen=True)
class Stored:
    """What a place holds: each view's columns, the watermark (None: written by an earlier version), and a token that differs
    when any of it was written anew."""

    views: Mapping[str, Columns]
    watermark: Watermark | None
    version: object


@lru_cache(maxsize=1024)
def _seed(view: str) -> int:
    return zlib.crc32(f"{view}\0".encode())


def pack(key: RowKey, schema: bytes, moment: int, values: bytes) -> bytes:
    body = bytes([_FOUR]) + _encode((schema, moment, values))[1:] + _CHECK
    return body + zlib.crc32(body, zlib.crc32(key[1].encode(), _seed(key[0]))).to_bytes(4, "little")


def unpack(where: str, key: RowKey, data: bytes) -> Row:
    """The row; raises IntegrityError."""
    try:
        if data[:1] != b"\x94":
            earlier: Row = _decode_unchecked(data)
            return earlier
        if zlib.crc32(data, zlib.crc32(key[1].encode(), _seed(key[0]))) == _RESIDUE:
            schema, moment, values, _ = _decode(data)
            return schema, moment, values
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        raise _damaged(where, key, str(error)) from error
    raise _damaged(where, key, "its checksum does not match")


def _damaged(where: str, key: RowKey, why: str) -> IntegrityError:
    return IntegrityError(f"online store {where}: the row of '{key[1]}' in view '{key[0]}' is damaged ({why}); {AGAIN}")


def rows_digest(rows: Iterable[tuple[str, bytes]]) -> str:
    """Digest of a view's rows, whatever their order."""
    hasher = sha256()
    for entity, data in sorted(rows):
        key = entity.encode("utf-8", "surrogatepass")
        hasher.update(len(key).to_bytes(4, "big") + key + len(data).to_bytes(4, "big") + data)
    return hasher.hexdigest()


def next_watermark(sequence: int, views: Mapping[str, ViewMark]) -> Watermark:
    unnamed = Watermark(sequence, "", dict(views), FORMAT)
    return replace(unnamed, id=_watermark_id(unnamed))


def watermark_bytes(watermark: Watermark) -> bytes:
    """Without `newest`, which earlier versions do not know and would take for damage; a place keeps it beside."""
    content = asdict(watermark)
    for mark in content["views"].values():
        del mark["newest"]
    return json.dumps(content, sort_keys=True).encode()


def read_watermark(where: str, content: bytes | str, newest: Mapping[str, int] | None = None) -> Watermark:
    """The watermark, with the newest event time of each view; raises IntegrityError when it is damaged, or of a format that
    this version does not know."""
    try:
        watermark = _decode_watermark(content)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"online store {where}: its watermark is damaged ({error}); {AGAIN}") from error
    if watermark.format > FORMAT:
        raise IntegrityError(
            f"online store {where}: its watermark is of format {watermark.format}, this version reads up to {FORMAT}; "
            "use the version that wrote it, or materialize again"
        )
    if watermark.id != _watermark_id(watermark):
        raise IntegrityError(f"online store {where}: its watermark is damaged (its digest does not match); {AGAIN}")
    if not newest:
        return watermark
    return replace(watermark, views={view: replace(each, newest=newest.get(view, 0)) for view, each in watermark.views.items()})


def _watermark_id(watermark: Watermark) -> str:
    return sha256(watermark_bytes(replace(watermark, id=""))).hexdigest()[:32]


class PackedBackend(Protocol):
    """A place for packed rows. Every method raises Unavailable when the place cannot be used, IntegrityError when what it
    holds is not what was written. Reading is bounded by READ_TIMEOUT_S, writing by WRITE_TIMEOUT_S."""

    where: str

    def stored(self) -> Stored:
        """What there is, looked at anew."""

    def read(
        self, views: Sequence[str], entities: Sequence[str], others: Sequence[RowKey] = ()
    ) -> tuple[object, dict[RowKey, bytes]]:
        """The version, and the rows of it that exist, of each of `entities` in each of `views` and of `others`, all as of one
        moment, in one round trip."""

    def sample(self, view: str) -> tuple[str, bytes] | None:
        """Any row of a view."""

    def rows(self, view: str) -> Iterator[tuple[str, bytes]]:
        """All rows of a view."""

    def write(self, rows: Mapping[str, ViewRows], replace: bool) -> Watermark:
        """Write all rows or none; with `replace` these views hold nothing else afterwards, without they grow.

        Rows of a schema other than the view's new one are removed in any case. Other views stay as they are.
        """

    def drop(self, views: Sequence[str]) -> None: ...

    def close(self) -> None: ...


def verify(backend: PackedBackend, views: Iterable[str]) -> int:
    """Read every row of `views` and compare with the watermark; returns their number, raises IntegrityError."""
    wanted = list(views)
    for _ in range(VERIFICATIONS):
        stored = backend.stored()
        found = {view: dict(backend.rows(view)) for view in wanted}
        if backend.stored().version == stored.version:
            break  # not written meanwhile
    for view, rows in found.items():
        for entity, data in rows.items():
            unpack(backend.where, (view, entity), data)
        mark = stored.watermark.views.get(view) if stored.watermark else None
        if mark is not None and (len(rows) != mark.rows or (mark.digest and rows_digest(rows.items()) != mark.digest)):
            raise IntegrityError(
                f"online store {backend.where}: the {len(rows):,} rows of view '{view}' are not the {mark.rows:,} that were "
                f"written; {AGAIN}"
            )
    return sum(map(len, found.values()))


def without_password(url: str) -> str:
    """The address without user, password and options; a path as it is."""
    if "://" not in url:
        return url
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def sorted_views(views: Mapping[str, Any]) -> str:
    return ", ".join(sorted(views)) or "none"
