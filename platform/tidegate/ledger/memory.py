"""A ledger in memory, for tests and dry runs: the same chain, no durability and no signature."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tidegate.domain.actor import PLATFORM, Actor
from tidegate.ledger.chain import Head, check_chain, marked_lines, next_entries, to_line
from tidegate.ports.ledger import ALL, Draft, Entry, Line, Query, Verification


class MemoryLedger:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._entries: list[Entry] = []
        self._head = Head()

    def append(self, action: str, subject: str, body: Mapping[str, Any], actor: Actor = PLATFORM) -> Entry:
        return self.append_many([Draft(action, subject, body, actor)])[0]

    def append_many(self, drafts: Sequence[Draft]) -> Sequence[Entry]:
        entries = next_entries(self._head, self._clock, drafts)
        for entry in entries:
            self._entries.append(entry)
            self._head = Head(entry.sequence, entry.hash, self._head.size + len(to_line(entry)))
        return entries

    def entries(self, query: Query = ALL, *, newest_first: bool = False) -> Iterator[Entry]:
        entries = tuple(self._entries)
        return filter(query.matches, reversed(entries) if newest_first else entries)

    def lines(self) -> Iterator[Line]:
        return marked_lines([self._content()], self._head)

    def check(self) -> Verification:
        return self.verify()

    def verify(self) -> Verification:
        return check_chain(self._content(), self._head)

    def _content(self) -> bytes:
        return b"".join(map(to_line, self._entries))
