"""The demand service by its real tool: BentoML serves the same function as the light application, and builds a Bento of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving_builders import AsgiClient, FakeReader, Reply, demand_release
from tidegate.adapters.bento.build import build_bento
from tidegate.adapters.bento.hosting import service_asgi
from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps.bento import bento_service
from tidegate.apps.slot import build, release_service
from tidegate.apps.slot_settings import SlotSettings
from tidegate.domain.errors import IntegrityError
from tidegate.serving.runtime.dataplane import Predictor
from tidegate.serving.runtime.release_loader import load_release


class _WithLifespan(AsgiClient):
    """BentoML's application creates its service when it starts, on the loop that serves."""

    async def _request(self, method: str, path: str, body: bytes, headers: dict[str, str], chunks: int) -> Reply:
        async with self.app.router.lifespan_context(self.app):
            return await super()._request(method, path, body, headers, chunks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demand_release(tmp_path_factory.mktemp("demand"))


def test_bentoml_and_the_light_application_answer_the_same(folder: Path, tmp_path: Path) -> None:
    settings = SlotSettings(folder, "demand", "blue", 0, 0, "fake", tmp_path)
    light = AsgiClient(build(settings, lambda location, contract: FakeReader()).app)
    release = load_release(folder, open_onnx)
    service, endpoint = release_service(release)
    endpoint.bind(Predictor(release, FakeReader()))
    bento = _WithLifespan(service_asgi(service))
    request: Any = {"skus": ["S3", "S1"], "horizon": 14}
    mine, theirs = light.post("/predict", request), bento.post("/predict", request)
    assert (mine.status, theirs.status) == (200, 200)
    assert mine.json == theirs.json
    assert 400 <= bento.post("/predict", {"skus": ["S1"], "horizon": 15}).status < 500


def test_openapi_describes_the_typed_endpoint(folder: Path, tmp_path: Path) -> None:
    settings = SlotSettings(folder, "demand", "blue", 0, 0, "fake", tmp_path)
    document = AsgiClient(build(settings, lambda location, contract: FakeReader()).app).get("/docs.json").json
    text = json.dumps(document)
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    name = body["$ref"].rpartition("/")[2] if "$ref" in body else ""
    schema = document["components"]["schemas"][name] if name else body
    horizon = schema["properties"]["horizon"]
    assert (horizon["minimum"], horizon["maximum"]) == (1, 14)
    assert "q10" in text


@pytest.mark.slow
def test_a_bento_holds_the_release(folder: Path, tmp_path: Path) -> None:
    built = build_bento(folder, tmp_path / "bentoml")
    assert built.tag == f"demand:{folder.name[:12]}"
    described = yaml.safe_load((built.folder / "bento.yaml").read_text())
    assert (described["name"], described["service"]) == ("demand", "bento_entry:service")
    assert (built.folder / "src" / "release" / folder.name / "manifest.json").is_file()
    assert build_bento(folder, tmp_path / "bentoml") == built
    damaged = demand_release(tmp_path / "damaged", middleware="def wrap(app): return app\n")
    (damaged / "serving" / "service.py").write_text("")
    with pytest.raises(IntegrityError):
        build_bento(damaged, tmp_path / "bentoml")


def test_a_bentos_service_answers_like_a_slot(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_ONLINE", "fake")
    monkeypatch.setenv("TIDEGATE_LOG_DIR", str(tmp_path))
    app = service_asgi(bento_service(folder, lambda location, contract: FakeReader()))
    reply = _WithLifespan(app).post("/predict", {"skus": ["S1"], "horizon": 1}, {"x-request-id": "b-1"})
    assert reply.json["release"] == reply.headers["x-tidegate-release"]
    assert reply.json["forecasts"][0]["days"][0]["q50"] == 22
