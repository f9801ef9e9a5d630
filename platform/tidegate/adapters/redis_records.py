"""The inference log as a Redis stream: what pods on several nodes write, and the gate service reads.

One stream a model, `tidegate:inference:<model>`, each entry one record as a line of the log. It holds about the latest
`RECORDS` records and forgets older ones, so that Redis' memory is bounded: gates look at minutes, not days. Writing is all or
nothing for each batch; a batch that Redis did not confirm counts as dropped, though it may have arrived.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import InferenceRecord
from tidegate.serving.inference_records import RecordHead, matches, read_head, read_record

RECORDS = 100_000
TIMEOUT_S = 5.0
_READ_AT_ONCE = 2_000
_FIELD = b"line"


def _stream(model: str) -> str:
    return f"tidegate:inference:{model}"


def _client(url: str) -> Any:
    import redis

    try:
        return redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except ValueError as error:
        raise Unavailable(f"inference log: '{url}' is no Redis URL ({error}); write redis://HOST:PORT/DATABASE") from error


class RedisSink:
    """A `LogSink` (`tidegate.serving.runtime.inference_log`). Connects at the first write."""

    def __init__(self, url: str, model: str, records: int = RECORDS) -> None:
        self.names = [_stream(model)]
        self._client, self._records = _client(url), records

    def append(self, lines: list[bytes]) -> int:
        import redis

        if not lines:
            return 0
        try:
            with self._client.pipeline(transaction=True) as pipe:
                for line in lines:
                    pipe.xadd(self.names[0], {_FIELD: line.rstrip(b"\n")}, maxlen=self._records, approximate=True)
                pipe.execute()
        except redis.RedisError as error:
            raise OSError(f"Redis does not take records: {error}") from error
        return len(lines)

    def close(self) -> None:
        self._client.close()


class RedisRecords:
    """`InferenceRecords` over the stream; `skipped` counts the entries that could not be read so far.

    Asking again costs what was appended since. Records older than `keep_seconds` are forgotten here too.
    """

    def __init__(self, url: str, model: str, keep_seconds: float = 3600.0) -> None:
        self._client, self._model, self._keep = _client(url), model, keep_seconds
        self._last = b"-"
        self._lines: list[tuple[RecordHead, bytes]] = []
        self.skipped = 0

    def records(
        self,
        release: str | None = None,
        *,
        slot: Slot | None = None,
        shadow: bool | None = None,
        since: float = 0.0,
        limit: int | None = None,
    ) -> Sequence[InferenceRecord]:
        """See the port; raises Unavailable when Redis does not answer: that is not the same as no record."""
        self._take_up()
        chosen = [pair for pair in self._lines if matches(pair[0], release, slot, shadow, since)]
        chosen.sort(key=lambda pair: pair[0].at)
        if limit is not None:
            chosen = chosen[-limit:] if limit > 0 else []
        found = [read_record(line) for _, line in chosen]
        self.skipped += sum(record is None for record in found)
        return [record for record in found if record is not None]

    def _take_up(self) -> None:
        oldest = time.time() - self._keep
        self._lines = [pair for pair in self._lines if pair[0].at >= oldest]
        while entries := self._next():
            for _, fields in entries:
                head = read_head(fields.get(_FIELD, b""))
                if head is None:
                    self.skipped += 1
                elif head.model == self._model and head.at >= oldest:
                    self._lines.append((head, fields[_FIELD]))
            self._last = b"(" + entries[-1][0]

    def _next(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        import redis

        try:
            entries: list[Any] = self._client.xrange(_stream(self._model), min=self._last, max="+", count=_READ_AT_ONCE)
        except redis.RedisError as error:
            raise Unavailable(
                f"inference log of model {self._model}: Redis cannot be read ({error}); check that it runs and can be reached"
            ) from error
        return entries
