"""Tensor codecs: whatever is encoded comes back, and what does not fit is refused by name."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tidegate.domain.datatypes import DATATYPES, DTYPES
from tidegate.domain.errors import InvalidInput
from tidegate.serving.runtime.endpoint import MalformedRequest
from tidegate.serving.runtime.v2_codec import InferRequest, OutputRequest, decode_request, encode_response

tensors = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: nps.arrays(
        DTYPES[name],
        nps.array_shapes(max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
    )
)


def as_request(array: np.ndarray, binary: bool, flat: bool) -> tuple[bytes, str | None]:
    tensor: dict[str, Any] = {"name": "x", "shape": list(array.shape), "datatype": DATATYPES[array.dtype]}
    if not binary:
        tensor["data"] = array.ravel().tolist() if flat else array.tolist()
        return json.dumps({"inputs": [tensor]}).encode(), None
    tensor["parameters"] = {"binary_data_size": array.nbytes}
    text = json.dumps({"inputs": [tensor]}).encode()
    return text + array.tobytes(), str(len(text))


@given(tensors, st.booleans(), st.booleans())
def test_what_a_client_sends_is_what_the_model_gets(array: np.ndarray, binary: bool, flat: bool) -> None:
    if array.dtype == np.float16:
        binary = True
    body, length = as_request(array, binary, flat)
    _, decoded = decode_request(body, length)
    assert decoded["x"].dtype == array.dtype
    assert np.array_equal(decoded["x"], array)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 2**63], [0, 2**63]), ([1, 2**64 - 1], [1, 2**64 - 1]), ([1, -1], None), ([0, 2**64], None), ([2**63, 0.5], None)],
)
def test_large_unsigned_integers_stay_exact(values: list[Any], expected: list[int] | None) -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "UINT64", "data": values}
    body = json.dumps({"inputs": [tensor]}).encode()
    if expected is None:
        with pytest.raises(MalformedRequest, match="input 'x'"):
            decode_request(body, None)
    else:
        assert decode_request(body, None)[1]["x"].tolist() == expected


@given(tensors, st.booleans())
def test_what_the_model_gives_is_what_a_client_reads(array: np.ndarray, binary: bool) -> None:
    request = InferRequest([], id="7", outputs=[OutputRequest("y", {"binary_data": binary})])
    body, length = encode_response(request, {"y": array}, {"model_name": "m"})
    answer = json.loads(body[:length])
    output = answer["outputs"][0]
    assert (answer["id"], output["datatype"], output["shape"]) == ("7", DATATYPES[array.dtype], list(array.shape))
    if binary:
        assert output["parameters"] == {"binary_data_size": array.nbytes}
        assert body[length:] == array.tobytes()
    else:
        assert "parameters" not in output
        assert np.array_equal(np.array(output["data"], dtype=array.dtype).reshape(array.shape), array)


def texts_in_binary(array: np.ndarray) -> bytes:
    encoded = [text.encode() for text in array.ravel().tolist()]
    return b"".join(len(each).to_bytes(4, "little") + each for each in encoded)


def text_body(content: bytes) -> bytes:
    """A request of two texts in binary form, behind a head that is as long as `head_of` says."""
    tensor = {"name": "x", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(content)}}
    return json.dumps({"inputs": [tensor]}).encode() + content


def head_length(body: bytes) -> str:
    return str(body.rindex(b"]}") + 2)


texts = nps.arrays(
    np.dtype(object), nps.array_shapes(max_dims=3, max_side=4), elements=st.text(st.characters(exclude_categories=["Cs"]))
)


@given(texts, st.booleans())
def test_texts_come_to_the_model_and_back_to_the_client_as_they_are(array: np.ndarray, binary: bool) -> None:
    tensor: dict[str, Any] = {"name": "x", "shape": list(array.shape), "datatype": "BYTES"}
    content = texts_in_binary(array) if binary else b""
    tensor |= {"parameters": {"binary_data_size": len(content)}} if binary else {"data": array.tolist()}
    head = json.dumps({"inputs": [tensor]}).encode()
    _, decoded = decode_request(head + content, str(len(head)) if binary else None)
    assert decoded["x"].dtype == object
    assert decoded["x"].tolist() == array.tolist()
    request = InferRequest([], outputs=[OutputRequest("y", {"binary_data": binary})])
    body, length = encode_response(request, {"y": decoded["x"]}, {})
    output = json.loads(body[:length])["outputs"][0]
    assert (output["datatype"], output["shape"]) == ("BYTES", list(array.shape))
    if binary:
        assert body[length:] == content
        assert output["parameters"] == {"binary_data_size": len(content)}
    else:
        assert output["data"] == array.ravel().tolist()


def infer_body(**changes: Any) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2], **changes}]}).encode()


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"{", None, "not JSON"),
        (b"[]", None, "not an inference request"),
        (b'{"inputs": [{"name": 1}]}', None, "not an inference request"),
        (infer_body(data=[1]), None, "1 elements, shape"),
        (infer_body(data=[[1], [2, 3]]), None, "not a tensor"),
        (infer_body(shape=[2, 2], data=[[1, 2], [3]]), None, "not a tensor"),
        (infer_body(shape=[2, 2], data=[[[1, 2]], [[3, 4]]]), None, "3 lists deep"),
        (infer_body(shape=[1, 2], data=[[1, [2]]]), None, "FP32 values only"),
        (infer_body(shape=[2**63, 0], data=[]), None, "not allowed"),
        (infer_body(shape=[2**31 - 1, 2**31 - 1, 2**31 - 1, 0], data=[]), None, "not allowed"),
        (infer_body(shape=[10**4000]), None, "not"),
        (infer_body(shape=[1] * 9), None, "not allowed"),
        (infer_body(data=["x" * 100_000, *[1] * 40_000]), None, "FP32 values only"),
        (infer_body(datatype="INT64", data=[1, 10**400]), None, "does not fit"),
        (infer_body(datatype="BOOL", data=[True, 1]), None, "BOOL values only"),
        (infer_body(data=["a", "b"]), None, "FP32 values only"),
        (infer_body(data=[None, 1]), None, "FP32 values only"),
        (infer_body(data={"a": 1}), None, "0 lists deep"),
        (infer_body(data=[[1], [2]]), None, "not a tensor"),
        (infer_body(datatype="TEXT"), None, "'TEXT' is not supported"),
        (infer_body(datatype="BYTES"), None, "does not hold BYTES values only"),
        (infer_body(datatype="BYTES", data=["a"]), None, "1 elements, shape .* requires 2"),
        (text_body(b"\x01\0\0\0a\x02\0\0\0bc\0"), "head", "9 values|2 values take 11 bytes"),
        (text_body(b"\x01\0\0\0a\xff\0\0\0b"), "head", "value 1 ends after"),
        (text_body(b"\x01\0\0\0a\x01\0\0"), "head", "requires at least|value 1 ends after|required at least"),
        (text_body(b"\x01\0\0\0\xff\x01\0\0\0b"), "head", "value 0 is not UTF-8"),
        (text_body(b""), "head", "required at least 8"),
        (infer_body(datatype="FP16"), None, "binary"),
        (infer_body(datatype="UINT8", data=[1, 256]), None, "does not fit"),
        (infer_body(datatype="INT32", data=[1.5, 2]), None, "INT32 values only"),
        (infer_body(shape=[-1, 2]), None, "not allowed"),
        (infer_body(shape=[2**62, 2**62]), None, "not allowed"),
        (infer_body(parameters={"binary_data_size": 8}), None, "both data"),
        (b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":8}}]}', None, "requires 4"),
        (infer_body() + b"1234", str(len(infer_body())), "4 bytes follow"),
        (infer_body(), "9999", "Inference-Header-Content-Length"),
        (infer_body(), "-1", "Inference-Header-Content-Length"),
        (b"[" * 100_000, None, "not"),
    ],
)
def test_what_does_not_fit_is_refused(body: bytes, length: str | None, message: str) -> None:
    with pytest.raises(MalformedRequest, match=message):
        decode_request(body, head_length(body) if length == "head" else length)


def test_an_output_is_asked_for_once() -> None:
    request = InferRequest([], outputs=[OutputRequest("y"), OutputRequest("y")])
    with pytest.raises(InvalidInput, match="'y' is asked for twice"):
        encode_response(request, {"y": np.zeros(3, dtype=np.float32)}, {})


@pytest.mark.parametrize("value", ['"a"', '"' + "x" * 500 + '"', "null", "[1]", "{}", "true", "1e999"])
def test_what_is_no_number_among_many_costs_what_the_body_does(value: str) -> None:
    numbers = "1.5," * 100_000
    body = f'{{"inputs": [{{"name": "x", "shape": [100001], "datatype": "FP32", "data": [{numbers}{value}]}}]}}'.encode()
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest):
            decode_request(body, None)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(body)
    finally:
        tracemalloc.stop()


def test_a_message_shows_little_of_what_was_sent() -> None:
    long = "x" * 100_000
    for body in (infer_body(name=long, datatype=long), infer_body(name=long, shape=[3]), infer_body(datatype=long)):
        with pytest.raises(MalformedRequest) as caught:
            decode_request(body, None)
        assert len(str(caught.value)) < 400
