"""Where two releases disagree most: the segments and the rows that evidence names.

A segment is a value of a part of the key, of a request input, of a column with few values, or of the live release's own label.
What is named of it and of a row was chosen by clients, so it is cut short and made printable.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import parts_of, said
from tidegate.gates.columns import Columns
from tidegate.gates.examples import printable
from tidegate.ports.inference_records import InferenceRecord
from tidegate.statistics.disagreement import OutputKind

LEVELS = 31  # values at most of a column that is cut into segments
LEAST = 20  # rows of a segment that is named
NAMED = 3
WATCHED = 24  # columns of features and inputs that are cut into segments
SHOWN = 4  # values of an answer that are shown


@dataclass(frozen=True)
class Segments:
    """`names` are the columns, beside parts of the key and request inputs, that rows are cut by."""

    columns: Columns
    names: tuple[str, ...] = ()

    @classmethod
    def of_reference(cls, columns: Columns, reference: pl.DataFrame) -> Segments:
        """By the columns of few values of a judged reference, texts first."""
        inputs = {*columns.contract.vector, *(tensor.name for tensor in columns.contract.asked)}
        few = [name for name in reference.columns if name in inputs and 2 <= reference[name].n_unique() <= LEVELS]
        return cls(columns, tuple(sorted(few, key=lambda name: reference[name].dtype.is_numeric())[:WATCHED]))

    def of(self, ours: InferenceRecord, theirs: InferenceRecord, rows: np.ndarray) -> dict[str, list[object]]:
        """The value of each segment's column for `rows` of a pair."""
        made: dict[str, list[object]] = {}
        key = self.columns.contract.key
        if ours.entities and key:
            try:
                parts = [parts_of(ours.entities[row], key) for row in rows]
            except InvalidInput:
                parts = []
            if parts:
                made |= {of.name: [part[i] for part in parts] for i, of in enumerate(key)}
        found = self.columns.of_record(ours) if self.names else {}
        chosen = {name: found[name] for name in self.names if name in found}
        chosen |= {name: values for name, values in ours.request.items() if len(values) == len(ours.entities) or len(found)}
        made |= {
            name: values[rows].tolist() for name, values in chosen.items() if values.ndim == 1 and len(values) > rows.max()
        }
        for name, values in theirs.outputs.items():
            flat = values.reshape(len(values), -1)
            if flat.shape[1] == 1 and flat.dtype.kind != "f":
                made[f"live {name}"] = flat[rows, 0].tolist()
        return made


@dataclass
class OutputRows:
    """Rows of one output: what its kind keeps of each, the key, the values of its segments, and the worst of them."""

    kind: OutputKind
    keys: list[str] = field(default_factory=list)
    segments: dict[str, list[object]] = field(default_factory=dict)
    _rows: list[np.ndarray] = field(default_factory=list)
    _worst: list[tuple[float, int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def rows(self) -> np.ndarray:
        if len(self._rows) > 1:
            self._rows = [np.concatenate(self._rows)]
        return self._rows[0]

    @property
    def disagreement(self) -> float:
        return self.kind.total(self.rows)

    def add(
        self,
        rows: np.ndarray,
        keys: Sequence[str],
        segments: Mapping[str, list[object]],
        answers: tuple[np.ndarray, np.ndarray] | None,
    ) -> None:
        """`rows` as the kind makes them; `answers` of both releases where rows are to be named."""
        before = len(self.keys)
        self._rows.append(rows)
        self.keys += keys
        for name in {*self.segments, *segments}:
            column = self.segments.setdefault(name, [None] * before)
            column += segments.get(name, [None] * len(keys))
        if answers is None:
            return
        sizes = np.abs(rows[:, 0] - rows[:, -1]) if self.kind.name == "score" else rows[:, 0]
        for place in np.argsort(-sizes, kind="stable")[:NAMED].tolist():
            if sizes[place] > 0:
                said_ = f"{_shown(answers[0][place])} for {_shown(answers[1][place])}"
                entry = (float(sizes[place]), -(before + place), said_)
                (heapq.heappush if len(self._worst) < NAMED else heapq.heappushpop)(self._worst, entry)

    def worst_segment(self) -> str:
        """The segments where the output disagrees most, as a note."""
        rows, whole, found = self.rows, self.disagreement, []
        for name in sorted(self.segments):
            values = np.array([str(value) for value in self.segments[name]])
            levels, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
            if not 2 <= len(levels) <= LEVELS:
                continue
            for code in np.flatnonzero(counts >= LEAST):
                size = self.kind.total(rows[codes == code])
                if np.isfinite(size) and size > whole:
                    found.append((size, name, printable(_plain(levels[code]), 30)))
        most = sorted(found, key=lambda each: (-each[0], each[1], each[2]))[:NAMED]
        return f", worst at {', '.join(f'{name}={level} ({size:.3g})' for size, name, level in most)}" if most else ""

    def worst_rows(self, columns: Columns) -> str:
        """The rows that differ most, as a note: what the candidate answered for what the live release did."""
        notes = []
        for _, place, answers in sorted(self._worst, reverse=True):
            row = -place
            about = [_key(self.keys[row], columns)] if self.keys[row] else []
            parts = [name for name in self.segments if name not in columns.contract.key_names and not name.startswith("live ")]
            about += [f"{name}={printable(_plain(str(self.segments[name][row])), 20)}" for name in parts[:SHOWN]]
            notes.append(f"{' '.join(about) or f'row {row}'}: {answers}")
        return f"; rows that differ most: {'; '.join(notes)}" if notes else ""


def _key(entity: str, columns: Columns) -> str:
    try:
        return printable(said(entity, columns.contract.key), 60)
    except InvalidInput:
        return printable(entity, 60)


def _plain(text: str) -> str:
    return text.removesuffix(".0")


def _shown(values: np.ndarray) -> str:
    flat = np.asarray(values).ravel()[:SHOWN].tolist()
    said_ = ", ".join(f"{value:.4g}" if isinstance(value, float) else printable(str(value), 30) for value in flat)
    more = ", ..." if np.asarray(values).size > SHOWN else ""
    return said_ if len(flat) == 1 and not more else f"[{said_}{more}]"
