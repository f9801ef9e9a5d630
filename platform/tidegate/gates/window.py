"""The latest vectors that a release saw, as a sample of the world and not of the traffic.

Of vectors that were looked up by key, each key counts once for each event time: its other rows differ in the request's inputs
alone (each horizon of a forecast, say), and one that is asked for again is the same vector again. Vectors that clients sent as
tensors have no key: equal ones count once, and one request has a bounded share of the window.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from tidegate.gates.pairing import Outcome, outcome
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, Selection

SEARCHED = 100  # windows' worth of rows that are read to fill one: requests for a few keys alone never fill it


@dataclass(frozen=True)
class Traffic:
    """Answered requests whose vectors were looked up by key, and those with vectors that clients sent; newest first, each
    read anew when it is called and as far as it is taken."""

    keyed: Callable[[], Iterator[InferenceRecord]]
    sent: Callable[[], Iterator[InferenceRecord]]

    @classmethod
    def of(cls, records: InferenceRecords, *selections: Selection) -> Traffic:
        """Of the selections one after the other."""

        def answered(selection: Selection) -> Iterator[InferenceRecord]:
            found = records.read(selection, newest_first=True)
            return (record for record in found if outcome(record.status) is Outcome.ANSWERED)

        return cls(
            lambda: chain.from_iterable(answered(replace(each, vectors="keyed")) for each in selections),
            lambda: chain.from_iterable(answered(replace(each, vectors="sent")) for each in selections),
        )


@dataclass(frozen=True)
class Window:
    """`vectors` float32 [n, F], oldest first, with the key of each (none for tensors); made from `rows` rows of `requests`
    requests, which were read until the window was full."""

    vectors: np.ndarray
    keys: tuple[str, ...]
    rows: int
    requests: int

    def latest(self, size: int) -> Window:
        return Window(self.vectors[-size:], self.keys[-size:], self.rows, self.requests)


def keyed_window(records: Iterable[InferenceRecord], size: int, width: int, keys: Container[str] | None = None) -> Window:
    """The latest `size` distinct keys and event times of `records` (newest first), with vectors of `width` features; of `keys`
    alone where they are given."""
    found: dict[tuple[str, int], np.ndarray] = {}
    rows = requests = 0
    for record in records:
        if len(found) >= size or rows >= SEARCHED * size:
            break
        if not record.entities or record.features.shape != (len(record.entities), width):
            continue
        rows, requests = rows + len(record.entities), requests + 1
        times = record.event_times if len(record.event_times) == len(record.entities) else np.zeros(len(record.entities))
        # which of a key's rows is taken is decided by the request's id, so that no horizon is preferred
        for row in np.random.default_rng(zlib.crc32(record.id.encode())).permutation(len(record.entities)):
            if keys is None or record.entities[row] in keys:
                found.setdefault((record.entities[row], int(times[row])), record.features[row])
    kept = list(found.items())[:size][::-1]
    vectors = np.stack([vector for _, vector in kept]) if kept else np.empty((0, width), dtype=np.float32)
    return Window(vectors, tuple(key for (key, _), _ in kept), rows, requests)


def sent_window(records: Iterable[InferenceRecord], size: int, width: int, min_requests: int) -> Window:
    """The latest `size` distinct vectors of `width` features that clients sent in `records` (newest first), of one request at
    most its share of a window of `min_requests` requests."""
    share = max(1, size // min_requests)
    found: dict[bytes, np.ndarray] = {}
    rows = requests = 0
    for record in records:
        if len(found) >= size or rows >= SEARCHED * size:
            break
        if record.entities or record.features.ndim != 2 or record.features.shape[1] != width or not len(record.features):
            continue
        rows, requests = rows + len(record.features), requests + 1
        order = np.random.default_rng(zlib.crc32(record.id.encode())).permutation(len(record.features))
        for row in order[:share]:
            found.setdefault(record.features[row].tobytes(), record.features[row])
    kept = list(found.values())[:size][::-1]
    return Window(np.stack(kept) if kept else np.empty((0, width), dtype=np.float32), (), rows, requests)
