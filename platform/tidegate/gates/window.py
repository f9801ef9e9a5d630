"""The latest rows that a release saw, as a sample of the world and not of the traffic.

Of rows that were looked up by key, each key counts once for each event time: its other rows differ in the request's inputs
alone (each day of a forecast, say), and one that is asked for again is the same row again. Rows that clients sent have no
key: equal ones count as often as they may among as many of the reference, and one request has a bounded share of the window.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np

from tidegate.gates.pairing import Outcome, outcome
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, Selection

SEARCHED = 100  # windows' worth of rows that are read to fill one: requests for a few keys alone never fill it
Extract = Callable[[InferenceRecord], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Traffic:
    """Answered requests whose vectors were looked up by key, and those with vectors that clients sent; newest first, each
    read anew when it is called and as far as it is taken."""

    keyed: Callable[[], Iterator[InferenceRecord]]
    sent: Callable[[], Iterator[InferenceRecord]]

    @classmethod
    def of(
        cls, records: InferenceRecords, *selections: Selection, only: Callable[[InferenceRecord], bool] | None = None
    ) -> Traffic:
        """Of the selections one after the other; of their records those that are `only`."""

        def answered(selection: Selection) -> Iterator[InferenceRecord]:
            found = records.read(selection, newest_first=True)
            return (r for r in found if outcome(r.status) is Outcome.ANSWERED and (only is None or only(r)))

        return cls(
            lambda: chain.from_iterable(answered(replace(each, vectors="keyed")) for each in selections),
            lambda: chain.from_iterable(answered(replace(each, vectors="sent")) for each in selections),
        )


@dataclass(frozen=True)
class Row:
    """Row `place` of a record's columns, with its key (none where clients sent it) and its time in microseconds."""

    columns: Mapping[str, np.ndarray]
    place: int
    time: int
    key: str = ""


@dataclass(frozen=True)
class Window:
    """Oldest first; made from `rows` rows of `requests` requests, which were read until the window was full. `lacking` others
    had not all columns."""

    picked: tuple[Row, ...]
    rows: int
    requests: int
    lacking: int = 0
    _made: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.picked)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(row.key for row in self.picked if row.key)

    @cached_property
    def times(self) -> np.ndarray:
        return np.array([row.time for row in self.picked], dtype=np.int64)

    def column(self, name: str) -> np.ndarray | None:
        """[n], or None where a row has no such column."""
        if name not in self._made:
            if any(name not in row.columns for row in self.picked):
                return None
            values = [row.columns[name][row.place] for row in self.picked]
            texts = any(row.columns[name].dtype.kind == "O" for row in self.picked)
            self._made[name] = np.array(values, dtype=object if texts else np.float64)
        return self._made[name]

    def latest(self, size: int) -> Window:
        return replace(self, picked=self.picked[-size:], _made={})


def keyed_window(records: Iterable[InferenceRecord], size: int, columns: Extract, keys: Container[str] | None = None) -> Window:
    """The latest `size` distinct keys and event times of `records` (newest first); of `keys` alone where they are given."""
    found: dict[tuple[str, int], Row] = {}
    rows = requests = lacking = 0
    for record in records:
        if len(found) >= size or rows + lacking >= SEARCHED * size:
            break
        if not record.entities:
            continue
        if not (made := columns(record)):
            lacking += 1
            continue
        rows, requests = rows + len(record.entities), requests + 1
        times = record.event_times if len(record.event_times) == len(record.entities) else np.zeros(len(record.entities))
        # which of a key's rows is taken is decided by the request's id, so that none is preferred
        for row in np.random.default_rng(zlib.crc32(record.id.encode())).permutation(len(record.entities)):
            key, time = record.entities[row], int(times[row])
            if (keys is None or key in keys) and (key, time) not in found:
                found[key, time] = Row(made, int(row), time or int(record.at * 1e6), key)
    return Window(tuple(list(found.values())[:size][::-1]), rows, requests, lacking)


def sent_window(records: Iterable[InferenceRecord], size: int, columns: Extract, min_requests: int, alike: int = 1) -> Window:
    """The latest `size` rows that clients sent in `records` (newest first), equal ones at most `alike` times, of one request at
    most its share of a window of `min_requests` requests."""
    share = max(1, size // min_requests)
    found: list[Row] = []
    seen = Counter[tuple[object, ...]]()
    rows = requests = lacking = 0
    for record in records:
        if len(found) >= size or rows + lacking >= SEARCHED * size:
            break
        if record.entities:
            continue
        if not (made := columns(record)):
            lacking += 1
            continue
        inputs = [name for name in made if not _of_output(name, record)]
        total = len(next(iter(made.values())))
        rows, requests = rows + total, requests + 1
        times = record.event_times if len(record.event_times) == total else np.full(total, int(record.at * 1e6))
        order = np.random.default_rng(zlib.crc32(record.id.encode())).permutation(total)
        for row in order[:share]:
            what = tuple(_identity(made[name][row]) for name in inputs)
            if seen[what] < alike:
                seen[what] += 1
                found.append(Row(made, int(row), int(times[row])))
    return Window(tuple(found[:size][::-1]), rows, requests, lacking)


def often_alike(most: int, total: int, size: int) -> int:
    """How often `size` rows may hold one and the same, where a reference has its most frequent row `most` times of `total`:
    once, where its rows are all distinct."""
    if most == 1:
        return 1
    expected = most / total * size
    return math.ceil(expected + 4.0 * math.sqrt(expected)) + 1


def _identity(value: object) -> object:
    return value.tobytes() if isinstance(value, np.floating) else value  # a missing number is equal to another


def _of_output(name: str, record: InferenceRecord) -> bool:
    return any(name == output or name.startswith((f"{output}[", f"{output}.")) for output in record.outputs)
