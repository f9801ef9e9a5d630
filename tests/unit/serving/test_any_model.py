"""Models of many kinds, each asked in every form that a slot answers, recorded, and replayed to the bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving_builders import AsgiClient
from tensor_models import CASES, NO_FEATURES, Case, node, onnx_of, release_of
from tensor_slot import INFER, Slot, described
from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps.slot import build
from tidegate.apps.slot_settings import SlotSettings
from tidegate.domain.datatypes import DATATYPES, TEXT
from tidegate.domain.errors import InvalidInput
from tidegate.ports.inference_records import InferenceRecord
from tidegate.serving.replay import replay


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_it_is_asked_by_predict_and_by_the_protocol_and_every_answer_is_replayed(case: Case, tmp_path: Path) -> None:
    slot = Slot(case, tmp_path)
    assert slot.client.get("/readyz").status == 200
    typed = slot.client.post("/predict", case.body)
    assert typed.status == 200, typed.body
    assert typed.json["outputs"] == case.answer
    assert ("as_of" in typed.json) == bool(case.contract.stored)
    plain, _ = described(case, binary=False)
    reply = slot.client.post(INFER, {"inputs": plain})
    assert reply.status == 200, reply.body
    for output in reply.json["outputs"]:
        assert output["data"] == np.array(case.answer[output["name"]], dtype=object).ravel().tolist()
    tensors, content = described(case, binary=True)
    head = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    assert slot.client.post(INFER, head + content, headers).status == 200
    records = slot.records()
    assert [record.route for record in records] == ["predict", "infer", "infer"]
    for record in records:
        assert set(record.tensors) == set(case.tensors)
        assert all(record.tensors[name].dtype == array.dtype for name, array in case.tensors.items())
        assert all(record.tensors[name].tolist() == array.tolist() for name, array in case.tensors.items())
        assert {name: values.tolist() for name, values in record.outputs.items()} == case.answer
        assert replay(record, slot.folder, open_model=open_onnx).identical


def test_its_document_has_the_type_of_every_input_and_output(case: Case, tmp_path: Path) -> None:
    slot = Slot(case, tmp_path)
    schemas = slot.client.get("/openapi.json").json["components"]["schemas"]
    asked = schemas["Inputs"]["properties"]
    assert set(asked) == set(case.body["inputs"])
    for name, array in case.tensors.items():
        if name in asked:
            assert asked[name]["description"].startswith(DATATYPES[array.dtype])
    assert set(schemas["Outputs"]["properties"]) == set(case.answer)
    assert ("entities" in schemas["GenericRequest"]["properties"]) == bool(case.contract.stored)


def test_what_the_model_gave_differently_is_found_by_its_replay(case: Case, tmp_path: Path) -> None:
    slot = Slot(case, tmp_path)
    slot.client.post("/predict", case.body)
    (record,) = slot.records()
    name, values = next(iter(record.outputs.items()))
    changed = values.copy()
    changed[0] = "other" if values.dtype == TEXT else ~values[0] if values.dtype == bool else values[0] + 1
    other = InferenceRecord(**{**vars(record), "outputs": {**record.outputs, name: changed}})
    assert f"output {name}[0] of row 0" in replay(other, slot.folder, open_model=open_onnx).describe()


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        ("texts in, texts out", {"inputs": {"comment": [1]}}, 422, "inputs.comment.rows.0"),
        ("texts in, texts out", {"inputs": {}}, 422, "inputs.comment: Field required"),
        ("texts in, texts out", {"entities": ["a"], "inputs": {"comment": "x"}}, 422, "'entities'"),
        ("several inputs of whole numbers and booleans", {"inputs": {"count": 1, "more": 1.5, "flag": True}}, 422, "more"),
        ("several inputs of whole numbers and booleans", {"inputs": {"count": 2**63, "more": 1, "flag": True}}, 422, "count"),
        (
            "several inputs of whole numbers and booleans",
            {"inputs": {"count": [1, 2], "more": [1, 2, 3], "flag": True}},
            422,
            "'more' has shape",
        ),
        ("images of bytes, a label and scores", {"inputs": {"image": [[[256] * 4] * 4]}}, 422, "less than or equal to 255"),
        ("images of bytes, a label and scores", {"inputs": {"image": [[[1] * 3] * 4]}}, 422, "at least 4 items"),
        ("windows of any length", {"inputs": {"window": [[[1, 2]], [[1, 2], [3, 4]]]}}, 422, "'window' must be finite numbers"),
        ("windows of any length", {"inputs": {"window": []}}, 422, "'window'"),
        (
            "stored numbers and texts of a key of two parts, and a text of the request",
            {"entities": [{"carrier": "AA", "flight": 99}], "inputs": {"weather": "rain"}},
            404,
            "unknown carrier,flight 'carrier=AA flight=99'",
        ),
        (
            "stored numbers and texts of a key of two parts, and a text of the request",
            {"entities": [{"carrier": "AA"}], "inputs": {"weather": "rain"}},
            422,
            "entities.0.flight: Field required",
        ),
        (
            "stored numbers and texts of a key of two parts, and a text of the request",
            {"entities": [], "inputs": {"weather": "rain"}},
            422,
            "entities",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, kind: str, body: dict[str, Any], status: int, message: str
) -> None:
    reply = Slot(CASES[kind], tmp_path).client.post("/predict", body)
    assert (reply.status, message in reply.json["error"]) == (status, True), reply.body


def test_a_service_of_ones_own_predicts_without_entities(tmp_path: Path) -> None:
    code = """
import bentoml
from tidegate.api.serving import Call, Endpoint, Message


class Asked(Message):
    comment: str


class Said(Message):
    label: str


def answer(call: Call, asked: Asked) -> Said:
    return Said(label=call.predict(inputs={"comment": asked.comment}).outputs["label"][0, 0])


endpoint = Endpoint("/predict", Asked, Said, answer)


@bentoml.service(name="any")
class Any:
    @bentoml.api(route="/predict")
    async def predict(self, request: Asked, /) -> Said:
        return endpoint.answer(request)
"""
    slot = Slot(CASES["texts in, texts out"], tmp_path, {"serving/service.py": code.encode()})
    assert slot.client.post("/predict", {"comment": "fine"}).json == {"label": "fine"}


PROFILE = {
    "monitor.json": b'{"profile": "profile/light.py:light"}',
    "profile/light.py": b"def light(tensors):\n    return {'light': tensors['image'].max(axis=(1, 2)), 'kind': ['a'] * 65}\n",
}
WRONG = {**PROFILE, "profile/light.py": b"def light(tensors):\n    return {'light': tensors['absent']}\n"}


@pytest.mark.parametrize(
    ("files", "columns"),
    [
        ({}, {"image.mean": [0.25] * 65, "image.spread": [0.0] * 65}),
        (PROFILE, {"light": [0.25] * 65, "kind": ["a"] * 65}),
        (WRONG, {}),
    ],
)
def test_an_input_too_large_for_the_log_is_there_by_its_digest_and_columns(
    tmp_path: Path, files: dict[str, bytes], columns: dict[str, list[Any]]
) -> None:
    image, flat = {"image": ("FP32", [None, 64, 64])}, {"flat": ("FP32", [None, 4096])}
    slot = Slot(
        Case(onnx_of([node("Flatten", ["image"], ["flat"])], image, flat), {}, {}, {}), tmp_path, files=files, body_limit=2**21
    )
    array = np.full((65, 64, 64), 0.25, dtype=np.float32)
    tensor = {"name": "image", "shape": [65, 64, 64], "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    assert slot.client.post(INFER, head + array.tobytes(), headers).status == 200
    (record,) = slot.records()
    assert (list(record.tensors), record.digests) == ([], {"image": hashlib.sha256(array.tobytes()).hexdigest()})
    assert {name: values.tolist() for name, values in record.profile.items()} == columns
    with pytest.raises(InvalidInput, match="'image' was too large for the inference log"):
        replay(record, slot.folder, open_model=open_onnx)


def test_a_model_that_knows_its_categories_alone_is_served(tmp_path: Path) -> None:
    encode = node("OneHotEncoder", ["school"], ["hot"], domain="ai.onnx.ml", cats_strings=["degree", "none"], zeros=0)
    nodes = [encode, node("Flatten", ["hot"], ["out"])]
    case = Case(onnx_of(nodes, {"school": ("BYTES", [None, 1])}, {"out": ("FP32", [None, 2])}), {}, {}, {})
    slot = Slot(case, tmp_path)  # which asks it about a made-up category, and is refused
    assert slot.client.post("/predict", {"inputs": {"school": ["degree"]}}).json["outputs"] == {"out": [[1.0, 0.0]]}
    refused = slot.client.post("/predict", {"inputs": {"school": "nowhere"}})
    assert (refused.status, "the model refused its input" in refused.json["error"]) == (422, True)


def test_a_model_without_features_opens_no_store(tmp_path: Path) -> None:
    case = CASES["texts in, texts out"]
    assert case.contract == NO_FEATURES
    settings = SlotSettings(release_of(tmp_path, case), "any", "blue", 0, 0, "redis://127.0.0.1:1/0", tmp_path / "logs")
    client = AsgiClient(build(settings).app)
    assert [client.get(path).status for path in ("/readyz", "/v2/models/any/ready")] == [200, 200]
    assert client.post("/predict", case.body).status == 200
    assert b"tidegate_features" not in client.get("/metrics").body
