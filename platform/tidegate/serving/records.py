"""Reading the inference log: the control plane's side of `tidegate.serving.runtime.inference_log`.

Segments are summarised block by block (`tidegate.files.record_index`), so that a reader opens only blocks that may hold what
is selected, newest or oldest first, one after the other: memory is bounded by the blocks whose times overlap, and asking again
costs what was appended since. Other processes may append, compress and prune segments all the while. A last line without its
end is left for the next look; any other line that cannot be read is skipped and counted in `skipped`.
"""

from __future__ import annotations

import base64
import heapq
import math
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from tidegate.domain.datatypes import FEATURES, TEXT
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.files.record_index import Block, Group, RecordHead, read_head
from tidegate.files.record_segments import Gone, Segment, segment_paths
from tidegate.ports.inference_records import InferenceRecord, RequestHead, Selection

_NAMED = 5


class _Array(msgspec.Struct):
    dtype: str
    shape: list[int]
    data: str | list[str] = ""
    digest: str = ""


class _Line(msgspec.Struct):
    id: str
    at: float
    rows: int
    latency_ms: float
    entities: list[str] = msgspec.field(default_factory=list)
    inputs: dict[str, list[bool | int | float | str]] = msgspec.field(default_factory=dict)
    event_times: list[int] = msgspec.field(default_factory=list)
    features: str = ""
    profile: dict[str, list[bool | int | float | str | None]] = msgspec.field(default_factory=dict)
    tensors: dict[str, _Array] = msgspec.field(default_factory=dict)
    outputs: dict[str, _Array] = msgspec.field(default_factory=dict)


_line = msgspec.json.Decoder(_Line)


def read_record(head: RecordHead, line: bytes) -> InferenceRecord | None:
    """The whole record; None for a line that cannot be read."""
    try:
        return _record(head, _line.decode(line))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        return None


def request_head(head: RecordHead) -> RequestHead:
    return RequestHead(
        head.id,
        head.at,
        head.release,
        head.slot,
        head.shadow,
        head.status,
        head.latency_ms,
        head.client_id,
        head.route,
        head.error,
    )


def matches(head: RecordHead, wanted: Selection) -> bool:
    """Whether a record is selected."""
    return (
        wanted.since <= head.at < wanted.until
        and wanted.release in (None, head.release)
        and wanted.slot in (None, head.slot)
        and wanted.shadow in (None, head.shadow)
        and wanted.vectors in (None, head.vectors)
        and wanted.timed in (None, bool(head.event_times))
        and (wanted.days is None or ((day := head.day) is not None and wanted.days[0] <= day < wanted.days[1]))
    )


def may_match(group: Group, wanted: Selection) -> bool:
    """Whether a record of the group may be selected."""
    if wanted.days is None:
        dated = True
    elif group.between:
        dated = group.days[0] < wanted.days[1] and wanted.days[0] <= group.days[1]
    else:
        dated = any(wanted.days[0] <= day < wanted.days[1] for day in group.days)
    return (
        dated
        and group.last >= wanted.since
        and group.first < wanted.until
        and wanted.release in (None, group.release)
        and wanted.slot in (None, group.slot)
        and wanted.shadow in (None, group.shadow)
        and wanted.vectors in (None, group.vectors)
        and wanted.timed in (None, group.timed)
    )


class InferenceLogFiles:
    """`InferenceRecords` over a folder of segments; `skipped` counts the lines that could not be read so far."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder, self._model = folder, model
        self._segments: dict[Path, Segment] = {}
        self._unread: set[tuple[Path, int]] = set()
        self._lock = threading.Lock()

    @property
    def skipped(self) -> int:
        return len(self._unread) + sum(block.bad for each in self._segments.values() for block in each.blocks)

    def read(self, selection: Selection, newest_first: bool = False) -> Iterator[InferenceRecord]:
        """See the port."""
        for head, line, place in self._merged(selection, newest_first):
            record = read_record(head, line)
            if record is None:
                self._unread.add(place)
            else:
                yield record

    def heads(self, selection: Selection) -> Iterator[RequestHead]:
        """See the port."""
        return (request_head(head) for head, _, _ in self._merged(selection, newest_first=False))

    def days(self, selection: Selection) -> Sequence[int]:
        """See the port."""
        found: set[int] = set()
        for segment, block, group in self._groups(selection):
            inside = selection.since <= group.first and group.last < selection.until and selection.days is None
            if inside and not group.between:
                found.update(group.days)
            else:
                heads = (head for head, _, _ in self._selected(segment, block, selection))
                found.update(day for head in heads if (day := head.day) is not None)
        return sorted(found)

    def find(self, request_id: str) -> InferenceRecord:
        """The record of a request by the gateway's id or else the client's, the live one rather than the mirrored, the latest
        of several; raises NotFound, and InvalidInput where a client gave several requests this id."""
        best: dict[bool, tuple[tuple[bool, float], RecordHead, bytes]] = {}  # whether the id is the gateway's
        ids: dict[str, None] = {}
        for head, line in self._naming(request_id):
            gateways = head.id == request_id
            if not gateways and head.client_id != request_id:
                continue
            ids |= {} if gateways else {head.id: None}
            rank = (not head.shadow, head.at)
            if gateways not in best or best[gateways][0] < rank:
                best[gateways] = (rank, head, line)
        if True not in best and len(ids) > 1:
            named = ", ".join(list(ids)[-_NAMED:])
            raise InvalidInput(
                f"a client gave {len(ids)} requests the id '{request_id}'; name one by its own id, the latest are {named}"
            )
        found = best.get(True) or best.get(False)
        record = read_record(*found[1:]) if found else None
        if record is None:
            raise NotFound(
                f"request '{request_id}' is not in the inference log {self._folder}: "
                "it was not served by this project, or its record was sampled out or dropped"
            )
        return record

    def _naming(self, request_id: str) -> Iterator[tuple[RecordHead, bytes]]:
        """Lines that write a name, oldest first where segments do not overlap."""
        plain = request_id.isascii() and request_id.isprintable() and not set(request_id) & set('"\\/<>&')
        needle = request_id.encode() if plain else b""
        if not request_id:
            return
        with self._lock:
            self._look(0.0)
            segments = [(segment, list(segment.blocks)) for segment in self._segments.values()]
        for segment, blocks in sorted(segments, key=lambda each: _first(each[1])):
            for block in blocks:
                try:
                    data = segment.read(block)
                except Gone:
                    break
                if needle in data:
                    lines = (line for line in data.split(b"\n")[:-1] if needle in line)
                    heads = ((read_head(line), line) for line in lines)
                    yield from ((head, line) for head, line in heads if head and head.model == self._model)

    def _look(self, since: float) -> None:
        paths = segment_paths(self._folder)
        self._segments = {path: self._segments.get(path) or Segment(path) for path in paths}
        for path, segment in list(self._segments.items()):
            try:
                segment.look(since)
            except Gone:
                del self._segments[path]

    def _groups(self, selection: Selection) -> list[tuple[Segment, Block, Group]]:
        with self._lock:  # gates look from threads of their own
            self._look(selection.since)
            return [
                (segment, block, group)
                for segment in self._segments.values()
                for block in segment.blocks
                for group in block.groups
                if group.model == self._model and may_match(group, selection)
            ]

    def _selected(self, segment: Segment, block: Block, selection: Selection) -> Iterator[tuple[RecordHead, bytes, int]]:
        """Head, line and number of the selected lines of a block; none where the segment was taken away."""
        try:
            data = segment.read(block)
        except Gone:
            return
        for number, line in enumerate(data.split(b"\n")[:-1]):
            head = read_head(line)
            if head is not None and head.model == self._model and matches(head, selection):
                yield head, line, number

    def _merged(self, selection: Selection, newest_first: bool) -> Iterator[tuple[RecordHead, bytes, tuple[Path, int]]]:
        """Selected lines in the order of their times: a block is opened when no later one can come before what it holds."""
        sign = -1.0 if newest_first else 1.0
        bounds: dict[tuple[Path, int], tuple[float, Segment, Block]] = {}
        for segment, block, group in self._groups(selection):
            bound = min(sign * group.first, sign * group.last)
            key = (segment.path, block.start)
            bounds[key] = (min(bound, bounds.get(key, (bound,))[0]), segment, block)
        waiting: list[tuple[float, float, int, RecordHead, bytes, tuple[Path, int]]] = []
        order = {path: sign * n for n, path in enumerate(sorted({path for path, _ in bounds}))}
        for bound, segment, block in sorted(bounds.values(), key=lambda each: each[0]):
            while waiting and waiting[0][0] < bound:
                yield heapq.heappop(waiting)[3:]
            for head, line, number in self._selected(segment, block, selection):
                place = block.start * 4096 + number  # unique, and in the order of lines
                heapq.heappush(
                    waiting, (sign * head.at, order[segment.path], int(sign) * place, head, line, (segment.path, place))
                )
        while waiting:
            yield heapq.heappop(waiting)[3:]


def _first(blocks: Sequence[Block]) -> float:
    return min((group.first for block in blocks for group in block.groups), default=math.inf)


def _record(head: RecordHead, line: _Line) -> InferenceRecord:
    """Raises ValueError for a line whose parts do not belong together: what gates and replays rely on is checked here, once."""
    named = len(line.entities)
    parts = [len(line.event_times), *map(len, line.inputs.values())]
    if named not in (0, line.rows) or any(n not in (0, line.rows) if not named else n != named for n in parts):
        raise ValueError(f"request {line.id}: {line.rows} rows, but {named} entities and columns of {parts}")
    if not (math.isfinite(line.at) and math.isfinite(line.latency_ms)):
        raise ValueError(f"request {line.id}: times that are no numbers")
    features = np.frombuffer(base64.b64decode(line.features, validate=True), dtype="<f4")
    features = features.reshape(line.rows, -1) if line.rows else features.reshape(0, 0)
    whole = {name: _array(array) for name, array in line.tensors.items() if not array.digest}
    if any(array.shape[:1] != (line.rows,) for array in whole.values()):
        raise ValueError(f"request {line.id}: {line.rows} rows, but tensors of {[array.shape for array in whole.values()]}")
    return InferenceRecord(
        id=head.id,
        at=head.at,
        release=head.release,
        slot=head.slot,
        shadow=head.shadow,
        status=head.status,
        latency_ms=head.latency_ms,
        entities=tuple(line.entities),
        event_times=np.array(line.event_times, dtype=np.int64),
        request={name: _values(values) for name, values in line.inputs.items()},
        features=features,
        outputs={name: _array(array) for name, array in line.outputs.items()},
        client_id=head.client_id,
        route=head.route,
        error=head.error,
        tensors=({FEATURES: features} if features.size else {}) | whole,
        digests={name: array.digest for name, array in line.tensors.items() if array.digest},
        profile={name: _values(values) for name, values in line.profile.items() if len(values) == line.rows},
    )


def _values(values: Sequence[bool | int | float | str | None]) -> np.ndarray:
    """A column; where there is no value it is NaN, or None among texts."""
    if any(isinstance(value, str) for value in values):
        return _texts(values, missing=True)
    array = np.array(values)
    return array if array.dtype.kind in "biuf" else np.array(values, dtype=np.float64)  # whole numbers beyond 64 bits


def _array(array: _Array) -> np.ndarray:
    if isinstance(array.data, list):
        return _texts(array.data).reshape(array.shape)
    return np.frombuffer(base64.b64decode(array.data, validate=True), dtype=np.dtype(array.dtype)).reshape(array.shape)


def _texts(values: Sequence[object], missing: bool = False) -> np.ndarray:
    if not all(isinstance(value, str) or (missing and value is None) for value in values):
        raise ValueError("texts and numbers in one column")
    return np.array(values, dtype=TEXT)
