"""The latest vectors that a release saw, as a sample of the world and not of the traffic.

Of vectors that were looked up by key, each key counts once for each event time: its other rows differ in the request's inputs
alone (each horizon of a forecast, say), and one that is asked for again is the same vector again. Vectors that clients sent as
tensors have no key: equal ones count once, and one request has a bounded share of the window.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.ports.inference_records import InferenceRecord


@dataclass(frozen=True)
class Window:
    """`vectors` float32 [n, F], oldest first, with the key of each (none for tensors); made from `rows` rows of `requests`
    requests, which were looked at until the window was full."""

    vectors: np.ndarray
    keys: tuple[str, ...]
    rows: int
    requests: int

    def latest(self, size: int) -> Window:
        return Window(self.vectors[-size:], self.keys[-size:], self.rows, self.requests)


def keyed_window(records: Sequence[InferenceRecord], size: int, width: int, keys: Container[str] | None = None) -> Window:
    """The latest `size` distinct keys and event times of `records` (oldest first), with vectors of `width` features; of `keys`
    alone where they are given."""
    found: dict[tuple[str, int], np.ndarray] = {}
    rows = requests = 0
    for record in reversed(records):
        if len(found) >= size:
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


def sent_window(records: Sequence[InferenceRecord], size: int, width: int, min_requests: int) -> Window:
    """The latest `size` distinct vectors of `width` features that clients sent, of one request at most its share of a window
    of `min_requests` requests."""
    share = max(1, size // min_requests)
    found: dict[bytes, np.ndarray] = {}
    rows = requests = 0
    for record in reversed(records):
        if len(found) >= size:
            break
        if record.entities or record.features.ndim != 2 or record.features.shape[1] != width or not len(record.features):
            continue
        rows, requests = rows + len(record.features), requests + 1
        order = np.random.default_rng(zlib.crc32(record.id.encode())).permutation(len(record.features))
        for row in order[:share]:
            found.setdefault(record.features[row].tobytes(), record.features[row])
    kept = list(found.values())[:size][::-1]
    return Window(np.stack(kept) if kept else np.empty((0, width), dtype=np.float32), (), rows, requests)
