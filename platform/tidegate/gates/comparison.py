"""Answers of two releases to the same requests, brought to rows that can be compared, whatever was asked.

A row is comparable where both releases saw the same keys and an output has the same shape on both sides. A key counts once
for each set of request inputs, and a few times at most: one that is asked for again and again is a row, not the sample.
Tensors that clients send have no key: they are the client's own choice, so they are weighed by request, each at most as one,
and judged only where a release gets nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tidegate.gates.pairing import Pair
from tidegate.ports.inference_records import InferenceRecord

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
    unlike: list[InferenceRecord] = field(default_factory=list)
    not_finite: list[InferenceRecord] = field(default_factory=list)

    @property
    def judged(self) -> Mapping[str, OutputRows]:
        return self.keyed or self.sent


def compare(pairs: Sequence[Pair]) -> Compared:
    """`pairs` were answered by both. Never raises, whatever they hold."""
    found, seen, asked = Compared(), set[tuple[object, ...]](), Counter[tuple[str, int]]()
    for one in pairs:
        ours, theirs = one.candidate, one.live
        if not ours.outputs and not theirs.outputs:
            continue  # an answer without a prediction, of both
        names = [name for name in sorted(ours.outputs) if name in theirs.outputs]
        rows = _rows(ours)
        names = [n for n in names if _shaped(ours.outputs[n], theirs.outputs[n], rows)]
        if not names or ours.entities != theirs.entities or _rows(theirs) != rows:
            found.unlike.append(ours)
            continue
        if any(not np.isfinite(values).all() for values in ours.outputs.values() if values.dtype.kind == "f"):
            found.not_finite.append(ours)
            continue
        found.alike += 1
        chosen = _chosen(rows)
        sizes = {name: _sizes(ours.outputs[name][chosen], theirs.outputs[name][chosen]) for name in names}
        if ours.entities:
            _take_keyed(found.keyed, ours, chosen, sizes, seen, asked)
        else:
            _take_sent(found.sent, ours, sizes)
    return found


def same_vectors(pairs: Sequence[Pair]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors [n, F] of pairs whose releases were asked for the same keys and read as many features, some rows of each."""
    for one in pairs:
        ours, theirs = one.candidate.features, one.live.features
        if one.candidate.entities and one.candidate.entities == one.live.entities and ours.shape == theirs.shape:
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
