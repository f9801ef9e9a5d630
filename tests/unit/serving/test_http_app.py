"""The slot's application as a client sees it, called in process: answers, refusals, headers and accounting."""

from __future__ import annotations

import asyncio
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving_builders import AsgiClient, FakeReader, build_release, demand_release, onnx_model
from story import eventually
from tidegate.apps.slot import SlotApp, build
from tidegate.apps.slot_settings import SlotSettings
from tidegate.domain.clocks import ENVIRONMENT, SteadyClock
from tidegate.ports.inference_records import Selection
from tidegate.serving.records import InferenceLogFiles
from tidegate.serving.runtime.http_app import DISCARD_LIMIT

GOOD = {"skus": ["S1", "S2"], "horizon": 3}
V2_INPUT = {"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [1, 0.25, 1, 0]}


class Slot:
    def __init__(self, folder: Path, log_dir: Path, model: str = "demand", **settings: Any) -> None:
        self.reader = FakeReader()
        arguments = SlotSettings(folder, model, "blue", 0, 0, "fake", log_dir, **settings)
        self.slot: SlotApp = build(arguments, lambda location, contract: self.reader)
        self.client = AsgiClient(self.slot.app)
        self.release = self.slot.predictor.release.id

    def counts(self) -> Any:
        return self.slot.log.counts()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Slot:
    folder = tmp_path_factory.mktemp("slot")
    return Slot(demand_release(folder / "releases"), folder / "logs")


def test_a_forecast_is_typed_dated_and_names_its_release(shared: Slot) -> None:
    reply = shared.client.post("/predict", GOOD, {"x-request-id": "r-1"})
    assert reply.status == 200
    assert reply.headers["x-tidegate-release"] == reply.json["release"] == shared.release
    assert reply.headers["x-client-request-id"] == "r-1"
    assert [f["sku"] for f in reply.json["forecasts"]] == ["S1", "S2"]
    first = reply.json["forecasts"][0]["days"]
    assert [day["date"] for day in first] == ["2011-01-26", "2011-01-27", "2011-01-28"]  # T0 itself is day 1
    assert first[1] == {"date": "2011-01-27", "q10": 21.0, "q50": 42.0, "q90": 63.0}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"skus": ["S1", "NOPE"], "horizon": 1}, 404, "'NOPE'"),
        ({"skus": ["S1"], "horizon": 15}, 422, "horizon.*allowed: 1 to 14"),
        ({"skus": ["S1"], "horizon": 0}, 422, "horizon.*allowed: 1 to 14"),
        ({"skus": ["S1"], "horizon": "3"}, 422, "horizon"),
        ({"skus": ["S1"], "horizon": 1.5}, 422, "horizon"),
        ({"skus": ["S1"]}, 422, "horizon: Field required"),
        ({"skus": [], "horizon": 1}, 422, "skus.*1 to 100"),
        ({"skus": ["S1"] * 101, "horizon": 1}, 422, "skus.*1 to 100"),
        ({"skus": ["S1"], "horizon": 1, "colour": 1}, 422, "colour.*skus, horizon"),
        ({"skus": ["x" * 65], "horizon": 1}, 422, "skus.0"),
        ([], 422, "body"),
        (b'{"skus": ["S1"], "horizon": NaN}', 422, "horizon"),
        (b'{"skus": ["S1"], "horizon": Infinity}', 422, "horizon"),
        (b"{", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
    ],
)
def test_a_wrong_request_is_refused_by_name_and_logged(shared: Slot, body: Any, status: int, message: str) -> None:
    before = shared.counts().requests[status]
    reply = shared.client.post("/predict", body)
    assert reply.status == status
    assert re.search(message, reply.json["error"])
    assert shared.counts().requests[status] == before + 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/predict", {}, 405),
        ("POST", "/readyz", {"content-type": "application/json"}, 405),
        ("DELETE", "/v2", {}, 405),
        ("POST", "/predict", {"content-type": "text/plain"}, 415),
        ("POST", "/predict", {"content-type": "application/vnd.bentoml+pickle"}, 415),
        ("POST", "/schema.json", {"content-type": "application/vnd.bentoml+pickle"}, 404),
        ("POST", "/v2/models/demand/infer", {"content-type": "application/vnd.bentoml+pickle"}, 415),
        ("POST", "/predict", {"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ("GET", "/nope", {}, 404),
        ("POST", "/nope", {"content-type": "application/json"}, 404),
        ("GET", "/v2/nope", {}, 404),
        ("GET", "/v2/models/other", {}, 404),
        ("GET", "/v2/models/demand/versions/9", {}, 404),
        ("DELETE", "/docs.json", {}, 405),
    ],
)
def test_every_refusal_is_json_and_names_the_release(
    shared: Slot, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    reply = shared.client.request(method, path, b"{}" if method == "POST" else b"", headers)
    assert reply.status == status
    assert list(reply.json) == ["error"]
    assert reply.headers["x-tidegate-release"] == shared.release


@pytest.mark.parametrize("chunks", [1, 5])
def test_a_body_over_the_limit_is_refused(shared: Slot, chunks: int) -> None:
    for path in ("/predict", "/v2/models/demand/infer"):
        assert shared.client.post(path, b"x" * (1024 * 1024 + 1), chunks=chunks).status == 413


def test_a_body_that_does_not_end_is_given_up_with_its_connection(shared: Slot) -> None:
    reply = shared.client.post("/predict", b"x" * (DISCARD_LIMIT + 2), chunks=17)
    assert (reply.status, reply.headers.get("connection")) == (413, "close")


def test_records_have_the_times_of_the_clock_that_the_process_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SteadyClock.now()
    yesterday = SteadyClock(now.offset - 86_400, now.boot)
    monkeypatch.setenv(ENVIRONMENT, yesterday.to_text())
    slot = Slot(demand_release(tmp_path / "releases"), tmp_path / "logs")
    slot.client.post("/predict", GOOD)
    slot.slot.log.close()
    (record,) = InferenceLogFiles(tmp_path / "logs", "demand").read(Selection())
    assert abs(record.at - yesterday()) < 600


def test_metrics_count_by_status_and_shadow(tmp_path: Path) -> None:
    slot = Slot(demand_release(tmp_path / "releases"), tmp_path / "logs")
    slot.client.post("/predict", GOOD)
    slot.client.post("/predict", GOOD, {"host": "gw-shadow:80"})
    slot.client.post("/predict", {"skus": ["NOPE"], "horizon": 1})
    slot.slot.log.close()
    text = slot.client.get("/metrics").body.decode()
    assert 'tidegate_requests_total{route="predict",shadow="false",status="200"} 1.0' in text
    assert 'tidegate_requests_total{route="predict",shadow="true",status="200"} 1.0' in text
    assert 'tidegate_requests_total{route="predict",shadow="false",status="404"} 1.0' in text
    assert 'tidegate_inference_log_records_total{outcome="logged",status="200"} 2.0' in text
    assert f'release="{slot.release}"' in text


def test_an_unreachable_store_is_unavailable_not_a_fault(tmp_path: Path) -> None:
    slot = Slot(demand_release(tmp_path / "releases"), tmp_path / "logs")
    slot.reader.down = True
    assert slot.client.post("/predict", GOOD).status == 503
    assert [slot.client.get(path).status for path in ("/readyz", "/v2/health/ready", "/livez")] == [503, 503, 200]
    slot.reader.down = False
    eventually(lambda: slot.client.get("/readyz").status == 200)
    slot.slot.serving.drain()
    draining = slot.client.get("/readyz")
    assert (draining.status, draining.headers["connection"]) == (503, "close")
    assert slot.client.post("/predict", GOOD).status == 200  # what still arrives is still answered


def test_a_model_that_answers_nan_is_a_fault_of_the_release(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "serving" / "demand" / "service.py").read_text()
    slot = Slot(build_release(tmp_path / "releases", {"service.py": text}, onnx=onnx_model(scale=1e37)), tmp_path / "logs")
    reply = slot.client.post("/predict", {"skus": ["S199"], "horizon": 14})
    assert reply.status == 500
    assert "not finite" in reply.json["error"]


def test_middleware_of_a_release_wraps_the_application(tmp_path: Path) -> None:
    code = """
def wrap(app):
    async def wrapped(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/teapot":
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app(scope, receive, send)
    return wrapped
"""
    slot = Slot(demand_release(tmp_path / "releases", middleware=code), tmp_path / "logs")
    assert slot.client.get("/teapot").status == 418
    assert slot.client.get("/livez").status == 200


def test_an_exception_in_middleware_is_an_answer_of_the_release(tmp_path: Path) -> None:
    code = """
def wrap(app):
    async def wrapped(scope, receive, send):
        if scope["type"] == "http" and scope["path"] == "/predict":
            raise RuntimeError("no free handle")
        await app(scope, receive, send)
    return wrapped
"""
    slot = Slot(demand_release(tmp_path / "releases", middleware=code), tmp_path / "logs")
    reply = slot.client.post("/predict", GOOD, {"x-request-id": "r-9"})
    assert reply.status == 500
    assert reply.headers["x-tidegate-release"] == slot.release
    assert reply.headers["x-client-request-id"] == "r-9"
    assert "no free handle" not in reply.json["error"]
    assert slot.client.get("/livez").status == 200


def test_a_model_without_a_service_gets_a_generic_endpoint(tmp_path: Path) -> None:
    slot = Slot(build_release(tmp_path / "releases", model="lead_time"), tmp_path / "logs", model="lead_time")
    reply = slot.client.post("/predict", {"entities": ["S1", "S2"], "inputs": {"horizon": [1, 2]}})
    assert reply.json["outputs"] == {"quantiles": [[11, 22, 33], [22, 44, 66]]}
    assert reply.json["as_of"] == "2011-01-26T00:00:00+00:00"
    assert slot.client.post("/predict", {"entities": ["S1"], "inputs": {"horizon": 1}}).json["outputs"]["quantiles"][0][0] == 11
    assert slot.client.post("/predict", {"entities": ["S1"], "inputs": {}}).status == 422
    assert "/predict" in slot.client.get("/docs.json").json["paths"]


def test_v2_infers_raw_tensors(shared: Slot) -> None:
    reply = shared.client.post("/v2/models/demand/infer", {"id": "7", "inputs": [V2_INPUT]})
    assert reply.json["id"] == "7"
    assert reply.json["outputs"] == [{"name": "quantiles", "shape": [1, 3], "datatype": "FP32", "data": [11, 22, 33]}]
    array = np.array([[1, 0.25, 1, 0]], dtype="<f4")
    tensor = {"name": "features", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    reply = shared.client.post("/v2/models/demand/versions/1/infer", head + array.tobytes(), headers)
    size = int(reply.headers["inference-header-content-length"])
    assert np.frombuffer(reply.body[size:], "<f4").tolist() == [11, 22, 33]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [1, 3], "data": [1, 2, 3]}, "required"),
        ({"datatype": "FP64"}, "FP64, required FP32"),
        ({"name": "other"}, "unknown input 'other'"),
        ({"shape": [0, 4], "data": []}, "empty"),
        ({"data": [1, 2, 3, 1e39]}, "NaN or infinity"),
    ],
)
def test_v2_refuses_tensors_that_do_not_fit(shared: Slot, change: dict[str, Any], message: str) -> None:
    reply = shared.client.post("/v2/models/demand/infer", {"inputs": [{**V2_INPUT, **change}]})
    assert reply.status == 400
    assert message in reply.json["error"]


@pytest.mark.parametrize("path", ["/predict", "/v2/models/demand/infer"])
def test_a_client_that_leaves_is_no_fault_of_ours(shared: Slot, path: str) -> None:
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(shared.slot.app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send))
    assert sent[0]["status"] == 400


ODD_PATHS = [
    "/predict\n",
    "/predict\x00",
    "//predict",
    "/predict;x",
    "/predict?x",
    "/./predict",
    "/x/../predict",
    "/PREDICT",
    "/predict\u0131",
    "/predict%0a",
    "/api/predict",
    "/Demand/predict",
    "/",
    "/schema.json",
    "/static_content/index.css",
    "/healthz",
    "",
]


@pytest.mark.parametrize("path", ODD_PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
def test_nothing_predicts_without_a_record(shared: Slot, method: str, path: str) -> None:
    reads = shared.reader.reads
    reply = shared.client.request(method, path, json.dumps(GOOD).encode(), {"content-type": "application/json"})
    assert reply.status == 404
    assert shared.reader.reads == reads


def test_what_predicts_is_recorded_with_its_route_and_the_clients_id(tmp_path: Path) -> None:
    slot = Slot(demand_release(tmp_path / "releases"), tmp_path / "logs")
    asked = {"x-request-id": "order 7"}
    for path, body in (("/predict", GOOD), ("/predict/", GOOD), ("/v2/models/demand/infer", {"inputs": [V2_INPUT]})):
        assert slot.client.post(path, body, asked).status == 200
    secret = "tell nobody"
    assert slot.client.post("/predict", {"skus": [secret], "horizon": 1}).status == 404
    assert slot.client.post("/predict", {"skus": ["S1"], "horizon": 1, secret: secret}).status == 422
    assert slot.client.post("/v2/models/demand/infer", {"inputs": [{**V2_INPUT, "name": secret}]}).status == 400
    slot.slot.log.close()
    lines = [json.loads(line) for path in (tmp_path / "logs").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert [(line["route"], line["client_id"], line["status"]) for line in lines] == [
        ("predict", "order 7", 200),
        ("predict", "order 7", 200),
        ("infer", "order 7", 200),
        ("predict", "", 404),
        ("predict", "", 422),
        ("infer", "", 400),
    ]
    assert secret not in json.dumps(lines)
    assert all(line["error"] for line in lines[3:])


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30])
def test_numbers_that_no_model_can_answer_are_the_clients(shared: Slot, value: float) -> None:
    reply = shared.client.post("/v2/models/demand/infer", {"inputs": [{**V2_INPUT, "data": [value, 0, value, 0]}]})
    assert reply.status in (200, 400)


def test_many_wrong_values_cost_what_the_body_does(shared: Slot, tmp_path: Path) -> None:
    generic = Slot(build_release(tmp_path / "releases"), tmp_path / "logs")
    numbers = ",".join(["1"] * 200_000)
    bodies = [  # lists end at their first wrong value, which is named
        (shared, f'{{"skus": [{numbers}], "horizon": 1}}', "skus.0: "),
        (generic, f'{{"entities": ["S1"], "inputs": {{"horizon": [{numbers.replace("1", chr(34) * 2)}]}}}}', "horizon.rows.0"),
        (generic, '{"entities": ["S1"], ' + ",".join(f'"{i}": 1' for i in range(20_000)) + "}", "20,00"),
        (shared, '{"skus": ["' + "x" * 900_000 + '"], "horizon": 1}', "skus.0: "),
    ]
    for slot, body, said in bodies:
        tracemalloc.start()
        try:
            reply = slot.client.post("/predict", body.encode())
            assert reply.status == 422
            assert len(reply.body) < 700
            assert said in reply.json["error"]
            assert tracemalloc.get_traced_memory()[1] < 30 * len(body)
        finally:
            tracemalloc.stop()
