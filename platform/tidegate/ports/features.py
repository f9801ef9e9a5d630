"""Ports to a feature store: offline for training and proof, online for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tidegate.domain.contract import FeatureContract

if TYPE_CHECKING:  # the serving process has no use for polars
    import polars as pl


@dataclass(frozen=True)
class OnlineRows:
    """Stored features of n entities, in the order asked for.

    `values` is float64 [n, number of stored features that are no texts, in the contract's order of views and names], NaN where
    a value is null. `event_times` is int64 [n], microseconds since the epoch (UTC) of the row's event timestamp; `found` is
    bool [n]. `texts` has an array [n] of `str`, None where a value is null, for each stored feature of datatype BYTES, by
    `view__feature`.
    """

    values: np.ndarray
    event_times: np.ndarray
    found: np.ndarray
    texts: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class ViewMark:
    """What was written of a view, when it was last written: everything known at `until` (microseconds since the epoch).

    `written_at` is a wall clock's, for people; `digest` is of all rows, empty when rows were added one by one; `table` is the
    digest of the feature table that they were taken from, empty when that is not known; `newest` is the newest event time, 0
    where an earlier version did not keep it.
    """

    until: int
    written_at: float
    rows: int
    digest: str = ""
    table: str = ""
    newest: int = 0


@dataclass(frozen=True)
class StoreClock:
    """An online store's own time: what it was brought to, and from there on with ours, `ahead` microseconds before it."""

    until: int
    ahead: float

    def at(self, now: float) -> int:
        """The store's moment (microseconds since the epoch) at `now` (seconds): what is older than a TTL then is missing."""
        return max(self.until, int(now * 1e6 + self.ahead))


@dataclass(frozen=True)
class Watermark:
    """How far an online store was brought. `sequence` grows by one with each write; `id` is a digest of the rest."""

    sequence: int
    id: str
    views: Mapping[str, ViewMark]
    format: int = 1

    @property
    def clock(self) -> StoreClock | None:
        """None of a store without views."""
        marks = self.views.values()
        ahead = max((each.until - each.written_at * 1e6 for each in marks), default=0.0)
        return StoreClock(max(each.until for each in marks), ahead) if marks else None


class OnlineFeatureReader(Protocol):
    """Reads stored features in one round trip; light enough for a serving process, safe to use from several threads.

    A store that does not answer is given up within half a second. `read` and `ping` raise Unavailable when the store cannot be
    reached or lacks a view of the contract, and IntegrityError when it holds something else than was written: a damaged row, or
    older rows than it must have. Neither is ever answered with stale features.
    """

    def read(self, entities: Sequence[str]) -> OnlineRows: ...

    def ping(self) -> None:
        """Look at the store anew, and read and verify a row of each view."""

    def watermark(self) -> Watermark | None:
        """The contract's views as of the last look, without looking; None before it and for a store without one."""

    def expired(self) -> Mapping[str, int]:
        """How many rows were read so far whose values were older than their view's TTL, by view."""

    def close(self) -> None: ...


class HistoricalFeatures(Protocol):
    """The offline path."""

    def historical(self, contract: FeatureContract, entity_rows: pl.DataFrame) -> pl.DataFrame:
        """Point-in-time correct vectors.

        `entity_rows` has the key's columns, `event_timestamp` (UTC) and the contract's request inputs; the answer has the same
        rows in the same order, the same columns, and the vector's columns: numbers as Float32, whole numbers as Int64, Boolean
        and String. No entity row is ever lost: what has no earlier row, or one that is older than its view's TTL, is null.
        """


class FeatureStore(HistoricalFeatures, Protocol):
    """The control plane's view of the store."""

    def apply(self) -> tuple[str, ...]:
        """Register the definitions; returns the names of the feature services."""

    def contract(self, service: str) -> FeatureContract: ...

    def materialize(self, until: datetime) -> int:
        """Bring the online store to the state known at `until`; returns the number of entities written."""
