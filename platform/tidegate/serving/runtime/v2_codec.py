"""The Open Inference Protocol's REST bodies, JSON and with the binary tensor extension, to arrays and back.

The extension: `Inference-Header-Content-Length` says how many bytes of the body are JSON; the tensors that have
`binary_data_size` instead of `data` follow, in order, row-major and little-endian. BYTES tensors are texts: strings in JSON,
UTF-8 behind a length of four bytes each in binary form. Shared memory is not supported and answered with a clear error.
Outputs carry no `parameters` unless they are binary, since some clients take any others for an error.

Memory and time are bounded by the body's size: values are decoded by their type, so that one string among numbers ends the
request and makes no array of strings, and an output can be asked for once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any

import msgspec
import numpy as np

from tidegate.domain.datatypes import BYTES, DATATYPES, DTYPES, TEXT
from tidegate.domain.errors import InvalidInput
from tidegate.ports.tensor_model import TensorSpec
from tidegate.serving.runtime.endpoint import MalformedRequest
from tidegate.serving.runtime.shown import shown

DIMENSIONS_AT_MOST = 8
SIZE_AT_MOST = 2**31 - 1
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
            raise MalformedRequest(f"input {shown(tensor.name)} is given twice")
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
    described, chunks = [], []
    for output in _wanted(request, outputs):
        values = outputs[output.name]
        tensor: dict[str, Any] = {"name": output.name, "shape": list(values.shape), "datatype": DATATYPES[values.dtype]}
        if output.parameters.get("binary_data", by_default) is True:
            chunk = _to_binary(values)
            tensor["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            tensor["data"] = values.ravel().tolist()
        described.append(tensor)
    body = {**head, **({"id": request.id} if request.id else {}), "outputs": described}
    text = msgspec.json.encode(body)
    return b"".join([text, *chunks]), (len(text) if chunks else None)


def _wanted(request: InferRequest, outputs: Mapping[str, np.ndarray]) -> list[OutputRequest]:
    names: set[str] = set()
    for output in request.outputs:
        if output.name not in outputs:
            raise InvalidInput(f"unknown output {shown(output.name)}, the model has: {', '.join(outputs)}")
        if output.name in names:
            raise InvalidInput(f"output {shown(output.name)} is asked for twice")
        names.add(output.name)
    return request.outputs or [OutputRequest(name) for name in outputs]


def describe(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _header_length(body: bytes, header: str | None) -> int:
    if header is None:
        return len(body)
    if not header.isascii() or not header.isdigit() or len(header) > 12 or int(header) > len(body):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {shown(header)}, required the bytes of JSON in a body of {len(body)} bytes"
        )
    return int(header)


def _decode_tensor(tensor: InputTensor, binary: memoryview) -> tuple[np.ndarray, memoryview]:
    name = shown(tensor.name)
    dtype = TEXT if tensor.datatype == BYTES else DTYPES.get(tensor.datatype)
    if dtype is None:
        raise MalformedRequest(
            f"input {name}: datatype {shown(tensor.datatype)} is not supported, allowed: {', '.join([*DTYPES, BYTES])}"
        )
    if len(tensor.shape) > DIMENSIONS_AT_MOST or any(not 0 <= size <= SIZE_AT_MOST for size in tensor.shape):
        raise MalformedRequest(
            f"input {name}: its shape is not allowed, at most {DIMENSIONS_AT_MOST} sizes of 0 to {SIZE_AT_MOST} are"
        )
    count = prod(tensor.shape)
    binary_size = tensor.parameters.get("binary_data_size")
    if binary_size is None:
        return _shaped(tensor, _from_json(tensor, dtype, count)), binary
    if bytes(tensor.data):
        raise MalformedRequest(f"input {name} has both data and binary_data_size")
    if dtype == TEXT:
        flat, rest = _texts_from_binary(tensor, binary, binary_size, count)
        return _shaped(tensor, flat), rest
    required = count * dtype.itemsize
    if binary_size != required or len(binary) < required:
        raise MalformedRequest(
            f"input {name}: binary_data_size is {shown(binary_size)} and {len(binary)} bytes follow, shape {tensor.shape} of "
            f"{tensor.datatype} requires {required}"
        )
    return _shaped(tensor, np.frombuffer(binary[:required], dtype=dtype)), binary[required:]


def _texts_from_binary(tensor: InputTensor, binary: memoryview, size: Any, count: int) -> tuple[np.ndarray, memoryview]:
    """Each value is its length, four bytes little-endian, and as many bytes of UTF-8."""
    name = shown(tensor.name)
    if isinstance(size, bool) or not isinstance(size, int) or not 4 * count <= size <= len(binary):
        raise MalformedRequest(
            f"input {name}: binary_data_size is {shown(size)} and {len(binary)} bytes follow, required at least {4 * count} "
            f"for the lengths of {count} values"
        )
    flat, place = np.empty(count, dtype=TEXT), 0
    for i in range(count):
        begin = place + 4
        place = begin + int.from_bytes(binary[place:begin], "little")
        if begin > size or place > size:
            raise MalformedRequest(f"input {name}: value {i} ends after the {size} bytes of the tensor")
        try:
            flat[i] = str(binary[begin:place], "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedRequest(f"input {name}: value {i} is not UTF-8, which BYTES of this model have to be") from error
    if place != size:
        raise MalformedRequest(f"input {name}: {count} values take {place} bytes, binary_data_size is {size}")
    return flat, binary[size:]


def _to_binary(values: np.ndarray) -> bytes:
    if values.dtype != TEXT:
        return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    encoded = [str(value).encode() for value in values.ravel().tolist()]
    return b"".join(part for each in encoded for part in (len(each).to_bytes(4, "little"), each))


def _shaped(tensor: InputTensor, flat: np.ndarray) -> np.ndarray:
    try:
        return flat.reshape(tensor.shape)
    except ValueError as error:  # sizes whose product no array can have, beside a size of 0
        raise MalformedRequest(f"input {shown(tensor.name)}: shape {tensor.shape} is not allowed ({error})") from error


@lru_cache(maxsize=64)
def _values(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    """Decodes lists of values of one kind, `depth` lists deep; anything else among them is an error at once."""
    wanted: Any = {"b": bool, "f": float, "O": str}.get(kind, int)
    for _ in range(depth):
        wanted = list[wanted]
    return msgspec.json.Decoder(wanted)


def _from_json(tensor: InputTensor, dtype: np.dtype, count: int) -> np.ndarray:
    """The values, flat. They are given flat, or nested as the shape says."""
    name, data = shown(tensor.name), bytes(tensor.data)
    if not data:
        raise MalformedRequest(f"input {name} has neither data nor binary_data_size")
    if tensor.datatype == "FP16":
        raise MalformedRequest(f"input {name}: FP16 has no JSON representation, send it as a binary tensor")
    head = data[:64].translate(None, b" \t\r\n")
    depth = len(head) - len(head.lstrip(b"["))
    if depth not in (1, len(tensor.shape)):
        raise MalformedRequest(
            f"input {name}: data is {depth} lists deep, required a flat list or one as deep as its shape {tensor.shape}"
        )
    try:
        values = _values(dtype.kind, depth).decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise MalformedRequest(f"input {name}: data does not hold {tensor.datatype} values only ({error})") from error
    for size in tensor.shape[1:depth]:
        if any(len(row) != size for row in values):
            raise MalformedRequest(f"input {name}: data is not a tensor of shape {tensor.shape}")
        values = list(chain.from_iterable(values))
    if len(values) != count:
        raise MalformedRequest(f"input {name}: data has {len(values)} elements, shape {tensor.shape} requires {count}")
    if dtype.kind in "iu" and values:
        limits = np.iinfo(dtype)
        if min(values) < limits.min or max(values) > limits.max:
            raise MalformedRequest(f"input {name}: a value does not fit into {tensor.datatype}")
    with np.errstate(over="ignore"):  # a float that does not fit becomes infinite, which the data plane refuses
        return np.array(values, dtype=dtype)
