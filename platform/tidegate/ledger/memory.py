"""A ledger in memory, for tests and dry runs: the same chain, no durability and no signature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tidegate.ledger.chain import Head, check_chain, marked_lines, next_entry, to_line
from tidegate.ports.ledger import Entry, Line, Verification


class MemoryLedger:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: list[Entry] = []
        self._head = Head()

    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: str = "tidegate") -> Entry:
        entry = next_entry(self._head, self._clock(), actor, action, subject, body)
        self._entries.append(entry)
        self._head = Head(entry.sequence, entry.hash, self._head.size + len(to_line(entry)))
        return entry

    def entries(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def lines(self) -> Iterator[Line]:
        return marked_lines(self._content(), self._head)

    def verify(self) -> Verification:
        return check_chain(self._content(), self._head)

    def _content(self) -> bytes:
        return b"".join(map(to_line, self._entries))
