"""Predictions of many rows by the code that serves, a batch at a time.

A row that is refused (an entity that the store does not hold, an input that is missing or of the wrong type) is that row's
matter: it gets the sentence a client would get, the rest of its batch is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate.domain.datatypes import dtype_of
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.keys import TEXT, entity_of
from tidegate.ports.row_files import Column
from tidegate.ports.tensor_model import TensorSpec
from tidegate.serving.runtime.dataplane import ModelFault, Prediction, Predictor, UnknownEntity

EVENT_TIME = "event_timestamp"


@dataclass(frozen=True)
class Predicted:
    """`made` are the model's outputs [n, ...] by name, and the event time of the features [n] where features are stored; rows
    with an error have anything there."""

    made: Mapping[str, np.ndarray]
    errors: tuple[str | None, ...]


class BatchPredictor:
    """Rows of named columns to predictions, by a loaded release."""

    def __init__(self, predictor: Predictor) -> None:
        contract = predictor.release.contract
        self._predictor, self._contract = predictor, contract
        self.key = contract.key if contract.stored else ()
        asked = {tensor.name: tensor.datatype for tensor in contract.asked}
        self.inputs = {**{name: contract.request_types.get(name, "") for name in contract.request}, **asked}

    @property
    def types(self) -> dict[str, str]:
        """The columns that are read, with their datatypes, '' for any number."""
        return {**{part.name: part.datatype for part in self.key}, **self.inputs}

    @property
    def made(self) -> tuple[str, ...]:
        """The columns that are made."""
        outputs = tuple(spec.name for spec in self._predictor.release.model.outputs)
        return (*outputs, EVENT_TIME) if self.key else outputs

    def predict(self, columns: Mapping[str, Column], rows: int) -> Predicted:
        """`columns` have those of `types`. Raises Unavailable, IntegrityError: nobody's row is at fault for these."""
        errors: list[str | None] = [self._missing(columns, row) for row in range(rows)]
        usable = np.flatnonzero([error is None for error in errors])
        parts = self._parts(columns, usable, errors)
        made = {spec.name: _joined(spec, rows, parts) for spec in self._predictor.release.model.outputs}
        if self.key:
            times = np.zeros(rows, dtype="datetime64[us]")
            for chosen, prediction in parts:
                times[chosen] = prediction.event_times.astype("datetime64[us]")
            made[EVENT_TIME] = times
        return Predicted(made, tuple(errors))

    def _parts(
        self, columns: Mapping[str, Column], rows: np.ndarray, errors: list[str | None]
    ) -> list[tuple[np.ndarray, Prediction]]:
        """Predictions of the rows that have one: a part with refused rows is divided until each of these stands alone."""
        if not len(rows):
            return []
        try:
            return [(rows, self._predicted(columns, rows))]
        except (InvalidInput, NotFound, ModelFault) as error:
            if len(rows) == 1:
                errors[rows[0]] = str(error)
                return []
            divided = self._divided(columns, rows, error)
        return [part for some in divided for part in self._parts(columns, some, errors)]

    def _divided(self, columns: Mapping[str, Column], rows: np.ndarray, error: Exception) -> list[np.ndarray]:
        """Unknown entities are known by name, so each of their rows comes alone; what else is refused is found by halves."""
        if not isinstance(error, UnknownEntity):
            return np.array_split(rows, 2)
        unknown = np.array([entity_of(parts, self.key) in error.entities for parts in self._keys(columns, rows)])
        return [rows[~unknown], *rows[unknown, None]]

    def _keys(self, columns: Mapping[str, Column], rows: np.ndarray) -> list[tuple[Any, ...]]:
        """The parts of each row's key."""
        return list(zip(*(_plain(columns[part.name], rows) for part in self.key), strict=True))

    def _predicted(self, columns: Mapping[str, Column], rows: np.ndarray) -> Prediction:
        entities = self._keys(columns, rows) if self.key else []
        named: list[Any] = [each[0] for each in entities] if len(self.key) == 1 else entities
        return self._predictor.predict(named, {name: self._input(name, columns[name], rows) for name in self.inputs})

    def _input(self, name: str, column: Column, rows: np.ndarray) -> Any:
        """The rows of one input. An array of another shape with as many values a row is the tensor's, row by row (images are
        often kept flat); whole numbers and booleans are read as what they are, never rounded."""
        values = column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]
        tensor = next((each for each in self._contract.asked if each.name == name), None)
        if tensor is None or not isinstance(values, np.ndarray) or -1 in tensor.shape[1:]:
            return values
        shape = (len(rows), *tensor.shape[1:])
        return values.reshape(shape) if values.size == int(np.prod(shape)) else values

    def _missing(self, columns: Mapping[str, Column], row: int) -> str | None:
        for name in self.types:
            column = columns[name]
            if not isinstance(column, np.ndarray) and column[row] is None:
                return f"column '{name}' has no value"
        return None


def _plain(column: Column, rows: np.ndarray) -> list[Any]:
    """Values of a join key as Python has them."""
    return column[rows].tolist() if isinstance(column, np.ndarray) else [column[row] for row in rows]


def _joined(spec: TensorSpec, rows: int, parts: Sequence[tuple[np.ndarray, Prediction]]) -> np.ndarray:
    """One output of all rows. Raises InvalidInput where an axis of any size has another size in another part."""
    shapes = {prediction.outputs[spec.name].shape[1:] for _, prediction in parts}
    if len(shapes) > 1:
        raise InvalidInput(f"output '{spec.name}' has rows of shapes {sorted(shapes)}, required one shape: split the input")
    shape = next(iter(shapes), tuple(max(size, 0) for size in spec.shape[1:]))
    found = np.full((rows, *shape), "" if spec.datatype == TEXT else 0, dtype=dtype_of(spec.datatype))
    for chosen, prediction in parts:
        found[chosen] = prediction.outputs[spec.name]
    return found
