"""Port to the inference log: what was asked of a release, what it saw, and what it answered.

A record is one request answered by one slot. The same request mirrored to the other slot is a record of its own with
`shadow` true and the same `id`. Records of requests that failed have a status of 400 or more and may lack arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidegate.domain.slots import Slot


@dataclass(frozen=True)
class InferenceRecord:
    """One request of n rows. Equal `id` ties a mirrored request to the live one.

    `id` is the gateway's; `client_id` is what the client called the request, `route` the one that predicted (`predict`,
    `infer`), `error` why there is no prediction. Each of these three is empty where it is not known.
    """

    id: str
    at: float  # seconds since the epoch, when the answer was ready
    release: str  # digest of the release that answered
    slot: Slot
    shadow: bool
    status: int  # HTTP status; 200 when answered
    latency_ms: float
    entities: tuple[str, ...]  # n
    event_times: np.ndarray  # int64 [n], microseconds since the epoch (UTC) of each row's stored features
    request: Mapping[str, np.ndarray]  # request inputs of the on-demand transformation, [n] each
    features: np.ndarray  # float32 [n, F], exactly what the model was given
    outputs: Mapping[str, np.ndarray]  # by output name, first axis n
    client_id: str = ""
    route: str = ""
    error: str = ""


class InferenceRecords(Protocol):
    """Reads the inference log of one model."""

    def records(
        self,
        release: str | None = None,
        *,
        slot: Slot | None = None,
        shadow: bool | None = None,
        since: float = 0.0,
        limit: int | None = None,
    ) -> Sequence[InferenceRecord]:
        """Records with `at >= since` that match every argument that is not None, oldest first.

        With `limit`, the latest `limit` of them, still oldest first. An absent log is no record, not an error; a line that
        cannot be read is skipped by the reader (which counts it) unless it is the torn last line of a segment.
        """
