"""The serving process's reader of the packed online store: one round trip, decoded into arrays, no Feast.

A slot opens it as `open_online_reader(online_url(state, setting), contract)`, where `setting` is the target's `onlineStore`.
Rows are checked against the schema that they were written with: a view or feature that the contract wants and the store lacks,
and a row of another schema, is an error that names the view, never a wrong number. A store that was materialized with a
changed schema (a feature more) goes on being read as long as it has what the contract names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tidegate.adapters.packed_rows import PackedBackend, open_backend, schema_of, unpack
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.domain.release import FeatureContract
from tidegate.ports.features import OnlineFeatureReader, OnlineRows

SQLITE = "sqlite"


def online_url(state: Path, online: str = SQLITE) -> str:
    """Where the online store is: the state folder's file for `sqlite`, else the redis URL itself."""
    return str(state / "features" / "online.db") if online == SQLITE else online


def open_online_reader(url_or_path: str, contract: FeatureContract) -> OnlineFeatureReader:
    """A reader of the contract's stored features; safe to share between threads. Does not connect yet: see `ping`."""
    return PackedOnlineReader(open_backend(url_or_path), contract)


@dataclass(frozen=True)
class _Layout:
    """How rows of a view are decoded: their schema, their width, and where the contract's features lie."""

    schema: bytes
    width: int
    columns: np.ndarray


class PackedOnlineReader:
    """An OnlineFeatureReader.

    `event_times` is the newest of an entity's rows over the views: recomputing offline at that time finds the same rows. All
    views are materialized together, so that they hardly ever differ. An entity is `found` when every view has a row of it;
    the event time of an entity without any row is 0.
    """

    def __init__(self, backend: PackedBackend, contract: FeatureContract) -> None:
        self._backend = backend
        self._views = {view: tuple(names) for view, names in contract.stored.items()}
        self._width = sum(map(len, self._views.values()))
        self._layouts: dict[str, _Layout] = {}

    def read(self, entities: Sequence[str]) -> OnlineRows:
        layouts = self._layouts or self._refresh()
        rows = self._backend.read(tuple(self._views), entities) if len(entities) else {}
        n = len(entities)
        values = np.full((n, self._width), np.nan)
        times = np.zeros(n, dtype=np.int64)
        found = np.ones(n, dtype=bool)
        start = 0
        for view, names in self._views.items():
            index: list[int] = []
            raw: list[bytes] = []
            stamps: list[int] = []
            for i, entity in enumerate(entities):
                data = rows.get((view, entity))
                if data is None:
                    continue
                schema, stamp, content = unpack(self._backend.where, (view, entity), data)
                if schema != layouts[view].schema:
                    layouts = self._refresh()
                self._check(view, entity, layouts[view], schema, content)
                index.append(i)
                raw.append(content)
                stamps.append(stamp)
            layout = layouts[view]
            block = np.frombuffer(b"".join(raw), dtype="<f8").reshape(len(index), layout.width)
            values[index, start : start + len(names)] = block[:, layout.columns]
            times[index] = np.maximum(times[index], np.array(stamps, dtype=np.int64))
            present = np.zeros(n, dtype=bool)
            present[index] = True
            found &= present
            start += len(names)
        return OnlineRows(values, times, found)

    def ping(self) -> None:
        self._refresh()

    def close(self) -> None:
        self._backend.close()

    def _refresh(self) -> dict[str, _Layout]:
        stored = self._backend.views()
        where = self._backend.where
        layouts = {}
        for view, names in self._views.items():
            if view not in stored:
                raise Unavailable(
                    f"online store {where} has no view '{view}' (it has {', '.join(sorted(stored)) or 'none'}); "
                    "fill it with 'tidegate features materialize'"
                )
            missing = [name for name in names if name not in stored[view]]
            if missing:
                raise IntegrityError(
                    f"online store {where}: view '{view}' lacks feature '{missing[0]}' of the release's contract; "
                    "it was written by other definitions, materialize again"
                )
            columns = np.array([stored[view].index(name) for name in names], dtype=np.intp)
            layouts[view] = _Layout(schema_of(stored[view]), len(stored[view]), columns)
        self._layouts = layouts
        return layouts

    def _check(self, view: str, entity: str, layout: _Layout, schema: bytes, content: bytes) -> None:
        if schema != layout.schema or len(content) != 8 * layout.width:
            raise IntegrityError(
                f"online store {self._backend.where}: the row of '{entity}' in view '{view}' has schema {schema.hex()} and "
                f"{len(content) // 8} values, required {layout.schema.hex()} and {layout.width}; materialize again"
            )
