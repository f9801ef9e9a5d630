"""A source in memory, for tests: parts of rows that grow, are replaced and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tidegate.domain.digests import digest_of
from tidegate.ports.dataset_source import Cursor, Pulled, SourceCapabilities, SourceRows


@dataclass
class MemorySource:
    """`parts`: rows by part, in order."""

    parts: dict[str, list[dict[str, Any]]]
    rereads: bool = True
    pulls: list[Cursor | None] = field(default_factory=list)

    @property
    def capabilities(self) -> SourceCapabilities:
        return SourceCapabilities(rereads=self.rereads)

    def pull(self, cursor: Cursor | None) -> Pulled:
        self.pulls.append(cursor)
        taken = dict((cursor or {}).get("taken", {}))
        rows, replaced = [], set()
        for part, content in self.parts.items():
            before = taken.get(part, [0, digest_of([])])
            start = before[0] if digest_of(content[: before[0]]) == before[1] else 0
            if start < before[0]:
                replaced.add(part)
            if start < len(content):
                numbers = pl.Series("number", range(start + 1, len(content) + 1), dtype=pl.Int64)
                rows.append(SourceRows(part, pl.DataFrame(content[start:], infer_schema_length=None), numbers))
        cursors = {part: [len(content), digest_of(content)] for part, content in self.parts.items()}
        digests = {part: digest_of(content) for part, content in self.parts.items()}
        return Pulled(tuple(rows), {"taken": cursors}, digests, frozenset(replaced))
