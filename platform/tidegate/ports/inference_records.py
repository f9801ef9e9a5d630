"""Port to the inference log: what was asked of a release, what it saw, and what it answered.

A record is one request answered by one slot. The same request mirrored to the other slot is a record of its own with
`shadow` true and the same `id`. Records of requests that failed have a status of 400 or more and may lack arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tidegate.domain.slots import Slot
from tidegate.files.record_index import Vectors


@dataclass(frozen=True)
class InferenceRecord:
    """One request of n rows. Equal `id` ties a mirrored request to the live one.

    `tensors` are the model's inputs exactly as it got them, all but those that were too large to be kept, of which `digests`
    has the SHA-256 of their bytes, and `profile` columns, [n] each. `id` is the gateway's; `client_id` is what the client
    called the request, `route` the one that predicted (`predict`, `infer`), `error` why there is no prediction. Each of these
    three is empty where it is not known.
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
    request: Mapping[str, np.ndarray]  # request inputs of the on-demand transformation, [n] each, numbers or texts
    features: np.ndarray  # float32 [n, F], the model's input `features`; [n, 0] of a model that has none such
    outputs: Mapping[str, np.ndarray]  # by output name, first axis n
    client_id: str = ""
    route: str = ""
    error: str = ""
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """An `InferenceRecord` without what was asked and answered."""

    id: str
    at: float
    release: str
    slot: Slot
    shadow: bool
    status: int
    latency_ms: float
    client_id: str = ""
    route: str = ""
    error: str = ""


@dataclass(frozen=True)
class Selection:
    """Which records: those that have every property that is not None, made from `since` on and before `until`.

    `vectors` are looked up by key (`keyed`), sent by the client (`sent`), or there are none. `days` is a range [first, last)
    of the day (since the epoch, UTC) of the latest event time; records without event times are not `timed`.
    """

    release: str | None = None
    slot: Slot | None = None
    shadow: bool | None = None
    since: float = 0.0
    until: float = math.inf
    vectors: Vectors | None = None
    timed: bool | None = None
    days: tuple[int, int] | None = None


def head_of(record: InferenceRecord) -> RequestHead:
    return RequestHead(
        record.id,
        record.at,
        record.release,
        record.slot,
        record.shadow,
        record.status,
        record.latency_ms,
        record.client_id,
        record.route,
        record.error,
    )


class InferenceRecords(Protocol):
    """Reads the inference log of one model, in bounded memory: what is not taken from an iterator is not read.

    Every call sees what was written before it. An absent log is no record, not an error; a line that cannot be read is skipped
    by the reader (which counts it) unless it is the torn last line of a segment. Raises Unavailable where the log cannot be
    asked: that is not the same as no record.
    """

    def read(self, selection: Selection, newest_first: bool = False) -> Iterator[InferenceRecord]:
        """In the order of their times."""

    def heads(self, selection: Selection) -> Iterator[RequestHead]:
        """Oldest first; those of records whose arrays cannot be read are among them."""

    def days(self, selection: Selection) -> Sequence[int]:
        """The days of the latest event times of the selected records, without repetition, in order."""
