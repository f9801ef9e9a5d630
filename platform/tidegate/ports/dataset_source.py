"""Where the rows of a dataset come from: files today; streams, databases and partners' systems by the same port.

A source has parts (a file, a topic's partition), each with rows in an order. `pull(None)` gives all of them; `pull(cursor)`
what is new since the pull that returned `cursor`, so that pulling in pieces ends with the rows that one pull gives, and
pulling again gives nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

Cursor = Mapping[str, Any]  # JSON; what it says is the source's own


@dataclass(frozen=True)
class SourceCapabilities:
    """What can be asked of a source."""

    rereads: bool  # it gives all rows again when it is asked without a cursor, so that a changed definition can be applied


@dataclass(frozen=True)
class SourceRows:
    """Rows of one part: `raw` has the source's own columns, `numbers` says which of the part's rows they are, from 1."""

    part: str
    raw: pl.DataFrame
    numbers: pl.Series  # Int64 [len(raw)]


@dataclass(frozen=True)
class Pulled:
    """`parts` are all parts now, in order, with a digest of what has been taken of each; rows taken of others are void, and so
    are earlier rows of those in `replaced`."""

    rows: tuple[SourceRows, ...]
    cursor: Cursor
    parts: Mapping[str, str]
    replaced: frozenset[str] = frozenset()


class DatasetSource(Protocol):
    @property
    def capabilities(self) -> SourceCapabilities: ...

    def pull(self, cursor: Cursor | None) -> Pulled:
        """Raises InvalidInput, naming the part, for rows that cannot be read; Unavailable for a source out of reach."""
        ...
