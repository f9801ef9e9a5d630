"""The inference log as a Redis stream (`tidegate.adapters.redis.record_sink`), read by the gate service and the monitor."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.redis.record_sink import FIELD, connect, stream
from tidegate.domain.errors import Unavailable
from tidegate.files.record_index import Group, RecordHead, read_head
from tidegate.ports.inference_records import InferenceRecord, RequestHead, Selection
from tidegate.serving.records import may_match, read_record, request_head

_TAKEN_AT_ONCE = 2_000
_READ_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of an entry of the stream without reading it again; `group` is shared by entries that are alike."""

    id: bytes
    at: float
    group: Group


class RedisRecords:
    """`InferenceRecords` over the stream; `skipped` counts the entries that could not be read so far.

    Of each entry its place is remembered, not its contents, which are read again in small batches where they are selected.
    Asking again costs what was appended since. Records older than `keep_seconds` are forgotten here too.
    """

    def __init__(self, url: str, model: str, keep_seconds: float = 3600.0) -> None:
        self._client, self._model, self._keep = connect(url), model, keep_seconds
        self._last = b"-"
        self._entries: list[_Entry] = []
        self._groups: dict[tuple[object, ...], Group] = {}
        self._lock = threading.Lock()
        self.skipped = 0

    def read(self, selection: Selection, newest_first: bool = False) -> Iterator[InferenceRecord]:
        """See the port."""
        chosen = self._chosen(selection)
        for head, line in self._lines(chosen[::-1] if newest_first else chosen):
            record = read_record(head, line)
            if record is None:
                self.skipped += 1
            else:
                yield record

    def heads(self, selection: Selection) -> Iterator[RequestHead]:
        """See the port."""
        return (request_head(head) for head, _ in self._lines(self._chosen(selection)))

    def days(self, selection: Selection) -> Sequence[int]:
        """See the port."""
        return sorted({day for entry in self._chosen(selection) for day in entry.group.days})

    def _chosen(self, selection: Selection) -> list[_Entry]:
        """Oldest first."""
        with self._lock:
            self._take_up()
            within = (entry for entry in self._entries if selection.since <= entry.at < selection.until)
            chosen = [entry for entry in within if may_match(entry.group, selection)]
        return sorted(chosen, key=lambda entry: entry.at)

    def _lines(self, entries: Sequence[_Entry]) -> Iterator[tuple[RecordHead, bytes]]:
        """Head and line of each entry that the stream still has."""
        for start in range(0, len(entries), _READ_AT_ONCE):
            with self._client.pipeline(transaction=False) as pipe:
                for entry in entries[start : start + _READ_AT_ONCE]:
                    pipe.xrange(stream(self._model), min=entry.id, max=entry.id)
                answers = self._asked(pipe.execute)
            for _, fields in (found for answer in answers for found in answer):
                head = read_head(fields[FIELD])
                if head is not None:
                    yield head, fields[FIELD]

    def _take_up(self) -> None:
        oldest = time.time() - self._keep
        self._entries = [entry for entry in self._entries if entry.at >= oldest]
        while entries := self._next():
            for id, fields in entries:
                head = read_head(fields.get(FIELD, b""))
                if head is None:
                    self.skipped += 1
                elif head.model == self._model and head.at >= oldest:
                    self._entries.append(_Entry(id, head.at, self._group(head)))
            self._last = b"(" + entries[-1][0]

    def _group(self, head: RecordHead) -> Group:
        """Of entries that are alike but for their times."""
        days = [] if head.day is None else [head.day]
        key = (head.release, head.slot, head.shadow, head.vectors, *days)
        if key not in self._groups:
            about = (head.model, head.release, head.slot, head.shadow, head.vectors, bool(days))
            self._groups[key] = Group(*about, 0, float("-inf"), float("inf"), days)
        return self._groups[key]

    def _next(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        name = stream(self._model)
        found: list[Any] = self._asked(lambda: self._client.xrange(name, min=self._last, max="+", count=_TAKEN_AT_ONCE))
        return found

    def _asked(self, ask: Any) -> Any:
        import redis

        try:
            return ask()
        except redis.RedisError as error:
            raise Unavailable(
                f"inference log of model {self._model}: Redis cannot be read ({error}); check that it runs and can be reached"
            ) from error
