"""What a request brings beside its entities: inputs of the on-demand transformation, and tensors that the model asks for.

A value is one for all rows, or one a row: a number, text or boolean for what is [-1] or [-1, 1], and an array of whole shape
for any other tensor. Types are exact: nothing is rounded, cut or read from text. Floats are finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.datatypes import BYTES, DTYPES, TEXT
from tidegate.domain.errors import InvalidInput
from tidegate.serving.runtime.shown import shown

Arrays = dict[str, np.ndarray]


def read_inputs(contract: FeatureContract, request: Mapping[str, Any], n: int | None) -> tuple[Arrays, Arrays]:
    """Inputs [n] of the on-demand transformation, and the tensors that were asked for, by name. Without `n`, which is the
    number of entities, the arrays say how many rows there are. Raises InvalidInput naming the input and what is required."""
    asked = {tensor.name: tensor for tensor in contract.asked}
    names = [*contract.request, *(name for name in asked if name not in contract.request)]
    unknown = sorted(set(request) - set(names))
    if unknown:
        raise InvalidInput(f"unknown request input {shown(unknown[0])}, allowed: {', '.join(names) or 'none'}")
    for name in names:
        if name not in request:
            raise InvalidInput(f"request input '{name}' is missing")
    found = {name: _as_array(request[name], _datatype(contract, asked, name)) for name in names}
    rows = n if n is not None else next((len(found[name]) for name in names if found[name].ndim), 1)
    tensors = {name: _tensor(tensor, found[name], rows) for name, tensor in asked.items()}
    inputs = {name: _input(contract, name, found[name], rows) for name in contract.request}
    return inputs, tensors


def _datatype(contract: FeatureContract, asked: Mapping[str, InputTensor], name: str) -> str:
    return asked[name].datatype if name in asked else contract.request_types.get(name, "")


def _input(contract: FeatureContract, name: str, array: np.ndarray, n: int) -> np.ndarray:
    datatype = contract.request_types.get(name, "")
    what = f"{datatype} values" if datatype in (BYTES, "BOOL") else "finite numbers"
    if array.dtype.kind not in {BYTES: "O", "BOOL": "b"}.get(datatype, "iuf") or not _is_finite(array):
        raise InvalidInput(f"request input '{name}' must be {what}, one or one a row")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim > 1:
        raise InvalidInput(f"request input '{name}' must be {what}, one or one a row")
    if array.ndim == 1 and len(array) != n:
        raise InvalidInput(f"request input '{name}' has {len(array)} values, required 1 or {n}")
    _check_range(name, array, datatype)
    return np.broadcast_to(array, (n,)) if array.ndim == 0 else array


def _tensor(tensor: InputTensor, array: np.ndarray, n: int) -> np.ndarray:
    dtype = TEXT if tensor.datatype == BYTES else DTYPES[tensor.datatype]
    wanted = "iuf" if dtype.kind == "f" else "iu" if dtype.kind in "iu" else dtype.kind
    if array.dtype.kind not in wanted or not _is_finite(array):
        said = "finite numbers" if dtype.kind == "f" else f"{tensor.datatype} values"
        raise InvalidInput(f"request input '{tensor.name}' must be {said} of shape {[n, *tensor.shape[1:]]}")
    _check_range(tensor.name, array, tensor.datatype)
    single = all(size in (-1, 1) for size in tensor.shape[1:])
    if array.ndim == 0 and single:
        array = np.broadcast_to(array, (n, *(1 for _ in tensor.shape[1:])))
    elif array.ndim == 1 and tensor.shape == (-1, 1):
        array = array[:, None]
    shape = array.shape
    fits = len(shape) == len(tensor.shape) and all(a in (-1, b) for a, b in zip(tensor.shape[1:], shape[1:], strict=True))
    if not fits or shape[0] != n or not array.size:
        raise InvalidInput(f"request input '{tensor.name}' has shape {list(shape)}, required {[n, *tensor.shape[1:]]}")
    return np.ascontiguousarray(array, dtype=dtype)


def _is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def _check_range(name: str, values: np.ndarray, datatype: str) -> None:
    """Raise InvalidInput for numbers that the datatype cannot hold exactly; without one any number will do."""
    dtype = DTYPES.get(datatype)
    if dtype is None or not values.size:
        return
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if values.dtype.kind not in "iu" or int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise InvalidInput(f"request input '{name}' must be whole numbers from {limits.min} to {limits.max} ({datatype})")
    elif dtype.kind == "f" and float(np.abs(values.astype(np.float64)).max()) > float(np.finfo(dtype).max):
        raise InvalidInput(f"request input '{name}' must be numbers that {datatype} can hold")


def _as_array(value: Any, datatype: str) -> np.ndarray:
    """The value as an array; one of objects holds texts alone. What is no array, such as lists of unequal lengths, is an array
    of nothing."""
    try:
        array = np.asarray(value)
        if datatype == BYTES or array.dtype.kind == "U":
            array = np.asarray(value, dtype=TEXT)
    except ValueError:
        return np.asarray(np.nan)
    if array.dtype.kind == "O" and not all(isinstance(each, str) for each in array.ravel().tolist()):
        return np.asarray(np.nan)
    return array
