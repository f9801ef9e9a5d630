"""The serving process's reader of the packed online store: one round trip, decoded into arrays, no Feast.

A slot opens it as `open_online_reader(address, contract)`, see `tidegate.files.feature_folder` for addresses. Rows are checked
against the schema that they were written with: a view or feature that the contract wants and the store lacks, and a row of
another schema, is an error that names the view, never a wrong number. A store that was materialized with a changed schema (a
feature more) goes on being read as long as it has what the contract names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import PackedBackend, Stored, schema_of, sorted_views, unpack
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ports.features import OnlineFeatureReader, OnlineRows, Watermark

LOOKS = 3  # at a store that is written anew while it is read


def open_online_reader(address: str, contract: FeatureContract) -> OnlineFeatureReader:
    """A reader of the contract's stored features; safe to share between threads. Does not connect yet: see `ping`."""
    return PackedOnlineReader(open_backend(address), contract)


@dataclass(frozen=True)
class _Layout:
    """How rows of a view are decoded: their schema, their width, and where the contract's features lie."""

    schema: bytes
    width: int
    columns: np.ndarray


@dataclass(frozen=True)
class _Look:
    """The store as it was when it was last looked at."""

    stored: Stored
    layouts: Mapping[str, _Layout]


class PackedOnlineReader:
    """An OnlineFeatureReader.

    `event_times` is the newest of an entity's rows over the views: recomputing offline at that time finds the same rows. All
    views are materialized together, so that they hardly ever differ. An entity is `found` when every view has a row of it;
    the event time of an entity without any row is 0.
    """

    def __init__(self, backend: PackedBackend, contract: FeatureContract) -> None:
        self._backend = backend
        self._views = {view: tuple(names) for view, names in contract.stored.items()}
        self._names = tuple(self._views)
        self._width = sum(map(len, self._views.values()))
        self._look: _Look | None = None

    def read(self, entities: Sequence[str]) -> OnlineRows:
        look = self._look or self._refresh()
        version, rows = self._backend.read(self._names, entities)
        for _ in range(LOOKS):
            if version == look.stored.version:
                break
            look = self._refresh()
            version, rows = self._backend.read(self._names, entities)
        n, where = len(entities), self._backend.where
        values = np.full((n, self._width), np.nan)
        times = np.zeros(n, dtype=np.int64)
        found = np.ones(n, dtype=bool)
        start = 0
        for view, names in self._views.items():
            index: list[int] = []
            raw: list[bytes] = []
            stamps: list[int] = []
            layout = look.layouts[view]
            for i, entity in enumerate(entities):
                data = rows.get((view, entity))
                if data is None:
                    continue
                schema, stamp, content = unpack(where, (view, entity), data)
                if schema != layout.schema:  # a store of an earlier version does not say that it was written anew
                    look = self._refresh()
                    layout = look.layouts[view]
                self._check(view, entity, layout, schema, content)
                index.append(i)
                raw.append(content)
                stamps.append(stamp)
            block = np.frombuffer(b"".join(raw), dtype="<f8").reshape(len(index), layout.width)
            values[index, start : start + len(names)] = block[:, layout.columns]
            times[index] = np.maximum(times[index], np.array(stamps, dtype=np.int64))
            present = np.zeros(n, dtype=bool)
            present[index] = True
            found &= present
            start += len(names)
        return OnlineRows(values, times, found)

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
            self._check(view, entity, layout, schema, content)

    def watermark(self) -> Watermark | None:
        look = self._look
        if look is None or look.stored.watermark is None:
            return None
        mark = look.stored.watermark
        return replace(mark, views={view: each for view, each in mark.views.items() if view in self._views})

    def close(self) -> None:
        self._backend.close()

    def _refresh(self) -> _Look:
        stored = self._backend.stored()
        where = self._backend.where
        layouts = {}
        for view, names in self._views.items():
            if view not in stored.views:
                raise Unavailable(
                    f"online store {where} has no view '{view}' (it has {sorted_views(stored.views)}); "
                    "fill it with 'tidegate features materialize'"
                )
            there = stored.views[view]
            missing = [name for name in names if name not in there]
            if missing:
                raise IntegrityError(
                    f"online store {where}: view '{view}' lacks feature '{missing[0]}' of the release's contract; "
                    "it was written by other definitions, materialize again"
                )
            columns = np.array([there.index(name) for name in names], dtype=np.intp)
            layouts[view] = _Layout(schema_of(there), len(there), columns)
        self._look = _Look(stored, layouts)
        return self._look

    def _check(self, view: str, entity: str, layout: _Layout, schema: bytes, content: bytes) -> None:
        if schema != layout.schema or len(content) != 8 * layout.width:
            raise IntegrityError(
                f"online store {self._backend.where}: the row of '{entity}' in view '{view}' has schema {schema.hex()} and "
                f"{len(content) // 8} values, required {layout.schema.hex()} and {layout.width}; materialize again"
            )
