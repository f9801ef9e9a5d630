"""Models of many kinds, sent what nobody means: no answer is a fault of the release, each is recorded, the document holds."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from onnx import TensorProto
from openapi_spec_validator import validate

from tensor_models import CASES, Case, node, onnx_of, texts
from tensor_slot import INFER, Slot, described
from tidegate.domain.contract import FeatureContract

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
DELAYS = FeatureContract("flights", "flight", {"history": ("delay",)}, ("history__delay",))
FLIGHTS = {"AA": ([12.5], {}), "far": ([3e38], {})}
OF_FEATURES = {  # the same of models with stored features
    "a logarithm of a share": Case(
        onnx_of(
            [node("Div", ["features", "share"], ["ratio"]), node("Log", ["ratio"], ["y"])],
            {"features": ("FP32", [None, 1]), "share": ("FP32", [None, 1])},
            {"y": ("FP32", [None, 1])},
        ),
        {"entities": ["AA"], "inputs": {"share": [12.5]}},
        {"features": np.array([[12.5]], dtype=np.float32), "share": np.array([[12.5]], dtype=np.float32)},
        {"y": [[0.0]]},
        DELAYS,
        FLIGHTS,
    ),
    "a sum of two": Case(
        onnx_of(
            [node("Add", ["a", "b"], ["both"]), node("Add", ["both", "features"], ["y"])],
            {"features": ("FP32", [None, 1]), "a": ("FP32", [None, 1]), "b": ("FP32", [None, 1])},
            {"y": ("FP32", [None, 1])},
        ),
        {"entities": ["AA"], "inputs": {"a": [1.0], "b": [2.0]}},
        {name: np.array([[value]], dtype=np.float32) for name, value in (("features", 12.5), ("a", 1), ("b", 2))},
        {"y": [[15.5]]},
        DELAYS,
        FLIGHTS,
    ),
    "a number out of a text beside a stored one": Case(
        onnx_of(
            [node("Cast", ["t"], ["number"], to=TensorProto.FLOAT), node("Add", ["number", "features"], ["y"])],
            {"features": ("FP32", [None, 1]), "t": ("BYTES", [None, 1])},
            {"y": ("FP32", [None, 1])},
        ),
        {"entities": ["AA"], "inputs": {"t": ["1"]}},
        {"features": np.array([[12.5]], dtype=np.float32), "t": texts("1")},
        {"y": [[13.5]]},
        DELAYS,
        FLIGHTS,
    ),
}
KINDS = {**CASES, **PARTIAL, **OF_FEATURES}


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


@pytest.mark.parametrize(
    ("kind", "inputs", "named"),
    [
        ("a logarithm of a share", {"share": [-1.0]}, "'share'"),
        ("a logarithm of a share", {"share": [0.0]}, "'share'"),
        ("a sum of two", {"a": 1.0, "b": 3.4e38}, None),
        ("a sum of two", {"a": -3.4e38, "b": -3.4e38}, "'a', 'b'"),
        ("a number out of a text beside a stored one", {"t": ["nan"]}, "'t'"),
    ],
)
def test_a_value_that_a_model_with_features_has_no_answer_to_is_the_clients_and_is_named(
    kind: str, inputs: dict[str, Any], named: str | None, tmp_path: Path
) -> None:
    reply = Slot(KINDS[kind], tmp_path).client.post("/predict", {"entities": ["AA"], "inputs": inputs})
    assert reply.status == (422 if named else 200), reply.body
    if named:
        assert f"request input {named}: no finite prediction" in reply.json["error"]


def test_what_no_value_of_the_clients_would_have_mended_is_the_releases_fault(tmp_path: Path) -> None:
    """So that a release that has lost its features, or its way, is seen by every gate."""
    slot = Slot(KINDS["a sum of two"], tmp_path)
    nodes = [node("Add", ["a", "b"], ["c"]), node("Add", ["features"] * 2, ["d"]), node("Add", ["c", "d"], ["y"])]
    doubling = onnx_of(nodes, {name: ("FP32", [None, 1]) for name in ("features", "a", "b")}, {"y": ("FP32", [None, 1])})
    doubled = Slot(replace(KINDS["a sum of two"], onnx=doubling), tmp_path / "doubled")
    for inputs in ({"a": 1.0, "b": 1.0}, {"a": -3e38, "b": -3e38}, {"a": 3e38, "b": 3e38}):
        asked = {"entities": ["far"], "inputs": inputs}
        assert doubled.client.post("/predict", asked).status == 500
        assert slot.client.post("/predict", asked | {"entities": ["AA"]}).status == (200 if inputs["a"] == 1 else 422)
    assert [record.status for record in doubled.records()] == [500] * 3


@pytest.mark.parametrize("stored", [True, False])
def test_a_value_that_a_transformation_fails_for_is_the_clients_and_one_that_always_fails_is_the_releases(
    stored: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of_days = FeatureContract(
        "flights", "flight", {"history": ("delay",)} if stored else {}, ("share",), ("days",), "share.py:share", ("share",)
    )
    case = Case(
        onnx_of([node("Identity", ["features"], ["y"])], {"features": ("FP32", [None, 1])}, {"y": ("FP32", [None, 1])}),
        *({}, {}, {}, of_days, FLIGHTS),
    )
    divides = b"def share(columns):\n    return {'share': [1 / (day - 7) for day in columns['days'].tolist()]}\n"
    refuses = b"def share(columns):\n    raise ValueError('nothing will do')\n"
    entities = {"entities": ["AA"]} if stored else {}
    good, bad = (
        Slot(case, tmp_path / name, {"features/share.py": code}).client for name, code in (("good", divides), ("bad", refuses))
    )
    assert good.post("/predict", entities | {"inputs": {"days": 8}}).json["outputs"] == {"y": [[1.0]]}
    reply = good.post("/predict", entities | {"inputs": {"days": 7}})
    assert (reply.status, "request input 'days'" in reply.json["error"]) == (422, True)
    assert "ZeroDivisionError" in caplog.text
    assert bad.post("/predict", entities | {"inputs": {"days": 8}}).status == 500


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
