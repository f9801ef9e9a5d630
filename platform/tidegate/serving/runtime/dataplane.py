"""The inference itself, free of any transport: entities and request inputs to a prediction, or raw tensors to tensors.

One prediction is one read of the online store, one assembly of vectors and one call of the model. Everything runs on the
caller's thread; a `Predictor` is used from one thread, because an online reader may be bound to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.domain.errors import InvalidInput, NotFound, TidegateError
from tidegate.ports.tensor_model import TensorSpec
from tidegate.serving.runtime.release_loader import LoadedRelease
from tidegate.serving.runtime.shown import shown
from tidegate.serving.runtime.tensors import DTYPES, FEATURES
from tidegate.serving.runtime.vectors import assemble

if TYPE_CHECKING:  # the port's module imports polars, which a serving process does without
    from tidegate.ports.features import OnlineFeatureReader

NAMED_AT_MOST = 5
EXTREME = 2.0**53  # beyond it not even the next whole number can be told apart


class UnknownEntity(NotFound):
    """Entities that the online store does not hold; the message names them."""


class ModelFault(TidegateError):
    """The model answered with something that must not be served: NaN or infinity. A fault of the release."""


@dataclass(frozen=True)
class Prediction:
    """What was computed and from what, n rows.

    `features` is float32 [n, F] as the model saw it, `event_times` int64 [n] in microseconds since the epoch, `inputs`
    an array [n] for each request input, `outputs` the model's tensors by name. A prediction from raw tensors has no
    entities, inputs and event times.
    """

    entities: tuple[str, ...]
    inputs: Mapping[str, np.ndarray]
    event_times: np.ndarray
    features: np.ndarray
    outputs: Mapping[str, np.ndarray]


class Predictor:
    """A loaded release and the online store it reads."""

    def __init__(self, release: LoadedRelease, reader: OnlineFeatureReader) -> None:
        self.release = release
        self._reader = reader

    def predict(self, entities: Sequence[str], request: Mapping[str, Any]) -> Prediction:
        """One row for each of `entities`, which may repeat; `request` has a number or an array [n] for each input.

        Raises UnknownEntity, InvalidInput (an input missing, unknown, of a wrong length or not finite), Unavailable
        (the online store), ModelFault.
        """
        if not entities:
            raise InvalidInput("a prediction needs at least one entity, got none")
        inputs = self._inputs(len(entities), request)
        distinct = list(dict.fromkeys(entities))
        rows = self._reader.read(distinct)
        if not rows.found.all():
            self._refuse_unknown([name for name, found in zip(distinct, rows.found, strict=True) if not found])
        stored, event_times = rows.values, rows.event_times
        if len(distinct) != len(entities):
            position = {name: i for i, name in enumerate(distinct)}
            index = np.fromiter((position[name] for name in entities), dtype=np.intp, count=len(entities))
            stored, event_times = stored[index], event_times[index]
        features = assemble(self.release.contract, stored, event_times, inputs, self.release.on_demand)
        try:
            outputs = self._run({FEATURES: features})
        except ModelFault:
            self._refuse_extreme(inputs)
            raise
        return Prediction(tuple(entities), inputs, event_times, features, outputs)

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
        try:
            outputs = self._run(tensors)
        except ModelFault as error:  # the client chose every number: what comes of them is no fault of the release
            raise InvalidInput(f"{error}; the numbers of the input are not what the model is made for") from error
        return Prediction((), {}, np.empty(0, dtype=np.int64), tensors[FEATURES], outputs)

    @property
    def quick(self) -> bool:
        """Whether the store is read quickly enough for the event loop."""
        return bool(getattr(self._reader, "quick", True))

    def check_ready(self) -> None:
        """Raise Unavailable when the online store cannot be reached."""
        self._reader.ping()

    def close(self) -> None:
        self._reader.close()

    def _inputs(self, n: int, request: Mapping[str, Any]) -> dict[str, np.ndarray]:
        wanted = self.release.contract.request
        unknown = sorted(set(request) - set(wanted))
        if unknown:
            raise InvalidInput(f"unknown request input {shown(unknown[0])}, allowed: {', '.join(wanted) or 'none'}")
        inputs = {}
        for name in wanted:
            if name not in request:
                raise InvalidInput(f"request input '{name}' is missing")
            array = _as_array(request[name])
            if array.dtype.kind not in "iuf" or array.ndim > 1 or not np.isfinite(array).all():
                raise InvalidInput(f"request input '{name}' must be finite numbers, one or one a row")
            if array.ndim == 1 and len(array) != n:
                raise InvalidInput(f"request input '{name}' has {len(array)} values, required 1 or {n}")
            _check_type(name, array, self.release.contract.request_types.get(name, ""))
            inputs[name] = np.broadcast_to(array, (n,)) if array.ndim == 0 else array
        return inputs

    def _run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self.release.model.run(tensors)
        for name, values in outputs.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelFault(f"release {self.release.id}: the model's output '{name}' has values that are not finite")
        return outputs

    def _refuse_extreme(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raise InvalidInput when a request's input is so large that no model could answer."""
        for name, values in inputs.items():
            if np.abs(values.astype(np.float64)).max() > EXTREME:
                raise InvalidInput(f"request input '{name}' is too large: no finite prediction comes of it")

    def _refuse_unknown(self, names: list[str]) -> None:
        some = ", ".join(shown(name) for name in names[:NAMED_AT_MOST])
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        raise UnknownEntity(f"unknown {self.release.contract.entity} {some}{more}: the online store has no features of it")


def _check_type(name: str, values: np.ndarray, datatype: str) -> None:
    """Raise InvalidInput for values that the contract's datatype cannot hold exactly; without one any number will do."""
    dtype = DTYPES.get(datatype)
    if dtype is None or not values.size:
        return
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if values.dtype.kind not in "iu" or int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise InvalidInput(f"request input '{name}' must be whole numbers from {limits.min} to {limits.max} ({datatype})")
    elif dtype.kind == "f" and float(np.abs(values.astype(np.float64)).max()) > float(np.finfo(dtype).max):
        raise InvalidInput(f"request input '{name}' must be numbers that {datatype} can hold")


def _check_tensor(spec: TensorSpec, tensor: np.ndarray) -> None:
    if not spec.accepts(tensor.shape):
        raise InvalidInput(f"input '{spec.name}' has shape {list(tensor.shape)}, required {list(spec.shape)}")
    if tensor.size == 0:
        raise InvalidInput(f"input '{spec.name}' is empty")
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise InvalidInput(f"input '{spec.name}' holds NaN or infinity; only finite numbers are allowed")


def _as_array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # lists of unequal lengths
        return np.asarray(None)
