"""Answers of two releases to the same requests, brought to rows that can be compared, whatever was asked.

A row is comparable where both releases saw the same keys and an output has the same shape on both sides. A key counts once
for each set of request inputs, and a few times at most: one that is asked for again and again is a row, not the sample.
Tensors that clients send have no key: they are the client's own choice, so they are weighed by request, each at most as one,
and judged only where a release gets nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tidegate.gates.pairing import Pair
from tidegate.ports.inference_records import InferenceRecord, InferenceRecords, RequestHead, Selection, head_of

ROWS_A_REQUEST = 200  # of one request, at most so many are compared
ROWS_A_KEY = 16  # and so many of one key, with different request inputs


@dataclass
class OutputRows:
    """Rows of one output: summed difference, summed weight (of the live answer), the key and the request inputs of each."""

    difference: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    inputs: list[Mapping[str, float]] = field(default_factory=list)

    @property
    def disagreement(self) -> float:
        """sum|a - b| / sum|b|; infinite where only b is zero throughout."""
        difference, weight = sum(self.difference), sum(self.weight)
        if weight == 0.0:
            return 0.0 if difference == 0.0 else float("inf")
        return difference / weight

    def worst_segment(self) -> str:
        """The value of a request input (horizon, say) where the output disagrees most, as a note."""
        difference, weight = np.array(self.difference), np.array(self.weight)
        worst, note = 0.0, ""
        names = set.intersection(*(set(inputs) for inputs in self.inputs)) if self.inputs else set()
        for name in sorted(names):
            values = np.array([inputs[name] for inputs in self.inputs])
            levels = np.unique(values)
            if not 2 <= len(levels) <= 31:
                continue
            for level in levels:
                chosen = values == level
                total = weight[chosen].sum()
                if chosen.sum() >= 20 and total > 0 and (size := difference[chosen].sum() / total) > worst:
                    worst, note = size, f", worst at {name}={level:g} ({size:.3g})"
        return note


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

    def __init__(self) -> None:
        self.found = Compared()
        self._seen = set[tuple[object, ...]]()
        self._asked = Counter[tuple[str, int]]()

    def take(self, ours: InferenceRecord, theirs: InferenceRecord) -> None:
        """Of the candidate and of the live release, which both answered."""
        found = self.found
        if not ours.outputs and not theirs.outputs:
            return  # an answer without a prediction, of both
        names = [name for name in sorted(ours.outputs) if name in theirs.outputs]
        rows = _rows(ours)
        names = [n for n in names if _shaped(ours.outputs[n], theirs.outputs[n], rows)]
        if not names or ours.entities != theirs.entities or _rows(theirs) != rows:
            found.unlike.append(head_of(ours))
            return
        if any(not np.isfinite(values).all() for values in ours.outputs.values() if values.dtype.kind == "f"):
            found.not_finite.append(head_of(ours))
            return
        found.alike += 1
        chosen = _chosen(rows)
        sizes = {name: _sizes(ours.outputs[name][chosen], theirs.outputs[name][chosen]) for name in names}
        if ours.entities:
            _take_keyed(found.keyed, ours, chosen, sizes, self._seen, self._asked)
        else:
            _take_sent(found.sent, ours, sizes)


class Compare:
    """Compares the pairs of one stage: at each look those that are new, as long as they come after the ones before; else all
    of them again."""

    def __init__(self, records: InferenceRecords, candidate: str, active: str) -> None:
        self._records, self._sides = records, (Selection(candidate, shadow=True), Selection(active, shadow=False))
        self._comparison = Comparison()
        self._taken: list[tuple[str, float, float]] = []

    def look(self, pairs: Sequence[Pair]) -> Compared:
        """`pairs` were answered by both, in the order of the live requests."""
        known = [(one.live.id, one.live.at, one.candidate.at) for one in pairs]
        if known[: len(self._taken)] != self._taken:
            self._comparison, self._taken = Comparison(), []
        new, comparison = pairs[len(self._taken) :], self._comparison
        self._comparison, self._taken = Comparison(), []  # where reading fails, the next look begins anew
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


def _rows(record: InferenceRecord) -> int:
    return len(record.entities) or len(record.features)


def _shaped(ours: np.ndarray, theirs: np.ndarray, rows: int) -> bool:
    return ours.shape == theirs.shape and ours.ndim > 0 and len(ours) == rows > 0


def _chosen(rows: int) -> np.ndarray:
    if rows <= ROWS_A_REQUEST:
        return np.arange(rows)
    return np.unique(np.linspace(0, rows - 1, min(rows, ROWS_A_REQUEST)).astype(np.intp))


def _sizes(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Summed difference and summed weight of each row; values of the live release that are no numbers weigh nothing."""
    if ours.dtype.kind not in "iufb" or theirs.dtype.kind not in "iufb":
        return (ours != theirs).reshape(len(ours), -1).mean(axis=1), np.ones(len(ours))
    a, b = (values.reshape(len(values), -1).astype(np.float64) for values in (ours, theirs))
    usable = np.isfinite(b)
    difference = np.where(usable, np.abs(a - np.where(usable, b, 0.0)), 0.0)
    return difference.sum(axis=1), np.where(usable, np.abs(b), 0.0).sum(axis=1)


def _take_keyed(
    into: dict[str, OutputRows],
    record: InferenceRecord,
    chosen: np.ndarray,
    sizes: Mapping[str, tuple[np.ndarray, np.ndarray]],
    seen: set[tuple[object, ...]],
    asked: Counter[tuple[str, int]],
) -> None:
    rows = len(record.entities)
    inputs = {name: values for name, values in record.request.items() if values.shape == (rows,)}
    for place, row in enumerate(chosen.tolist()):
        time = int(record.event_times[row]) if len(record.event_times) == rows else 0
        key = (record.entities[row], time)
        values = {name: float(column[row]) for name, column in inputs.items()}
        whole = (*key, *sorted(values.items()))
        if whole in seen or asked[key] >= ROWS_A_KEY:
            continue
        seen.add(whole)
        asked[key] += 1
        for name, (difference, weight) in sizes.items():
            _append(into, name, float(difference[place]), float(weight[place]), record.entities[row], values)


def _take_sent(
    into: dict[str, OutputRows], record: InferenceRecord, sizes: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    for name, (difference, weight) in sizes.items():
        total = float(weight.sum())
        share = float(difference.sum()) / total if total > 0 else float(difference.any())
        _append(into, name, min(1.0, share), 1.0, "", {})


def _append(
    into: dict[str, OutputRows], name: str, difference: float, weight: float, key: str, inputs: Mapping[str, float]
) -> None:
    rows = into.setdefault(name, OutputRows())
    rows.difference.append(difference)
    rows.weight.append(weight)
    rows.keys.append(key)
    rows.inputs.append(inputs)
