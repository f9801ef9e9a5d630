"""Ports to files of rows that are read and written a batch at a time: what is scored beside the endpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Column = np.ndarray | list[Any]  # an array [n, ...] without missing values, or n values, None where one is missing


@dataclass(frozen=True)
class Batch:
    """`columns` by name, `rows` of each; `as_read` is the batch as the library has it, for a writer of the same library."""

    columns: Mapping[str, Column]
    rows: int
    as_read: Any


class RowSource(Protocol):
    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def rows(self) -> int | None:
        """How many there are, where the file says so."""

    def batches(self, size: int, skip: int = 0) -> Iterator[Batch]:
        """Batches of `size` rows, the last one may be smaller, without the first `skip` batches. Raises InvalidInput."""


class RowSink(Protocol):
    def write(self, path: Path, batch: Batch, made: Mapping[str, np.ndarray], errors: Sequence[str | None]) -> None:
        """The rows of a batch with the columns that were made of them, durable when it returns. A row with an error has nulls
        in these; `made` are arrays [n, ...] of any datatype, texts as objects."""

    def join(self, parts: Sequence[Path], into: Path) -> int:
        """One file of all parts, in the place of what was there, in bounded memory; returns its rows."""
