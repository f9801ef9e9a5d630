"""The packed layout of the online store: one row a view and entity, and where such rows lie (SQLite or Redis).

A row is MessagePack `[schema, event time, values]`: the first 8 bytes of the digest of the view's feature names, microseconds
since the epoch (UTC), and little-endian float64 values in the order of those names, NaN where null. The names themselves are
stored once a view. A reader compares each row's schema with the one it decodes by, so values never end up under wrong names.

SQLite: tables `views` and `rows` of one file in WAL mode; a write is one transaction and a read one statement, so that
readers see all views of one materialization or of the one before. Redis: keys `tidegate:views`, `tidegate:rows` (the set of
row keys) and `tidegate:row:<view>:<entity>`, written in one MULTI and read by one MGET; projects that share a server use
databases of their own.

No vendor library but `redis`, and that only for a redis URL: the serving process imports this module.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from tidegate.domain.errors import IntegrityError, Unavailable

SCHEMA_BYTES = 8
READ_TIMEOUT_S, WRITE_TIMEOUT_S = 5.0, 60.0
RowKey = tuple[str, str]  # view, entity

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes, int, bytes]).decode


@dataclass(frozen=True)
class ViewRows:
    """Rows of one view: `values` float64 [n, features], `event_times` int64 [n] in microseconds since the epoch."""

    features: tuple[str, ...]
    entities: Sequence[str]
    event_times: np.ndarray
    values: np.ndarray

    def packed(self) -> dict[str, bytes]:
        schema = schema_of(self.features)
        values = np.ascontiguousarray(self.values, dtype="<f8")
        times = self.event_times.tolist()
        return {e: _encode((schema, times[i], values[i].tobytes())) for i, e in enumerate(self.entities)}


def schema_of(features: Sequence[str]) -> bytes:
    return sha256("\0".join(features).encode()).digest()[:SCHEMA_BYTES]


def unpack(where: str, key: RowKey, data: bytes) -> tuple[bytes, int, bytes]:
    """Schema, event time and values of a row; raises IntegrityError."""
    try:
        return _decode(data)
    except msgspec.MsgspecError as error:
        raise IntegrityError(
            f"online store {where}: the row of '{key[1]}' in view '{key[0]}' is damaged ({error}); "
            "materialize again with 'tidegate features materialize'"
        ) from error


class PackedBackend(Protocol):
    """A place for packed rows. Every method raises Unavailable when the place cannot be used."""

    where: str

    def views(self) -> dict[str, tuple[str, ...]]:
        """The stored views and their feature names."""

    def read(self, views: Sequence[str], entities: Sequence[str]) -> dict[RowKey, bytes]:
        """The rows that exist, all as of one moment, in one round trip."""

    def write(self, rows: Mapping[str, ViewRows], replace: bool) -> None:
        """Write all rows or none; with `replace` these views hold nothing else afterwards, without they grow.

        Rows of a schema other than the view's new one are removed in any case.
        """

    def drop(self, views: Sequence[str]) -> None: ...

    def close(self) -> None: ...


def open_backend(url_or_path: str, writable: bool = False) -> PackedBackend:
    """The rows at `redis://...`, `rediss://...` or in the SQLite file at a path."""
    if url_or_path.startswith(("redis://", "rediss://")):
        return RedisRows(url_or_path)
    return SqliteRows(Path(url_or_path), writable)


class SqliteRows:
    """A connection a thread: SQLite's are not for several at once, and readers do not block each other."""

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.where = str(path)
        self._path = path
        self._writable = writable
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def views(self) -> dict[str, tuple[str, ...]]:
        try:
            rows = self._connection().execute("SELECT view, features FROM views").fetchall()
        except sqlite3.Error as error:
            raise self._unavailable("read", error) from error
        return {view: tuple(json.loads(features)) for view, features in rows}

    def read(self, views: Sequence[str], entities: Sequence[str]) -> dict[RowKey, bytes]:
        try:
            rows = self._connection().execute(
                "SELECT r.view, r.entity, r.data FROM json_each(?) v CROSS JOIN json_each(?) e "
                "CROSS JOIN rows r ON r.view = v.value AND r.entity = e.value",
                (json.dumps(list(views)), json.dumps(list(entities))),
            )
            return {(view, entity): data for view, entity, data in rows}
        except sqlite3.Error as error:
            raise self._unavailable("read", error) from error

    def write(self, rows: Mapping[str, ViewRows], replace: bool) -> None:
        known = self.views()
        try:
            with self._connection() as connection:  # commits, or rolls back on an error
                connection.execute("BEGIN IMMEDIATE")
                for view, content in rows.items():
                    if replace or known.get(view) != content.features:
                        connection.execute("DELETE FROM rows WHERE view = ?", (view,))
                    names = json.dumps(content.features)
                    connection.execute("INSERT OR REPLACE INTO views VALUES (?, ?)", (view, names))
                    packed = content.packed().items()
                    connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", ((view, e, d) for e, d in packed))
        except sqlite3.Error as error:
            raise self._unavailable("write", error) from error

    def drop(self, views: Sequence[str]) -> None:
        try:
            with self._connection() as connection:
                connection.execute("BEGIN IMMEDIATE")
                for view in views:
                    connection.execute("DELETE FROM rows WHERE view = ?", (view,))
                    connection.execute("DELETE FROM views WHERE view = ?", (view,))
        except sqlite3.Error as error:
            raise self._unavailable("write", error) from error

    def close(self) -> None:
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            self._local.connection = connection
            with self._lock:
                self._open.append(connection)
        return connection

    def _connect(self) -> sqlite3.Connection:
        if not self._writable and not self._path.is_file():
            raise Unavailable(f"online store {self.where} does not exist; fill it with 'tidegate features materialize'")
        timeout = WRITE_TIMEOUT_S if self._writable else READ_TIMEOUT_S
        try:
            if not self._writable:
                uri = f"{self._path.resolve().as_uri()}?mode=ro"
                return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=timeout, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS views (view TEXT PRIMARY KEY, features TEXT NOT NULL)")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (view TEXT, entity TEXT, data BLOB NOT NULL, PRIMARY KEY (view, entity))"
                " WITHOUT ROWID"
            )
        except (sqlite3.Error, OSError) as error:
            raise self._unavailable("open", error) from error
        return connection

    def _unavailable(self, what: str, error: Exception) -> Unavailable:
        empty = "no such table" in str(error)
        hint = "fill it with 'tidegate features materialize'" if empty else "check the file and the disk"
        return Unavailable(f"online store {self.where}: cannot {what} it ({error}); {hint}")


class RedisRows:
    """redis-py's pool hands each thread a connection of its own."""

    VIEWS, KEYS, ROW = "tidegate:views", "tidegate:rows", "tidegate:row"

    def __init__(self, url: str) -> None:
        import redis

        self._error: type[Exception] = redis.RedisError
        try:
            self._client: Any = redis.Redis.from_url(url, socket_timeout=READ_TIMEOUT_S, socket_connect_timeout=READ_TIMEOUT_S)
        except ValueError as error:
            raise Unavailable(f"online store: '{url}' is no Redis URL ({error}); write redis://HOST:PORT/DATABASE") from error
        self.where = "redis://" + url.rpartition("@")[2].removeprefix("redis://").removeprefix("rediss://")  # no password

    def _key(self, view: str, entity: str) -> bytes:
        return f"{self.ROW}:{view}:{entity}".encode("utf-8", "surrogatepass")  # what a client asks for may be any text

    def views(self) -> dict[str, tuple[str, ...]]:
        try:
            return {view.decode(): tuple(json.loads(names)) for view, names in self._client.hgetall(self.VIEWS).items()}
        except self._error as error:
            raise self._unavailable("read", error) from error

    def read(self, views: Sequence[str], entities: Sequence[str]) -> dict[RowKey, bytes]:
        keys = [(view, entity) for view in views for entity in entities]
        if not keys:
            return {}
        try:
            found = self._client.mget([self._key(*key) for key in keys])
        except self._error as error:
            raise self._unavailable("read", error) from error
        return {key: data for key, data in zip(keys, found, strict=True) if data is not None}

    def write(self, rows: Mapping[str, ViewRows], replace: bool) -> None:
        known = self.views()
        try:
            stale = self._row_keys(v for v, c in rows.items() if replace or known.get(v) != c.features)
            with self._client.pipeline(transaction=True) as pipe:
                if stale:
                    pipe.delete(*stale)
                    pipe.srem(self.KEYS, *stale)
                for view, content in rows.items():
                    pipe.hset(self.VIEWS, view, json.dumps(content.features))
                    packed = {self._key(view, entity): data for entity, data in content.packed().items()}
                    if packed:
                        pipe.mset(packed)
                        pipe.sadd(self.KEYS, *packed)
                pipe.execute()
        except self._error as error:
            raise self._unavailable("write", error) from error

    def drop(self, views: Sequence[str]) -> None:
        try:
            stale = self._row_keys(views)
            with self._client.pipeline(transaction=True) as pipe:
                if stale:
                    pipe.delete(*stale)
                    pipe.srem(self.KEYS, *stale)
                if views:
                    pipe.hdel(self.VIEWS, *views)
                pipe.execute()
        except self._error as error:
            raise self._unavailable("write", error) from error

    def _row_keys(self, views: Any) -> list[bytes]:
        prefixes = tuple(self._key(view, "") for view in views)
        return [key for key in self._client.smembers(self.KEYS) if prefixes and key.startswith(prefixes)]

    def close(self) -> None:
        self._client.close()

    def _unavailable(self, what: str, error: Exception) -> Unavailable:
        return Unavailable(f"online store {self.where}: cannot {what} it ({error}); check that Redis runs and can be reached")
