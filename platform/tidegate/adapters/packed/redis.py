"""Packed rows in Redis, the rows of each model under keys of its own.

    tidegate:features:<model>:watermark           how far the store was brought, written last
    tidegate:features:<model>:views               hash: feature names by view
    tidegate:features:<model>:newest              hash: the newest event time by view
    tidegate:features:<model>:entities:<view>     set of the entities that have a row
    tidegate:features:<model>:row:<view>:<entity> one row

A write is one MULTI, and a read one MGET that takes the watermark along: rows and watermark are of one moment, and a reader
notices in the same round trip that the store was written anew. A writer that meets another one starts over.

Earlier versions kept one set of rows a database, without model and watermark (`tidegate:views`, `tidegate:row:...`). They are
read while the model has none of its own, and never written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote

from tidegate.adapters.packed.columns import read_columns
from tidegate.adapters.packed.rows import (
    READ_TIMEOUT_S,
    WRITE_TIMEOUT_S,
    RowKey,
    Stored,
    ViewRows,
    next_watermark,
    read_watermark,
    rows_digest,
    watermark_bytes,
    without_password,
)
from tidegate.domain.errors import Conflict, IntegrityError, Unavailable
from tidegate.ports.features import ViewMark, Watermark

logger = logging.getLogger("tidegate.features")
Value = TypeVar("Value")
EARLIER = "earlier version"  # the version of rows without a watermark
WRITES = 5  # attempts, when others write at the same time
CHUNK = 5_000  # rows of one answer where all are read


class RedisRows:
    """redis-py's pool hands each thread a connection of its own. A connection that broke while it was idle is made anew once;
    what does not answer in time is not asked again."""

    def __init__(self, url: str, model: str, writable: bool = False) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self._error: type[Exception] = redis.RedisError
        self._overtaken: type[Exception] = redis.WatchError
        self.where = f"{without_password(url)} (model {model})"
        self._own = f"tidegate:features:{model}"
        self._mark = f"{self._own}:watermark".encode()
        self._earlier = False
        self._prefix = cache(self._row_prefix)
        timeout = WRITE_TIMEOUT_S if writable else READ_TIMEOUT_S
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
                retry_on_error=[redis.ConnectionError],
            )
        except (ValueError, TypeError) as error:
            raise Unavailable(
                f"online store: '{without_password(url)}' is no Redis URL ({error}); write redis://HOST:PORT/DATABASE"
            ) from error

    # --- reading ----------------------------------------------------------------------------------------------------

    def stored(self) -> Stored:
        try:
            mark, views, newest, earlier = self._together(
                lambda pipe: (
                    pipe.get(self._mark).hgetall(f"{self._own}:views").hgetall(f"{self._own}:newest").hgetall("tidegate:views")
                )
            )
        except self._error as error:
            raise self._unavailable("read", error) from error
        is_earlier = mark is None and not views and bool(earlier)
        if is_earlier and not self._earlier:
            logger.warning(
                "online store %s: rows of an earlier version are read, which belong to no model; run 'tidegate features "
                "materialize' for this one",
                self.where,
            )
        self._earlier = is_earlier
        columns = {v.decode(): read_columns(self.where, v.decode(), f) for v, f in (earlier if is_earlier else views).items()}
        watermark = read_watermark(self.where, mark, _numbers(newest)) if mark is not None else None
        return Stored(columns, watermark, EARLIER if mark is None else mark)

    def read(
        self, views: Sequence[str], entities: Sequence[str], others: Sequence[RowKey] = ()
    ) -> tuple[object, dict[RowKey, bytes]]:
        keys = [(view, entity) for view in views for entity in entities]
        keys += others
        try:
            mark, *found = self._client.mget([self._mark, *(self._key(*key) for key in keys)])
        except self._error as error:
            raise self._unavailable("read", error) from error
        rows = {key: data for key, data in zip(keys, found, strict=True) if data is not None}
        return EARLIER if mark is None else mark, rows

    def sample(self, view: str) -> tuple[str, bytes] | None:
        try:
            if self._earlier:
                return None  # one set of all keys: finding one of a view would take a scan
            member = self._client.srandmember(self._entities(view))
            data = self._client.get(self._key(view, _text(member))) if member is not None else None
        except self._error as error:
            raise self._unavailable("read", error) from error
        return (_text(member), data) if data is not None else None

    def rows(self, view: str) -> Iterator[tuple[str, bytes]]:
        try:
            for some in _chunks([_text(each) for each in self._client.smembers(self._entities(view))]):
                found = self._client.mget([self._key(view, entity) for entity in some])
                yield from ((entity, data) for entity, data in zip(some, found, strict=True) if data is not None)
        except self._error as error:
            raise self._unavailable("read", error) from error

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, rows: Mapping[str, ViewRows], replace: bool) -> Watermark:
        return self._change(rows, replace, ())

    def drop(self, views: Sequence[str]) -> None:
        self._change({}, False, views)

    def _change(self, rows: Mapping[str, ViewRows], replace: bool, dropped: Sequence[str]) -> Watermark:
        packed = {view: content.packed(view) for view, content in rows.items()}
        try:
            with self._client.pipeline(transaction=True) as pipe:
                for _ in range(WRITES):
                    pipe.reset()
                    pipe.watch(self._mark)
                    try:
                        return self._transaction(pipe, rows, packed, replace, dropped)
                    except self._overtaken:
                        continue
        except self._error as error:
            raise self._unavailable("write", error) from error
        raise Conflict(f"online store {self.where}: others write it all the time; let one process materialize a model")

    def _transaction(
        self,
        pipe: Any,
        rows: Mapping[str, ViewRows],
        packed: Mapping[str, Mapping[str, bytes]],
        replace: bool,
        dropped: Sequence[str],
    ) -> Watermark:
        newest = _numbers(pipe.hgetall(f"{self._own}:newest"))
        before, known = self._before(pipe.get(self._mark), newest), pipe.hgetall(f"{self._own}:views")
        marks: dict[str, ViewMark] = {view: each for view, each in before.views.items() if view not in dropped}
        old = {view: pipe.smembers(self._entities(view)) for view in {*rows, *dropped}}
        pipe.multi()
        for view in dropped:
            self._remove(pipe, view, old[view])
        for view, content in rows.items():
            names = content.columns.to_json()
            merged = not replace and known.get(view.encode()) == names.encode()
            gone = set() if merged else old[view] - {_bytes(entity) for entity in packed[view]}
            self._remove(pipe, view, gone)
            pipe.hset(f"{self._own}:views", view, names)
            if packed[view]:
                pipe.mset({self._named(view, entity): data for entity, data in packed[view].items()})
                pipe.sadd(self._entities(view), *map(_bytes, packed[view]))
            count = len(old[view] | set(map(_bytes, packed[view]))) if merged else len(packed[view])
            digest = "" if merged else rows_digest(packed[view].items())
            marks[view] = content.mark(count, digest, marks.get(view) if merged else None)
            pipe.hset(f"{self._own}:newest", view, str(marks[view].newest))
        if dropped:
            pipe.hdel(f"{self._own}:views", *dropped)
            pipe.hdel(f"{self._own}:newest", *dropped)
        watermark = next_watermark(before.sequence + 1, marks)
        pipe.set(self._mark, watermark_bytes(watermark))
        pipe.execute()
        return watermark

    def _before(self, mark: bytes | None, newest: Mapping[str, int]) -> Watermark:
        try:
            return next_watermark(0, {}) if mark is None else read_watermark(self.where, mark, newest)
        except IntegrityError as error:
            logger.warning("%s", error)  # it is written anew
            return next_watermark(0, {})

    def _remove(self, pipe: Any, view: str, entities: Iterable[bytes]) -> None:
        for some in _chunks(list(entities)):
            pipe.delete(*(self._named(view, _text(entity)) for entity in some))
            pipe.srem(self._entities(view), *some)

    def close(self) -> None:
        self._client.close()

    # --- keys -------------------------------------------------------------------------------------------------------

    def _key(self, view: str, entity: str) -> bytes:
        return b"tidegate:row:%b:%b" % (_bytes(view), _bytes(entity)) if self._earlier else self._named(view, entity)

    def _named(self, view: str, entity: str) -> bytes:
        return self._prefix(view) + _bytes(entity)

    def _row_prefix(self, view: str) -> bytes:
        return _bytes(f"{self._own}:row:{quote(view, safe='')}:")

    def _entities(self, view: str) -> bytes:
        return _bytes(f"{self._own}:entities:{quote(view, safe='')}")

    def _together(self, ask: Any) -> list[Any]:
        with self._client.pipeline(transaction=True) as pipe:
            answers: list[Any] = ask(pipe).execute()
        return answers

    def _unavailable(self, what: str, error: Exception) -> Unavailable:
        return Unavailable(f"online store {self.where}: cannot {what} it ({error}); check that Redis runs and can be reached")


def _chunks(values: list[Value]) -> Iterator[list[Value]]:
    return (values[i : i + CHUNK] for i in range(0, len(values), CHUNK))


def _numbers(content: Mapping[bytes, bytes]) -> dict[str, int]:
    return {view.decode(): int(number) for view, number in content.items()}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # what a client asks for may be any text


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")
