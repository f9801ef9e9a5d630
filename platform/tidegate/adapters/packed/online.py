"""The serving process's reader of the packed online store: one round trip, decoded into arrays, no Feast.

A slot opens it as `open_online_reader(address, contract)`, see `tidegate.files.feature_folder` for addresses. Rows are checked
against the schema that they were written with: a view or feature that the contract wants and the store lacks, and a row of
another schema, is an error that names the view, never a wrong number. A store that was materialized with a changed schema (a
feature more) goes on being read as long as it has what the contract names.

A value that is older than its view's TTL, at the store's moment, is missing. The store's moment is what it was materialized
until, plus the time that went by since: a store of today's data grows old with the clock, and so does one of a past day.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from tidegate.adapters.packed.columns import Columns, read_texts
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import PackedBackend, RowKey, Stored, sorted_views, unpack
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, InvalidInput, Unavailable
from tidegate.domain.keys import TEXT, Key, entity_of, parts_of
from tidegate.ports.features import OnlineFeatureReader, OnlineRows, StoreClock, Watermark

LOOKS = 3  # at a store that is written anew while it is read
SECOND = 1e6  # microseconds


def open_online_reader(address: str, contract: FeatureContract, clock: Callable[[], float] = time.time) -> OnlineFeatureReader:
    """A reader of the contract's stored features; safe to share between threads. Does not connect yet: see `ping`."""
    return PackedOnlineReader(open_backend(address), contract, clock)


@dataclass(frozen=True)
class _View:
    """A view of the contract: its features that are numbers, with the column of the answer where they begin, and its texts, by
    their names in the contract; how long a value holds (microseconds); its key, where that is a part of the contract's."""

    name: str
    numbers: tuple[str, ...]
    start: int
    texts: Mapping[str, str]
    ttl: int | None
    part: Key | None

    @property
    def stop(self) -> int:
        return self.start + len(self.numbers)


@dataclass(frozen=True)
class _Layout:
    """How rows of a view are decoded: their schema, how many numbers and texts they have, and where the contract's lie."""

    schema: bytes
    width: int
    columns: np.ndarray
    words: int
    texts: Mapping[str, int]


@dataclass(frozen=True)
class _Look:
    """The store as it was when it was last looked at, and its clock, None where no value grows too old."""

    stored: Stored
    layouts: Mapping[str, _Layout]
    clock: StoreClock | None


class PackedOnlineReader:
    """An OnlineFeatureReader.

    `event_times` is the newest of an entity's rows over the views, or where a value has passed its TTL since, the moment just
    after it did: recomputing offline at that time finds the same rows, and misses the same. An entity is `found` when any view
    with a join key has a row of it; what the other views lack is missing. The event time of an entity without any row is 0.
    """

    def __init__(self, backend: PackedBackend, contract: FeatureContract, clock: Callable[[], float] = time.time) -> None:
        self._backend, self._key, self._clock = backend, contract.key, clock
        self._views = tuple(_views(contract))
        self._whole = tuple(view.name for view in self._views if view.part is None)
        self._parts = tuple(view for view in self._views if view.part is not None)
        self._width = self._views[-1].stop if self._views else 0
        self._look: _Look | None = None
        self._expired: Counter[str] = Counter()
        self._lock = threading.Lock()

    def read(self, entities: Sequence[str]) -> OnlineRows:
        look = self._look or self._refresh()
        asked = {view.name: self._of_view(view, entities) for view in self._parts}
        others = [(view, entity) for view, some in asked.items() for entity in dict.fromkeys(some) if entity is not None]
        version, rows = self._backend.read(self._whole, entities, others)
        for _ in range(LOOKS):
            if version == look.stored.version:
                break
            look = self._refresh()
            version, rows = self._backend.read(self._whole, entities, others)
        n, where = len(entities), self._backend.where
        values = np.full((n, self._width), np.nan)
        texts = {name: np.full(n, None, dtype=object) for view in self._views for name in view.texts}
        times = np.zeros(n, dtype=np.int64)
        found = np.zeros(n, dtype=bool)
        moment = None if look.clock is None else look.clock.at(self._clock())
        for view in self._views:
            index: list[int] = []
            raw: list[bytes] = []
            stamps: list[int] = []
            layout, name = look.layouts[view.name], view.name
            for i, entity in enumerate(entities if view.part is None else asked[name]):
                data = None if entity is None else rows.get((name, entity))
                if entity is None or data is None:
                    continue
                schema, stamp, content = unpack(where, (name, entity), data)
                if schema != layout.schema:  # a store of an earlier version does not say that it was written anew
                    look = self._refresh()
                    layout = look.layouts[name]
                self._check((name, entity), layout, schema, content)
                index.append(i)
                raw.append(content)
                stamps.append(stamp)
            if not index:
                continue
            if layout.words:
                self._read_texts(view, layout, index, raw, texts)
                raw = [content[: 8 * layout.width] for content in raw]
            block = np.frombuffer(b"".join(raw), dtype="<f8").reshape(len(index), layout.width)
            values[index, view.start : view.stop] = block[:, layout.columns]
            known = np.array(stamps, dtype=np.int64)
            if view.ttl is not None and moment is not None and min(stamps) < moment - view.ttl:
                known = self._without_expired(view, moment, known, index, values, texts)
            times[index] = np.maximum(times[index], known)
            if view.part != ():  # what is known of all together is not known of this one
                found[index] = True
        return OnlineRows(values, times, found, texts)

    def ping(self) -> None:
        look = self._refresh()
        for view, layout in look.layouts.items():
            sample = self._backend.sample(view)
            if sample is None:
                continue
            entity, data = sample
            schema, _, content = unpack(self._backend.where, (view, entity), data)
            if schema != layout.schema:
                layout = self._refresh().layouts[view]
            self._check((view, entity), layout, schema, content)

    def watermark(self) -> Watermark | None:
        look = self._look
        if look is None or look.stored.watermark is None:
            return None
        mark = look.stored.watermark
        names = {view.name for view in self._views}
        return replace(mark, views={view: each for view, each in mark.views.items() if view in names})

    def expired(self) -> Mapping[str, int]:
        return dict(self._expired)

    def close(self) -> None:
        self._backend.close()

    def _of_view(self, view: _View, entities: Sequence[str]) -> list[str | None]:
        """The entities' parts that are the key of the view; None of what is no entity of this key."""
        assert view.part is not None  # noqa: S101 - of such views only
        places = [self._key.index(part) for part in view.part]
        made: list[str | None] = []
        for entity in entities:
            try:
                parts = parts_of(entity, self._key)
            except InvalidInput:
                made.append(None)
            else:
                made.append(entity_of([parts[place] for place in places], view.part))
        return made

    def _read_texts(
        self, view: _View, layout: _Layout, index: list[int], raw: list[bytes], texts: Mapping[str, np.ndarray]
    ) -> None:
        try:
            words = [read_texts(content, 8 * layout.width) for content in raw]
        except msgspec.MsgspecError as error:
            raise self._other(view.name, f"has texts that cannot be read ({error})") from error
        if any(len(row) != layout.words for row in words):
            raise self._other(view.name, f"has other than {layout.words} texts")
        for name, at in layout.texts.items():
            texts[name][index] = [row[at] for row in words]

    def _without_expired(
        self,
        view: _View,
        moment: int,
        stamps: np.ndarray,
        index: list[int],
        values: np.ndarray,
        texts: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """Make missing what is older than the view's TTL; returns what is known of when each row is of."""
        assert view.ttl is not None  # noqa: S101 - of such views only
        late = stamps < moment - view.ttl
        gone = np.array(index)[late]
        values[gone, view.start : view.stop] = np.nan
        for name in view.texts:
            texts[name][gone] = None
        with self._lock:
            self._expired[view.name] += len(gone)
        return np.where(late, stamps + view.ttl + 1, stamps)

    def _refresh(self) -> _Look:
        stored = self._backend.stored()
        layouts = {view.name: self._layout(view, stored.views) for view in self._views}
        self._look = _Look(stored, layouts, None)
        mark = self.watermark()
        if mark is not None and any(view.ttl is not None for view in self._views):
            self._look = _Look(stored, layouts, mark.clock)
        return self._look

    def _layout(self, view: _View, there: Mapping[str, Columns]) -> _Layout:
        where = self._backend.where
        if view.name not in there:
            raise Unavailable(
                f"online store {where} has no view '{view.name}' (it has {sorted_views(there)}); "
                "fill it with 'tidegate features materialize'"
            )
        held = there[view.name]
        missing = [name for name in view.numbers if name not in held.numbers]
        missing += [name for name in view.texts.values() if name not in held.texts]
        if missing:
            raise IntegrityError(
                f"online store {where}: view '{view.name}' lacks feature '{missing[0]}' of the release's contract; "
                "it was written by other definitions, materialize again"
            )
        columns = np.array([held.numbers.index(name) for name in view.numbers], dtype=np.intp)
        texts = {name: held.texts.index(plain) for name, plain in view.texts.items()}
        return _Layout(held.schema, len(held.numbers), columns, len(held.texts), texts)

    def _check(self, key: RowKey, layout: _Layout, schema: bytes, content: bytes) -> None:
        length = len(content) - 8 * layout.width
        if schema != layout.schema or (length < 0 if layout.words else length):
            raise IntegrityError(
                f"online store {self._backend.where}: the row of '{key[1]}' in view '{key[0]}' has schema {schema.hex()} and "
                f"{len(content) // 8} values, required {layout.schema.hex()} and {layout.width}; materialize again"
            )

    def _other(self, view: str, what: str) -> IntegrityError:
        return IntegrityError(f"online store {self._backend.where}: a row of view '{view}' {what}; materialize again")


def _views(contract: FeatureContract) -> Iterator[_View]:
    start = 0
    for view, names in contract.stored.items():
        texts = {f"{view}__{name}": name for name in names if contract.types.get(f"{view}__{name}") == TEXT}
        numbers = tuple(name for name in names if name not in texts.values())
        seconds = contract.ttl.get(view)
        ttl = None if seconds is None else round(seconds * SECOND)
        yield _View(view, numbers, start, texts, ttl, contract.key_of(view) if view in contract.view_keys else None)
        start += len(numbers)
