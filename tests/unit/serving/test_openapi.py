"""What a slot says of its API: valid OpenAPI, with refusals and the inference protocol, and true of what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from serving_builders import AsgiClient, FakeReader, build_release, demand_release
from tidegate.apps.slot import build
from tidegate.apps.slot_settings import SlotSettings

INFER = "/v2/models/demand/infer"


@pytest.fixture(params=["own service", "generic"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsgiClient:
    folder = demand_release(tmp_path) if request.param == "own service" else build_release(tmp_path)
    settings = SlotSettings(folder, "demand", "blue", 0, 0, "fake", tmp_path / "logs")
    return AsgiClient(build(settings, lambda location, contract: FakeReader()).app)


def test_it_is_valid_and_has_the_refusals_and_the_inference_protocol(client: AsgiClient) -> None:
    document = client.get("/openapi.json").json
    validate(document)
    assert document == client.get("/docs.json").json
    assert {"/predict", "/v2/models/demand/infer", "/v2/models/demand/config", "/livez", "/readyz"} <= set(document["paths"])
    answers = document["paths"]["/predict"]["post"]["responses"]
    assert {"200", "400", "404", "405", "413", "415", "422", "500", "503"} == set(answers)
    assert "root_input" not in str(document)


def test_each_get_that_it_names_is_answered_and_each_post_refused_as_it_says(client: AsgiClient) -> None:
    document = client.get("/openapi.json").json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            reply = client.request(method.upper(), path, b"{}" if method == "post" else b"")
            assert str(reply.status) in operation["responses"], (method, path)
            assert reply.status == 200 or method == "post"


def test_answers_are_as_described(client: AsgiClient) -> None:
    document = client.get("/openapi.json").json

    def described(path: str, status: str) -> Any:
        content = document["paths"][path]["post"]["responses"][status]["content"]["application/json"]["schema"]
        return {**content, "components": document["components"]}

    asked = {"skus": ["S1"], "horizon": 2}
    reply = client.post("/predict", asked)
    if reply.status == 422:
        asked = {"entities": ["S1"], "inputs": {"horizon": 2}}
        reply = client.post("/predict", asked)
    jsonschema.validate(reply.json, described("/predict", "200"))
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate(asked, {**body, "components": document["components"]})
    jsonschema.validate(client.post("/predict", []).json, described("/predict", "422"))
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [1, 0.25, 1, 0]}
    jsonschema.validate(
        client.post("/v2/models/demand/infer", {"inputs": [tensor]}).json, described("/v2/models/demand/infer", "200")
    )
