"""Answers of the V2 routes against the protocol's own schemas (`open_inference_rest.yaml`; its licence lies beside it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving_builders import AsgiClient, FakeReader, demand_release
from tidegate.apps.slot import build
from tidegate.apps.slot_settings import SlotSettings

SPEC = yaml.load((Path(__file__).parent / "open_inference_rest.yaml").read_text(), yaml.CSafeLoader)
TENSOR = {"name": "features", "shape": [2, 4], "datatype": "FP32", "data": [1, 0.25, 1, 0, 2, 0.5, 1, 0]}


def conforms(value: Any, schema: str) -> None:
    """Validate by the named schema of the specification, closed to members it does not know."""
    document = {"$ref": f"#/components/schemas/{schema}", "components": SPEC["components"]}
    jsonschema.Draft4Validator(document).validate(value)
    known = SPEC["components"]["schemas"][schema]["properties"]
    assert set(value) <= set(known)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> AsgiClient:
    folder = tmp_path_factory.mktemp("v2")
    settings = SlotSettings(demand_release(folder / "releases"), "demand", "blue", 0, 0, "fake", folder / "logs")
    return AsgiClient(build(settings, lambda location, contract: FakeReader()).app)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/v2", "metadata_server_response"),
        ("/v2/", "metadata_server_response"),
        ("/v2/models/demand", "metadata_model_response"),
        ("/v2/models/demand/versions/1", "metadata_model_response"),
        ("/v2/models/other", "metadata_model_error_response"),
    ],
)
def test_metadata(client: AsgiClient, path: str, schema: str) -> None:
    conforms(client.get(path).json, schema)


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        ("/v2/health/ready", "live"),  # the specification's table and its text disagree; both are there
        ("/v2/models/demand/ready", "ready"),
        ("/v2/models/demand/versions/1/ready", "ready"),
    ],
)
def test_health(client: AsgiClient, path: str, member: str) -> None:
    reply = client.get(path)
    assert (reply.status, reply.json[member]) == (200, True)


def test_inference(client: AsgiClient) -> None:
    request = {"id": "42", "inputs": [TENSOR], "outputs": [{"name": "quantiles"}]}
    conforms(request, "inference_request")
    for path in ("/v2/models/demand/infer", "/v2/models/demand/versions/1/infer"):
        reply = client.post(path, request)
        conforms(reply.json, "inference_response")
        assert (reply.json["id"], reply.json["model_name"], reply.json["model_version"]) == ("42", "demand", "1")
        conforms(reply.json["outputs"][0], "response_output")
    nested = {**TENSOR, "data": [[1, 0.25, 1, 0], [2, 0.5, 1, 0]]}
    assert client.post(path, {"inputs": [nested]}).json["outputs"] == reply.json["outputs"]


def test_inference_errors(client: AsgiClient) -> None:
    for wrong in ({"inputs": [{**TENSOR, "shape": [2, 3]}]}, {"inputs": [TENSOR], "outputs": [{"name": "nope"}]}, {}):
        reply = client.post("/v2/models/demand/infer", wrong)
        assert reply.status == 400
        conforms(reply.json, "inference_error_response")
