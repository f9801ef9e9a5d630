"""The Open Inference Protocol's REST bodies, JSON and with the binary tensor extension, to arrays and back.

The extension: `Inference-Header-Content-Length` says how many bytes of the body are JSON; the tensors that have
`binary_data_size` instead of `data` follow, in order, row-major and little-endian. BYTES tensors and shared memory are
not supported and answered with a clear error. Outputs carry no `parameters` unless they are binary, since some clients
take any others for an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from tidegate.domain.errors import InvalidInput
from tidegate.serving.runtime.endpoint import MalformedRequest
from tidegate.serving.runtime.tensors import DATATYPES, DTYPES, TensorSpec

Parameters = dict[str, str | int | float | bool]


class InputTensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = msgspec.field(default_factory=dict)
    data: msgspec.Raw = msgspec.Raw(b"")


class OutputRequest(msgspec.Struct):
    name: str
    parameters: Parameters = msgspec.field(default_factory=dict)


class InferRequest(msgspec.Struct):
    inputs: list[InputTensor]
    id: str = ""
    parameters: Parameters = msgspec.field(default_factory=dict)
    outputs: list[OutputRequest] = msgspec.field(default_factory=list)


_decoder = msgspec.json.Decoder(InferRequest)


def decode_request(body: bytes, header_length: str | None) -> tuple[InferRequest, dict[str, np.ndarray]]:
    """The request and its input arrays by name; raises MalformedRequest saying what is wrong with which tensor."""
    size = _header_length(body, header_length)
    try:
        request = _decoder.decode(body[:size])
    except msgspec.ValidationError as error:
        raise MalformedRequest(f"not an inference request: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    binary = memoryview(body)[size:]
    arrays: dict[str, np.ndarray] = {}
    for tensor in request.inputs:
        if tensor.name in arrays:
            raise MalformedRequest(f"input '{tensor.name}' is given twice")
        arrays[tensor.name], binary = _decode_tensor(tensor, binary)
    if len(binary):
        raise MalformedRequest(f"{len(binary)} bytes follow the last binary tensor")
    return request, arrays


def encode_response(
    request: InferRequest,
    outputs: Mapping[str, np.ndarray],
    head: Mapping[str, Any],
) -> tuple[bytes, int | None]:
    """The body, and the length of its JSON part when binary tensors follow (then None is not returned).

    `head` is `model_name` and the like. Raises InvalidInput when the request asks for an unknown output.
    """
    by_default = request.parameters.get("binary_data_output") is True
    wanted = request.outputs or [OutputRequest(name) for name in outputs]
    described, chunks = [], []
    for output in wanted:
        if output.name not in outputs:
            raise InvalidInput(f"unknown output '{output.name}', the model has: {', '.join(outputs)}")
        values = outputs[output.name]
        tensor: dict[str, Any] = {"name": output.name, "shape": list(values.shape), "datatype": DATATYPES[values.dtype]}
        if output.parameters.get("binary_data", by_default) is True:
            chunk = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
            tensor["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            tensor["data"] = values.ravel().tolist()
        described.append(tensor)
    body = {**head, **({"id": request.id} if request.id else {}), "outputs": described}
    text = msgspec.json.encode(body)
    return b"".join([text, *chunks]), (len(text) if chunks else None)


def describe(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _header_length(body: bytes, header: str | None) -> int:
    if header is None:
        return len(body)
    if not header.isascii() or not header.isdigit() or len(header) > 12 or int(header) > len(body):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is '{header[:20]}', required the bytes of JSON in a body of {len(body)} bytes"
        )
    return int(header)


def _decode_tensor(tensor: InputTensor, binary: memoryview) -> tuple[np.ndarray, memoryview]:
    dtype = DTYPES.get(tensor.datatype)
    if dtype is None:
        raise MalformedRequest(
            f"input '{tensor.name}': datatype '{tensor.datatype}' is not supported, allowed: {', '.join(DTYPES)}"
        )
    if any(size < 0 for size in tensor.shape) or len(tensor.shape) > 8:
        raise MalformedRequest(f"input '{tensor.name}': shape {tensor.shape[:9]} is not allowed")
    count = 1
    for size in tensor.shape:
        count *= size
    binary_size = tensor.parameters.get("binary_data_size")
    if binary_size is None:
        return _from_json(tensor, dtype, count), binary
    if bytes(tensor.data):
        raise MalformedRequest(f"input '{tensor.name}' has both data and binary_data_size")
    required = count * dtype.itemsize
    if binary_size != required or len(binary) < required:
        raise MalformedRequest(
            f"input '{tensor.name}': binary_data_size is {binary_size} and {len(binary)} bytes follow, shape {tensor.shape} of "
            f"{tensor.datatype} requires {required}"
        )
    array = np.frombuffer(binary[:required], dtype=dtype).reshape(tensor.shape)
    return array, binary[required:]


def _array(values: list[Any], dtype: np.dtype) -> np.ndarray:
    """NumPy's own type for the values; beside integers of 2^63 and more, small ones would make all of them floats."""
    array = np.asarray(values)
    if dtype == np.uint64 and array.dtype.kind == "f":
        exact = np.asarray(values, dtype=object)
        if all(type(value) is int and 0 <= value < 2**64 for value in exact.flat):
            return exact.astype(np.uint64)
    return array


def _from_json(tensor: InputTensor, dtype: np.dtype, count: int) -> np.ndarray:
    if not bytes(tensor.data):
        raise MalformedRequest(f"input '{tensor.name}' has neither data nor binary_data_size")
    if tensor.datatype == "FP16":
        raise MalformedRequest(f"input '{tensor.name}': FP16 has no JSON representation, send it as a binary tensor")
    try:
        values = msgspec.json.decode(tensor.data)
        array = _array(values, dtype) if isinstance(values, list) and values else np.empty(0, dtype=dtype)
    except (ValueError, RecursionError, OverflowError) as error:  # msgspec's errors are ValueErrors, as is a ragged list
        raise MalformedRequest(f"input '{tensor.name}': data is not a tensor of numbers ({error})") from error
    kinds = "b" if dtype.kind == "b" else "iuf" if dtype.kind == "f" else "iu"
    if array.size and array.dtype.kind not in kinds:
        raise MalformedRequest(f"input '{tensor.name}': data does not hold {tensor.datatype} values only")
    if array.size != count or (array.ndim > 1 and list(array.shape) != tensor.shape):
        raise MalformedRequest(f"input '{tensor.name}': data has {array.size} elements, shape {tensor.shape} requires {count}")
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise MalformedRequest(f"input '{tensor.name}': a value does not fit into {tensor.datatype}")
    with np.errstate(over="ignore"):  # a float that does not fit becomes infinite, which the data plane refuses
        return array.astype(dtype).reshape(tensor.shape)
