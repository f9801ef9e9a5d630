"""What a record of the inference log says: the JSON object of one request.

A record has every tensor that the model got, so that its prediction can be computed again; but one larger than TENSOR_BYTES is
there by its shape and the digest of its bytes alone. A record that lacks tensors has columns in their place: those of the
release's profile function, or mean and spread of each row.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tidegate.domain.datatypes import TEXT
from tidegate.serving.runtime.dataplane import Prediction
from tidegate.serving.runtime.release_loader import Profile

TENSOR_BYTES = 1024 * 1024
logger = logging.getLogger("tidegate.inference_log")


@dataclass(frozen=True)
class Served:
    """One answered request, as it goes into the log. `at` is seconds since the epoch when it was answered, `client_id` what
    the client called it, `route` the name of the route that answered."""

    id: str
    at: float
    shadow: bool
    status: int
    latency_ms: float
    prediction: Prediction | None = None
    error: str = ""
    client_id: str = ""
    route: str = ""

    @property
    def nbytes(self) -> int:
        if self.prediction is None:
            return len(self.error)
        arrays = (*self.prediction.tensors.values(), *self.prediction.outputs.values())
        return sum(_text_bytes(a) if a.dtype == TEXT else a.nbytes for a in arrays)


def encode_array(array: np.ndarray) -> str:
    """Base64 of the array's little-endian bytes in row-major order."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def described(array: np.ndarray) -> dict[str, Any]:
    """A tensor with its values: base64, or a flat list of texts."""
    if array.dtype == TEXT:
        return {"dtype": "str", "shape": array.shape, "data": array.ravel().tolist()}
    return {"dtype": array.dtype.name, "shape": array.shape, "data": encode_array(array)}


def digested(array: np.ndarray) -> dict[str, Any]:
    """A tensor without its values, by the digest of their bytes: SHA-256, of texts that of their JSON list."""
    content = msgspec.json.encode(array.ravel().tolist()) if array.dtype == TEXT else np.ascontiguousarray(array).tobytes()
    name = "str" if array.dtype == TEXT else array.dtype.name
    return {"dtype": name, "shape": array.shape, "digest": hashlib.sha256(content).hexdigest()}


def _text_bytes(array: np.ndarray) -> int:
    return sum(8 + len(text) for text in array.ravel().tolist())


def _inputs(prediction: Prediction, limit: int) -> dict[str, Any]:
    """The model's inputs but for `features`, which has a field of its own."""
    features = prediction.features
    others = {name: array for name, array in prediction.tensors.items() if array is not features}
    sizes = {name: _text_bytes(array) if array.dtype == TEXT else array.nbytes for name, array in others.items()}
    return {name: described(array) if sizes[name] <= limit else digested(array) for name, array in others.items()}


def profiled(tensors: Mapping[str, np.ndarray], lacking: Collection[str], function: Profile | None) -> dict[str, list[Any]]:
    """Columns, a value a row, that stand for the tensors that a record lacks."""
    if function is not None:
        return {str(name): np.asarray(values).tolist() for name, values in function(tensors).items()}
    columns: dict[str, list[Any]] = {}
    for name in lacking:
        if tensors[name].dtype != TEXT:
            rows = tensors[name].reshape(len(tensors[name]), -1).astype(np.float64)
            columns |= {f"{name}.mean": rows.mean(axis=1).tolist(), f"{name}.spread": rows.std(axis=1).tolist()}
    return columns


def record_of(
    served: Served,
    identity: Mapping[str, Any],
    tensor_bytes: int = TENSOR_BYTES,
    profile: Profile | None = None,
) -> dict[str, Any]:
    """The JSON object of one request; `features`, `tensors` and `outputs` are absent when there was no prediction, and
    `tensors` when the model has no input but `features`."""
    record: dict[str, Any] = {"id": served.id, "at": round(served.at, 6), **identity, "shadow": served.shadow}
    record |= {"client_id": served.client_id, "route": served.route}
    record |= {"status": served.status, "latency_ms": round(served.latency_ms, 3)}
    prediction = served.prediction
    if prediction is None:
        return record | {"rows": 0, "error": served.error}
    record |= {
        "entities": prediction.entities,
        "inputs": {name: values.tolist() for name, values in prediction.inputs.items()},
        "event_times": prediction.event_times.tolist(),
        "rows": prediction.rows,
        "features": encode_array(prediction.features),
        "outputs": {name: described(values) for name, values in prediction.outputs.items()},
    }
    others = _inputs(prediction, tensor_bytes)
    if others:
        record["tensors"] = others
    if lacking := [name for name, tensor in others.items() if "digest" in tensor]:
        record["profile"] = _columns(prediction, lacking, profile)
    return record


def _columns(prediction: Prediction, lacking: Collection[str], profile: Profile | None) -> dict[str, list[Any]]:
    try:
        return profiled(prediction.tensors, lacking, profile)
    except Exception as error:  # a client's tensors may be of any kind, and the function is the release's
        logger.warning("inference log: profile of a request of %d rows: %s: %s", prediction.rows, type(error).__name__, error)
        return {}
