"""The inference log as a Redis stream (`tidegate.adapters.redis.record_sink`), read by the gate service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tidegate.adapters.redis.record_sink import FIELD, connect, stream
from tidegate.domain.errors import Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import InferenceRecord
from tidegate.serving.records import RecordHead, matches, read_head, read_record

_READ_AT_ONCE = 2_000


class RedisRecords:
    """`InferenceRecords` over the stream; `skipped` counts the entries that could not be read so far.

    Asking again costs what was appended since. Records older than `keep_seconds` are forgotten here too.
    """

    def __init__(self, url: str, model: str, keep_seconds: float = 3600.0) -> None:
        self._client, self._model, self._keep = connect(url), model, keep_seconds
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
                head = read_head(fields.get(FIELD, b""))
                if head is None:
                    self.skipped += 1
                elif head.model == self._model and head.at >= oldest:
                    self._lines.append((head, fields[FIELD]))
            self._last = b"(" + entries[-1][0]

    def _next(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        import redis

        try:
            entries: list[Any] = self._client.xrange(stream(self._model), min=self._last, max="+", count=_READ_AT_ONCE)
        except redis.RedisError as error:
            raise Unavailable(
                f"inference log of model {self._model}: Redis cannot be read ({error}); check that it runs and can be reached"
            ) from error
        return entries
