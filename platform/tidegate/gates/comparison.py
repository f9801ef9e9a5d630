"""Answers of two releases to the same requests, brought to rows that can be compared, whatever was asked.

A row is comparable where both releases saw the same keys and an output has the same shape on both sides. A key counts once
for each set of request inputs, and a few times at most: one that is asked for again and again is a row, not the sample. Rows of
a model that stores no features are known by their inputs. Tensors that clients send in place of keys are their own choice, so
they are weighed by request, each at most as one, and judged only where a release gets nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tidegate.gates.columns import Columns, rows_of
from tidegate.gates.pairing import Pair
from tidegate.gates.segments import OutputRows, Segments
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, RequestHead, Selection, head_of
from tidegate.statistics.disagreement import kind_of

ROWS_A_REQUEST = 200  # of one request, at most so many are compared
ROWS_A_KEY = 16  # and so many of one key, with different request inputs
SENT_ROWS = 8  # and so many of one that is weighed as one


@dataclass
class Compared:
    """`keyed` rows by output, `sent` the same for tensors that clients sent (a row a request). `alike` pairs could be
    compared, `unlike` could not, and `not_finite` are requests with an output of the candidate that is not a number."""

    keyed: dict[str, OutputRows] = field(default_factory=dict)
    sent: dict[str, OutputRows] = field(default_factory=dict)
    alike: int = 0
    unlike: list[RequestHead] = field(default_factory=list)
    not_finite: list[RequestHead] = field(default_factory=list)

    @property
    def judged(self) -> Mapping[str, OutputRows]:
        return self.keyed or self.sent


class Comparison:
    """Takes pairs one after the other, each once. Never raises, whatever they hold."""

    def __init__(self, columns: Columns, segments: Segments) -> None:
        self.found = Compared()
        self._columns, self._segments = columns, segments
        self._seen = set[tuple[object, ...]]()
        self._asked = Counter[tuple[str, int]]()

    def take(self, ours: InferenceRecord, theirs: InferenceRecord) -> None:
        """Of the candidate and of the live release, which both answered."""
        found = self.found
        if not ours.outputs and not theirs.outputs:
            return  # an answer without a prediction, of both
        names = [name for name in sorted(ours.outputs) if name in theirs.outputs]
        rows = rows_of(ours)
        names = [n for n in names if _shaped(ours.outputs[n], theirs.outputs[n], rows)]
        if not names or ours.entities != theirs.entities or rows_of(theirs) != rows:
            found.unlike.append(head_of(ours))
            return
        if any(not np.isfinite(values).all() for values in ours.outputs.values() if values.dtype.kind == "f"):
            found.not_finite.append(head_of(ours))
            return
        found.alike += 1
        if ours.entities or not self._columns.contract.stored:
            self._take_rows(ours, theirs, names, rows)
        else:
            self._take_request(ours, theirs, names, rows)

    def _take_rows(self, ours: InferenceRecord, theirs: InferenceRecord, names: Sequence[str], rows: int) -> None:
        """Rows of keys, or of a model's own inputs, each once."""
        keys = ours.entities or _inputs_of(ours, rows)
        inputs = {name: values for name, values in ours.request.items() if values.shape == (rows,)}
        timed = len(ours.event_times) == rows
        fresh = []
        for row in _chosen(rows).tolist():
            key = (keys[row], int(ours.event_times[row]) if timed else 0)
            whole = (*key, *sorted((name, column[row].item()) for name, column in _plain(inputs).items()))
            if whole in self._seen or self._asked[key] >= ROWS_A_KEY:
                continue
            self._seen.add(whole)
            self._asked[key] += 1
            fresh.append(row)
        if not fresh:
            return
        chosen = np.array(fresh)
        said = self._segments.of(ours, theirs, chosen)
        for name in names:
            kind = kind_of(name, ours.outputs[name], self._columns.outputs)
            answers = ours.outputs[name][chosen], theirs.outputs[name][chosen]
            into = self.found.keyed.setdefault(name, OutputRows(kind))
            into.add(kind.rows(*answers), [ours.entities[row] if ours.entities else "" for row in fresh], said, answers)

    def _take_request(self, ours: InferenceRecord, theirs: InferenceRecord, names: Sequence[str], rows: int) -> None:
        """A request of tensors in the place of keys, as one row, or (of scores, which have ranks alone) a few."""
        for name in names:
            kind = kind_of(name, ours.outputs[name], self._columns.outputs)
            chosen = _chosen(rows)
            made = kind.rows(ours.outputs[name][chosen], theirs.outputs[name][chosen])
            if kind.name == "score":
                made = made[:SENT_ROWS]
            else:
                size = kind.total(made)
                made = np.array([[min(1.0, size) if math.isfinite(size) else 1.0, 1.0][: made.shape[1]]])
            self.found.sent.setdefault(name, OutputRows(kind)).add(made, [""] * len(made), {}, None)


class Compare:
    """Compares the pairs of one stage: at each look those that are new, as long as they come after the ones before; else all
    of them again."""

    def __init__(self, records: InferenceRecords, candidate: str, active: str, columns: Columns, segments: Segments) -> None:
        self._records, self._sides = records, (Selection(candidate, shadow=True), Selection(active, shadow=False))
        self.columns, self._judged = columns, (columns, segments)
        self._comparison = Comparison(*self._judged)
        self._taken: list[tuple[str, float, float]] = []

    def look(self, pairs: Sequence[Pair]) -> Compared:
        """`pairs` were answered by both, in the order of the live requests."""
        known = [(one.live.id, one.live.at, one.candidate.at) for one in pairs]
        if known[: len(self._taken)] != self._taken:
            self._comparison, self._taken = Comparison(*self._judged), []
        new, comparison = pairs[len(self._taken) :], self._comparison
        self._comparison, self._taken = Comparison(*self._judged), []  # where reading fails, the next look begins anew
        for ours, theirs in self.records_of(new):
            comparison.take(ours, theirs)
        self._comparison, self._taken = comparison, known
        return comparison.found

    def records_of(self, pairs: Sequence[Pair]) -> Iterator[tuple[InferenceRecord, InferenceRecord]]:
        """Whole records of `pairs`, in their order; read side by side, so that few are held at a time."""
        if not pairs:
            return
        made = {one.live.id: one.candidate.at for one in pairs}
        wanted = set(made)
        mirrored, live = (
            self._records.read(replace(side, since=min(times), until=math.nextafter(max(times), math.inf)))
            for side, times in zip(
                self._sides, ([one.candidate.at for one in pairs], [one.live.at for one in pairs]), strict=True
            )
        )
        waiting: dict[str, InferenceRecord] = {}
        for theirs in live:
            if theirs.id not in made:
                continue
            at = made.pop(theirs.id)
            while theirs.id not in waiting and (ours := next(mirrored, None)) is not None:
                if ours.id in wanted:
                    waiting[ours.id] = ours
                if ours.at > at:
                    break
            if theirs.id in waiting:
                yield waiting.pop(theirs.id), theirs


def same_vectors(
    both: Iterable[tuple[InferenceRecord, InferenceRecord]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors [n, F] of pairs whose releases were asked for the same keys and read as many features, some rows of each."""
    for one, other in both:
        ours, theirs = one.features, other.features
        if one.entities and one.entities == other.entities and ours.shape == theirs.shape:
            chosen = _chosen(len(ours))
            yield ours[chosen], theirs[chosen]


def _shaped(ours: np.ndarray, theirs: np.ndarray, rows: int) -> bool:
    return ours.shape == theirs.shape and ours.ndim > 0 and len(ours) == rows > 0


def _chosen(rows: int) -> np.ndarray:
    if rows <= ROWS_A_REQUEST:
        return np.arange(rows)
    return np.unique(np.linspace(0, rows - 1, min(rows, ROWS_A_REQUEST)).astype(np.intp))


def _inputs_of(record: InferenceRecord, rows: int) -> list[str]:
    """What is known of each row of a model without keys: a digest of its inputs."""
    parts = [*record.tensors.values(), *([record.features] if not record.tensors else [])]
    parts = [part for part in parts if len(part) == rows]
    whole = "".join(record.digests.values())
    digests = []
    for row in range(rows):
        digest = hashlib.sha256(whole.encode() + (f"{record.id} {row}".encode() if whole else b""))
        for part in parts:
            value = part[row]
            digest.update(repr(np.asarray(value).tolist()).encode() if part.dtype.kind == "O" else np.asarray(value).tobytes())
        digests.append(digest.hexdigest()[:24])
    return digests


def _plain(columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Texts as numpy's own, so that each value gives a plain one."""
    return {name: values.astype(str) if values.dtype.kind == "O" else values for name, values in columns.items()}
