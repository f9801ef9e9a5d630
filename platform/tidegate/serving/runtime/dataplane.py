"""The inference itself, free of any transport: entities and request inputs to a prediction, or raw tensors to tensors.

One prediction is one read of the online store, one assembly of tensors and one call of the model; a model without stored
features has no store. Everything runs on the caller's thread; a `Predictor` is used from one thread, because an online reader
may be bound to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.domain.assembly import assembled
from tidegate.domain.contract import FeatureContract
from tidegate.domain.datatypes import FEATURES
from tidegate.domain.errors import InvalidInput, NotFound, TidegateError
from tidegate.domain.keys import JoinKey, Part, entity_of, parts_of, said
from tidegate.ports.tensor_model import TensorSpec
from tidegate.serving.runtime.blame import Arrays, blamed_inputs
from tidegate.serving.runtime.release_loader import LoadedRelease
from tidegate.serving.runtime.request_inputs import read_inputs
from tidegate.serving.runtime.shown import shown
from tidegate.serving.runtime.vectors import feature_columns

if TYPE_CHECKING:  # the port's module imports polars, which a serving process does without
    from tidegate.ports.features import OnlineFeatureReader, OnlineRows

NAMED_AT_MOST = 5
logger = logging.getLogger("tidegate.serving")
NO_TIMES = np.empty(0, dtype=np.int64)
Entity = Part | Mapping[str, Part] | Sequence[Part]  # as a client says it: a value, parts by name, or parts in the key's order


class UnknownEntity(NotFound):
    """Entities that the online store does not hold; the message names some of them, `entities` has all."""

    def __init__(self, message: str, entities: Collection[str]) -> None:
        super().__init__(message)
        self.entities = frozenset(entities)


class ModelFault(TidegateError):
    """The model answered with something that must not be served: NaN or infinity. A fault of the release."""


@dataclass(frozen=True)
class Prediction:
    """What was computed and from what, n rows.

    `tensors` are the model's inputs as it got them, `outputs` its outputs, by name; `event_times` int64 [n] in microseconds
    since the epoch, `inputs` an array [n] for each input of the on-demand transformation. A model without stored features has
    no entities and event times, and a prediction from raw tensors no inputs either.
    """

    entities: tuple[str, ...]
    inputs: Mapping[str, np.ndarray]
    event_times: np.ndarray
    outputs: Mapping[str, np.ndarray]
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(next(iter(self.tensors.values()))) if self.tensors else len(self.entities)

    @property
    def features(self) -> np.ndarray:
        """The tensor `features`, float32 [n, F]; [n, 0] of a model that has none such."""
        return features_of(self.tensors, self.rows)


def features_of(tensors: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """The tensor `features` where it is float32 [n, F]; else [n, 0]."""
    found = tensors.get(FEATURES)
    if found is not None and found.ndim == 2 and found.dtype == np.float32:
        return found
    return np.empty((rows, 0), dtype=np.float32)


class Predictor:
    """A loaded release and the online store it reads; None for a model without stored features."""

    def __init__(self, release: LoadedRelease, reader: OnlineFeatureReader | None) -> None:
        self.release = release
        self._reader = reader

    def predict(self, entities: Sequence[Entity], request: Mapping[str, Any]) -> Prediction:
        """One row for each of `entities`, which may repeat; `request` has a value for all rows, or one a row, for each input of
        the on-demand transformation and each tensor that is asked for. A model without stored features takes no entities: there
        the arrays say how many rows there are.

        Raises UnknownEntity, InvalidInput (an input missing, unknown, of a wrong type, length or shape, or not finite),
        Unavailable (the online store), ModelFault.
        """
        contract = self.release.contract
        if self._reader is None:
            return self._without_store(entities, request)
        if not entities:
            raise InvalidInput("a prediction needs at least one entity, got none")
        names = _named(entities, contract)
        inputs, tensors = read_inputs(contract, request, len(names))
        distinct = list(dict.fromkeys(names))
        rows = self._reader.read(distinct)
        if not rows.found.all():
            self._refuse_unknown([name for name, found in zip(distinct, rows.found, strict=True) if not found])
        stored, event_times, texts = rows.values, rows.event_times, rows.texts
        if len(distinct) != len(names):
            stored, event_times, texts = _repeated(rows, distinct, names)

        def made(inputs: Arrays, tensors: Arrays) -> dict[str, np.ndarray]:
            columns = feature_columns(contract, stored, event_times, inputs, self.release.on_demand, texts)
            return {**assembled(contract, columns), **tensors}

        return self._predicted(names, inputs, event_times, made, tensors)

    def infer(self, tensors: Mapping[str, np.ndarray]) -> Prediction:
        """Raw tensors through the model; raises InvalidInput when one is missing, unknown, or of a wrong type or shape."""
        specs = {spec.name: spec for spec in self.release.model.inputs}
        unknown = sorted(set(tensors) - set(specs))
        if unknown:
            raise InvalidInput(f"unknown input {shown(unknown[0])}, the model has: {', '.join(specs)}")
        for name, spec in specs.items():
            if name not in tensors:
                raise InvalidInput(f"input '{name}' is missing")
            _check_tensor(spec, tensors[name])
        lengths = {name: len(tensors[name]) for name in specs}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"'{name}' {n}" for name, n in lengths.items())
            raise InvalidInput(f"the inputs have rows {found}, required as many in each")
        return Prediction((), {}, NO_TIMES, self._run_of_client(tensors), tensors)

    @property
    def quick(self) -> bool:
        """Whether the store is read quickly enough for the event loop."""
        return bool(getattr(self._reader, "quick", True))

    def check_ready(self) -> None:
        """Raise Unavailable when the online store cannot be reached."""
        if self._reader is not None:
            self._reader.ping()

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _without_store(self, entities: Sequence[Entity], request: Mapping[str, Any]) -> Prediction:
        if entities:
            raise InvalidInput(f"model '{self.release.manifest.model}' has no stored features: it takes no entities")
        contract = self.release.contract
        inputs, tensors = read_inputs(contract, request, None)

        def made(inputs: Arrays, tensors: Arrays) -> dict[str, np.ndarray]:
            if not contract.vector:
                return dict(tensors)
            n = len(next(iter((inputs or tensors).values())))
            columns = feature_columns(contract, np.empty((n, 0)), np.empty(n, np.int64), inputs, self.release.on_demand)
            return {**assembled(contract, columns), **tensors}

        return self._predicted((), inputs, NO_TIMES, made, tensors)

    def _predicted(
        self,
        names: Sequence[str],
        inputs: Arrays,
        event_times: np.ndarray,
        made: Callable[[Arrays, Arrays], dict[str, np.ndarray]],
        asked: Arrays,
    ) -> Prediction:
        """`made` gives the model's tensors for inputs of the transformation and tensors that were asked for."""
        run = self._run_of_client if self._reader is None else self._run
        try:
            tensors = made(inputs, asked)
            outputs = run(tensors)
        except Exception as error:
            if isinstance(error, TidegateError) and not isinstance(error, ModelFault):
                raise

            def answers(given: Arrays) -> bool:
                try:
                    run(made({name: given[name] for name in inputs}, {name: given[name] for name in asked}))
                except Exception:
                    return False
                return True

            self._refuse_blamed(blamed_inputs({**inputs, **asked}, answers), error)
            raise
        return Prediction(tuple(names), inputs, event_times, outputs, tensors)

    def _refuse_blamed(self, names: Sequence[str], error: Exception) -> None:
        if not names:
            return
        if not isinstance(error, ModelFault):
            logger.warning(
                "release %s: the on-demand transformation failed for a client's values", self.release.id, exc_info=error
            )
        named = ", ".join(f"'{name}'" for name in names)
        raise InvalidInput(
            f"request input {named}: no finite prediction comes of what was given, required values that the model is made for"
        ) from error

    def _run_of_client(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The client chose every value: what comes of them is no fault of the release."""
        try:
            return self._run(tensors)
        except ModelFault as error:
            raise InvalidInput(f"{error}; the values of the input are not what the model is made for") from error

    def _run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self.release.model.run(tensors)
        for name, values in outputs.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelFault(f"release {self.release.id}: the model's output '{name}' has values that are not finite")
        return outputs

    def _refuse_unknown(self, names: list[str]) -> None:
        contract = self.release.contract
        plain = contract.key == (JoinKey(contract.entity),)
        some = ", ".join(shown(name if plain else said(name, contract.key)) for name in names[:NAMED_AT_MOST])
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        raise UnknownEntity(f"unknown {contract.entity} {some}{more}: the online store has no features of it", names)


def _named(entities: Sequence[Entity], contract: FeatureContract) -> Sequence[str]:
    """Entities as the platform names them; those of one String key are their own names."""
    key = contract.key
    if len(key) == 1 and key[0].datatype == "BYTES" and all(type(entity) is str for entity in entities):
        return entities  # type: ignore[return-value]
    return [entity_of(_parts(entity, contract), key) for entity in entities]


def _parts(entity: Entity, contract: FeatureContract) -> Sequence[Part]:
    if isinstance(entity, str):
        return parts_of(entity, contract.key)
    if isinstance(entity, Mapping):
        if set(entity) != set(contract.key_names):
            found = ", ".join(shown(name) for name in list(entity)[:NAMED_AT_MOST]) or "nothing"
            raise InvalidInput(f"an entity has {found}, required {', '.join(contract.key_names)}")
        return [entity[name] for name in contract.key_names]
    return [entity] if isinstance(entity, int | bool) else entity


def _repeated(rows: OnlineRows, distinct: list[str], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, Mapping[str, Any]]:
    position = {name: i for i, name in enumerate(distinct)}
    index = np.fromiter((position[name] for name in names), dtype=np.intp, count=len(names))
    texts = {name: column[index] for name, column in rows.texts.items()}
    return rows.values[index], rows.event_times[index], texts


def _check_tensor(spec: TensorSpec, tensor: np.ndarray) -> None:
    if not spec.accepts(tensor.shape):
        raise InvalidInput(f"input '{spec.name}' has shape {list(tensor.shape)}, required {list(spec.shape)}")
    if tensor.size == 0:
        raise InvalidInput(f"input '{spec.name}' is empty")
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise InvalidInput(f"input '{spec.name}' holds NaN or infinity; only finite numbers are allowed")
