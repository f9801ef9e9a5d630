"""A slot's real process: real clients, a stop under load, a kill of its parent, and the errors it starts with."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from serving_builders import demand_release
from slot_process import Slot, arguments, free_port, running_slot
from tidegate.adapters.onnx.session import open_onnx
from tidegate.ports.inference_records import Selection
from tidegate.serving.records import InferenceLogFiles
from tidegate.serving.replay import replay

pytestmark = pytest.mark.e2e
GOOD = json.dumps({"skus": ["S1", "S2"], "horizon": 7})
HEADERS = {"content-type": "application/json"}


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    with running_slot(tmp_path) as started:
        yield started


def client_ids(logs: Path) -> list[str]:
    """What clients called the requests that were logged."""
    return [json.loads(line)["client_id"] for path in logs.glob("*.jsonl") for line in path.read_text().splitlines()]


@dataclass
class Client(threading.Thread):
    """Sends requests over one kept-alive connection until the server says that it closes it."""

    port: int
    number: int
    answered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        for i in range(100_000):
            request_id = f"{self.number}-{i}"
            try:
                connection.request("POST", "/predict", GOOD, {**HEADERS, "x-request-id": request_id})
                response = connection.getresponse()
                body = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.lost.append(f"{request_id}: {error!r}")
                return
            assert response.headers["x-tidegate-release"] == body["release"]
            self.answered.append(request_id)
            if response.headers["connection"] == "close":
                return


def test_a_stop_under_load_loses_no_request_and_no_record(slot: Slot) -> None:
    idle = socket.create_connection(("127.0.0.1", slot.port))  # a client that never says anything must not hold it up
    clients = [Client(slot.port, n) for n in range(4)]
    for client in clients:
        client.start()
    while min(len(client.answered) for client in clients) < 50 and not any(client.lost for client in clients):
        time.sleep(0.01)
    slot.process.send_signal(signal.SIGTERM)
    assert slot.process.wait(timeout=60) == 0
    for client in clients:
        client.join(timeout=60)
    idle.close()
    assert [lost for client in clients for lost in client.lost] == []
    answered = sorted(request_id for client in clients for request_id in client.answered)
    records = list(InferenceLogFiles(slot.logs, "demand").read(Selection()))
    assert sorted(client_ids(slot.logs)) == answered
    summary = json.loads(next(slot.logs.glob("*.summary.json")).read_text())
    assert summary["requests"] == summary["logged"] == {"200": len(answered)}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", slot.port))
    assert replay(records[-1], slot.folder, open_model=open_onnx).identical


def test_a_real_v2_client_infers_with_json_and_binary_tensors(slot: Slot) -> None:
    import tritonclient.http as triton

    client = triton.InferenceServerClient(f"127.0.0.1:{slot.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("demand")
    assert client.get_model_metadata("demand")["inputs"][0]["shape"] == [-1, 4]
    assert client.get_model_config("demand")["max_batch_size"] == 1000
    features = np.array([[1, 0.25, 1, 0], [2, 0.5, 3, 1]], dtype=np.float32)
    for binary in (False, True):
        tensor = triton.InferInput("features", [2, 4], "FP32")
        tensor.set_data_from_numpy(features, binary_data=binary)
        wanted = [triton.InferRequestedOutput("quantiles", binary_data=binary)]
        answer = client.infer("demand", [tensor], outputs=wanted, request_id="r-1")
        assert answer.as_numpy("quantiles")[:, 0].tolist() == [11, 32.5]
    answer = client.infer("demand", [tensor])  # no outputs named: the client asks for binary by a parameter
    assert answer.as_numpy("quantiles").shape == (2, 3)
    wrong = triton.InferInput("features", [1, 3], "FP32")
    wrong.set_data_from_numpy(features[:1, :3])
    with pytest.raises(triton.InferenceServerException, match="required"):
        client.infer("demand", [wrong])
    client.close()


def test_a_killed_process_keeps_what_it_wrote(slot: Slot) -> None:
    client = Client(slot.port, 0)
    client.start()
    files = InferenceLogFiles(slot.logs, "demand")
    while next(files.read(Selection()), None) is None:
        time.sleep(0.02)  # the log can be tailed while the process runs
    slot.process.kill()
    slot.process.wait()
    client.join(timeout=60)
    kept = set(client_ids(slot.logs))
    assert kept
    assert kept <= {*client.answered, *(lost.partition(":")[0] for lost in client.lost)}


def test_a_damaged_release_and_a_taken_port_are_one_sentence(tmp_path: Path) -> None:
    folder = demand_release(tmp_path / "releases")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(arguments(folder, tmp_path, port), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (7, 1)
    assert f"127.0.0.1:{port}" in done.stderr
    model = folder / "model" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    done = subprocess.run(arguments(folder, tmp_path, free_port()), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (6, 1)
    assert "model/model.onnx" in done.stderr
