"""Reading the inference log: the control plane's side of `tidegate.serving.runtime.inference_log`.

Segments are indexed as they grow, so asking again costs what was appended since. A last line without its end is left for
the next look; any other line that cannot be read is skipped and counted in `skipped`. Segments whose last record
is older than `since` are not read.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import InferenceRecord

_CHUNK = 8 * 1024 * 1024
_TAIL = 64 * 1024
_NAMED = 5


class RecordHead(msgspec.Struct):
    """What the index keeps of a line."""

    id: str
    at: float
    model: str
    release: str
    slot: Slot
    shadow: bool
    client_id: str = ""


class _Array(msgspec.Struct):
    dtype: str
    shape: list[int]
    data: str


class _Line(RecordHead, kw_only=True):
    status: int
    latency_ms: float
    rows: int
    route: str = ""
    error: str = ""
    entities: list[str] = msgspec.field(default_factory=list)
    inputs: dict[str, list[int | float]] = msgspec.field(default_factory=dict)
    event_times: list[int] = msgspec.field(default_factory=list)
    features: str = ""
    outputs: dict[str, _Array] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class _Entry:
    head: RecordHead
    path: Path
    offset: int
    length: int


_head = msgspec.json.Decoder(RecordHead)
_line = msgspec.json.Decoder(_Line)


def read_head(line: bytes) -> RecordHead | None:
    """Who answered, when; None for a line that cannot be read."""
    try:
        return _head.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def read_record(line: bytes) -> InferenceRecord | None:
    """The whole record; None for a line that cannot be read."""
    try:
        return _record(_line.decode(line))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        return None


def matches(
    head: RecordHead, release: str | None = None, slot: Slot | None = None, shadow: bool | None = None, since: float = 0.0
) -> bool:
    """Whether a record is asked for, see the port; what is None is not looked at."""
    return head.at >= since and release in (None, head.release) and slot in (None, head.slot) and shadow in (None, head.shadow)


class InferenceLogFiles:
    """`InferenceRecords` over a folder of segments; `skipped` counts the lines that could not be read so far."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder, self._model = folder, model
        self._offsets: dict[Path, int] = {}
        self._ends: dict[Path, tuple[int, float]] = {}  # size of a segment, and when its last record was made
        self._entries: list[_Entry] = []
        self._unread: set[tuple[Path, int]] = set()
        self._tailed = 0

    @property
    def skipped(self) -> int:
        return len(self._unread)

    def records(
        self,
        release: str | None = None,
        *,
        slot: Slot | None = None,
        shadow: bool | None = None,
        since: float = 0.0,
        limit: int | None = None,
    ) -> Sequence[InferenceRecord]:
        """See the port."""
        self._index(since)
        chosen = sorted(
            (entry for entry in self._entries if matches(entry.head, release, slot, shadow, since)),
            key=lambda entry: entry.head.at,
        )
        if limit is not None:
            chosen = chosen[-limit:] if limit > 0 else []
        return self._read(chosen)

    def tail(self) -> Sequence[InferenceRecord]:
        """Records that were written since the last call of `tail`, oldest first."""
        self._index(0.0)
        new, self._tailed = self._entries[self._tailed :], len(self._entries)
        return self._read(sorted(new, key=lambda entry: entry.head.at))

    def find(self, request_id: str) -> InferenceRecord:
        """The record of a request by the gateway's id or else the client's, the live one rather than the mirrored, the latest
        of several; raises NotFound, and InvalidInput where a client gave several requests this id."""
        self._index(0.0)
        found = [entry for entry in self._entries if entry.head.id == request_id]
        if not found and request_id:
            found = [entry for entry in self._entries if entry.head.client_id == request_id]
            ids = list(dict.fromkeys(entry.head.id for entry in found))
            if len(ids) > 1:
                named = ", ".join(ids[-_NAMED:])
                raise InvalidInput(
                    f"a client gave {len(ids)} requests the id '{request_id}'; name one by its own id, the latest are {named}"
                )
        found.sort(key=lambda entry: (not entry.head.shadow, entry.head.at))
        records = self._read(found[-1:])
        if not records:
            raise NotFound(
                f"request '{request_id}' is not in the inference log {self._folder}: "
                "it was not served by this project, or its record was sampled out or dropped"
            )
        return records[0]

    def _index(self, since: float) -> None:
        for path in sorted(self._folder.glob("*.jsonl")):
            try:
                stat = path.stat()
                if stat.st_size <= self._offsets.get(path, 0) or self._latest(path, stat.st_size) < since - 1:
                    continue
                self._index_segment(path)
            except FileNotFoundError:
                continue  # taken away while we looked

    def _latest(self, path: Path, size: int) -> float:
        """When the last record of a segment was made, by the clock of the records: that of the file system may have been set
        anew. Infinite when that cannot be told without reading it all."""
        if self._ends.get(path, (-1, 0.0))[0] != size:
            with path.open("rb") as handle:
                handle.seek(max(0, size - _TAIL))
                *_, last, _rest = [b"", b"", *handle.read(_TAIL).split(b"\n")]
            head = read_head(last)
            self._ends[path] = (size, head.at if head is not None else math.inf)
        return self._ends[path][1]

    def _index_segment(self, path: Path) -> None:
        offset = self._offsets.get(path, 0)
        with path.open("rb") as handle:
            handle.seek(offset)
            while lines := handle.readlines(_CHUNK):
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._add(path, offset, line)
                    offset += len(line)
        self._offsets[path] = offset

    def _add(self, path: Path, offset: int, line: bytes) -> None:
        head = read_head(line)
        if head is None:
            self._unread.add((path, offset))
        elif head.model == self._model:
            self._entries.append(_Entry(head, path, offset, len(line)))

    def _read(self, entries: Sequence[_Entry]) -> list[InferenceRecord]:
        """The records of `entries` in their order, each segment opened once."""
        records: list[tuple[int, InferenceRecord]] = []
        places: dict[Path, list[int]] = {}
        for place, entry in enumerate(entries):
            places.setdefault(entry.path, []).append(place)
        for path, wanted in places.items():
            try:
                with path.open("rb") as handle:
                    for place in wanted:
                        handle.seek(entries[place].offset)
                        line = handle.read(entries[place].length)
                        record = read_record(line)
                        if record is None:
                            self._unread.add((path, entries[place].offset))
                        else:
                            records.append((place, record))
            except FileNotFoundError:
                continue  # taken away while we looked
        return [record for _, record in sorted(records, key=lambda pair: pair[0])]


def to_frame(records: Iterable[InferenceRecord], vector: Sequence[str], entity: str = "entity") -> pl.DataFrame:
    """One row for each predicted row of `records`.

    Columns: id, at, release, slot, shadow, the entity, `event_timestamp` (UTC), the request inputs, the features by the
    contract's names (float32), and each output as `name` or `name_0`, `name_1` ... Records without a prediction are left out.
    """
    frames = [_frame(record, vector, entity) for record in records if len(record.entities)]
    return pl.concat(frames) if frames else pl.DataFrame()


def _frame(record: InferenceRecord, vector: Sequence[str], entity: str) -> pl.DataFrame:
    n = len(record.entities)
    columns: dict[str, Any] = {
        "id": [record.id] * n,
        "at": [datetime.fromtimestamp(record.at, UTC)] * n,
        "release": [record.release] * n,
        "slot": [record.slot.value] * n,
        "shadow": [record.shadow] * n,
        entity: list(record.entities),
        "event_timestamp": pl.Series(record.event_times).cast(pl.Datetime("us", "UTC")),
    }
    columns |= {name: values for name, values in record.request.items() if name not in vector}
    columns |= {name: record.features[:, i] for i, name in enumerate(vector)}
    for name, values in record.outputs.items():
        flat = values.reshape(n, -1)
        columns |= {name if flat.shape[1] == 1 else f"{name}_{k}": flat[:, k] for k in range(flat.shape[1])}
    return pl.DataFrame(columns)


def _record(line: _Line) -> InferenceRecord:
    """Raises ValueError for a line whose parts do not belong together: what gates and replays rely on is checked here, once."""
    named = len(line.entities)
    parts = [len(line.event_times), *map(len, line.inputs.values())]
    if named not in (0, line.rows) or any(n not in (0, line.rows) if not named else n != named for n in parts):
        raise ValueError(f"request {line.id}: {line.rows} rows, but {named} entities and columns of {parts}")
    if not (math.isfinite(line.at) and math.isfinite(line.latency_ms)):
        raise ValueError(f"request {line.id}: times that are no numbers")
    features = np.frombuffer(base64.b64decode(line.features, validate=True), dtype="<f4")
    features = features.reshape(line.rows, -1) if line.rows else features.reshape(0, 0)
    return InferenceRecord(
        id=line.id,
        at=line.at,
        release=line.release,
        slot=line.slot,
        shadow=line.shadow,
        status=line.status,
        latency_ms=line.latency_ms,
        entities=tuple(line.entities),
        event_times=np.array(line.event_times, dtype=np.int64),
        request={name: _numbers(values) for name, values in line.inputs.items()},
        features=features,
        outputs=_outputs(line.outputs),
        client_id=line.client_id,
        route=line.route,
        error=line.error,
    )


def _numbers(values: Sequence[int | float]) -> np.ndarray:
    array = np.array(values)
    return array if array.dtype.kind in "iuf" else np.array(values, dtype=np.float64)  # whole numbers beyond 64 bits


def _outputs(outputs: Mapping[str, _Array]) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(base64.b64decode(array.data, validate=True), dtype=np.dtype(array.dtype)).reshape(array.shape)
        for name, array in outputs.items()
    }
