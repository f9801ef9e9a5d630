"""Models of many kinds, sent what nobody means: no answer is a fault of the release, each is recorded, the document holds."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from onnx import TensorProto
from openapi_spec_validator import validate

from tensor_models import CASES, Case, node, onnx_of, texts
from tensor_slot import INFER, Slot, described

ODD: list[Any] = [
    *(0, -1, 1.9, 1e30, 3e38, -3e38, 2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, float("nan"), float("inf")),
    *(True, None, "1", "", "nan", "\x00", "é", "\ud800", "x" * 70_000, [], {}, [[1]], {"a": 1}, [[[[[[[[[1]]]]]]]]]),
]
REQUESTS = 60
PARTIAL = {  # models that have no answer to some values of the type that they take
    "a logarithm": Case(
        onnx_of([node("Log", ["x"], ["y"])], {"x": ("FP32", [None, 1])}, {"y": ("FP32", [None, 1])}),
        {"inputs": {"x": [1.0]}},
        {"x": np.array([[1.0]], dtype=np.float32)},
        {"y": [[0.0]]},
    ),
    "a table by position": Case(
        onnx_of(
            [node("Gather", ["table", "i"], ["y"])],
            {"i": ("INT64", [None])},
            {"y": ("FP32", [None])},
            {"table": np.array([1, 2, 3], dtype=np.float32)},
        ),
        {"inputs": {"i": [1]}},
        {"i": np.array([1])},
        {"y": [2.0]},
    ),
    "a number out of a text": Case(
        onnx_of(
            [node("Cast", ["t"], ["y"], to=TensorProto.FLOAT)],
            {"t": ("BYTES", [None, 1])},
            {"y": ("FP32", [None, 1])},
        ),
        {"inputs": {"t": ["1"]}},
        {"t": texts("1")},
        {"y": [[1.0]]},
    ),
}
KINDS = {**CASES, **PARTIAL}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something lies in a document, the first four elements of each list alone."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*at, key)
        yield from places(each, (*at, key))


def spoiled(value: Any, rng: random.Random) -> Any:
    """The document with something left out, renamed, repeated or replaced, in one place or two."""
    made = copy.deepcopy(value)
    for _ in range(rng.randint(1, 2)):
        *way, last = rng.choice(list(places(made)) or [("x",)])
        inside = made
        for key in way:
            inside = inside[key]
        change = rng.random()
        if change < 0.1:
            inside.pop(last, None) if isinstance(inside, dict) else inside.pop(last)
        elif change < 0.2 and isinstance(inside, dict):
            inside[rng.choice(["x", "", "features", "entities", "\ud800"])] = copy.deepcopy(inside.get(last))
        elif change < 0.3 and isinstance(inside, list):
            inside.append(copy.deepcopy(inside[last]))
        else:
            inside[last] = copy.deepcopy(rng.choice(ODD))
    return made


def requests(case: Case, rng: random.Random) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    tensors, _ = described(case, binary=False)
    packed, content = described(case, binary=True)
    plain = {"inputs": tensors, "parameters": {}, "outputs": [{"name": name} for name in case.answer]}
    for _ in range(REQUESTS // 3):
        yield "/predict", json.dumps(spoiled(dict(case.body), rng)).encode(), {}
        yield INFER, json.dumps(spoiled(plain, rng)).encode(), {}
        head, body = json.dumps(spoiled({"inputs": packed}, rng)).encode(), bytearray(content)
        body[rng.randrange(len(body))] = rng.randrange(256)
        length = len(head) + rng.choice([0, 0, 0, 1, -1])
        sent = head + bytes(body[: rng.choice([len(body), rng.randrange(len(body))])])
        yield INFER, sent, {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_is_answered_as_a_fault_of_the_release_and_each_is_recorded(kind: str, tmp_path: Path) -> None:
    slot, rng = Slot(KINDS[kind], tmp_path), random.Random(kind)
    for path, body, headers in requests(KINDS[kind], rng):
        reply = slot.client.post(path, body, headers)
        assert reply.status < 500, (path, body[:500], reply.body)
        assert len(reply.body) < 2000 + 100 * len(body)
        if reply.status != 200:
            told = reply.json["error"]
            assert (5 < len(told) <= 500, told.isprintable()) == (True, True), told
    assert len(slot.records()) == REQUESTS


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("a logarithm", {"x": [-1.0]}),
        ("a logarithm", {"x": [2.0, 0.0]}),
        ("a table by position", {"i": [99]}),
        ("a number out of a text", {"t": ["nan"]}),
        ("a number out of a text", {"t": ["one"]}),
    ],
)
def test_a_value_that_a_model_without_features_has_no_answer_to_is_the_clients(
    kind: str, inputs: dict[str, Any], tmp_path: Path
) -> None:
    reply = Slot(KINDS[kind], tmp_path).client.post("/predict", {"inputs": inputs})
    assert reply.status == 422, reply.body


@pytest.mark.parametrize("kind", KINDS)
def test_its_document_is_valid_and_true_of_what_is_asked_and_answered(kind: str, tmp_path: Path) -> None:
    case = KINDS[kind]
    client = Slot(case, tmp_path).client
    document = client.get("/openapi.json").json
    validate(document)
    predict = document["paths"]["/predict"]["post"]

    def described_as(place: dict[str, Any]) -> dict[str, Any]:
        return {**place["content"]["application/json"]["schema"], "components": document["components"]}

    jsonschema.validate(dict(case.body), described_as(predict["requestBody"]))
    jsonschema.validate(client.post("/predict", dict(case.body)).json, described_as(predict["responses"]["200"]))
    jsonschema.validate(client.post("/predict", []).json, described_as(predict["responses"]["422"]))
    tensors, _ = described(case, binary=False)
    infer = document["paths"][INFER]["post"]
    jsonschema.validate({"inputs": tensors}, described_as(infer["requestBody"]))
    jsonschema.validate(client.post(INFER, {"inputs": tensors}).json, described_as(infer["responses"]["200"]))
