"""Whatever clients send to a real slot, directly and through a real gateway: no 5xx, bounded memory, all accounted for."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from serving_builders import demand_release
from slot_process import Slot, arguments, free_port
from story import eventually, free_ports
from tidegate.adapters.envoy.routes import EnvoyRouter
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot as SlotName
from tidegate.ports.local import ModelRoutes

pytestmark = pytest.mark.e2e
INFER = "/v2/models/demand/infer"
GROWTH = 64 * 1024 * 1024  # bytes that a slot may grow by, over requests of at most a tenth of that in all
seeded = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

odd_numbers = st.sampled_from([0, -1, 1.9, 1e30, 3e38, -3e38, 2**31, 2**63, 2**64, 10**30, 1e308, True, None, "1", [], {}])
odd_text = st.text(max_size=20) | st.sampled_from(["S1", "S2", "\x00", "x" * 70_000, "\ud800", "é", "../..", "'\"\\"])
json_values = st.recursive(
    odd_numbers | odd_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=8,
)
forecasts = st.fixed_dictionaries(
    {"skus": st.lists(odd_text, max_size=5) | json_values, "horizon": st.integers(1, 14) | odd_numbers},
    optional={"colour": json_values},
)
sizes = st.integers(0, 5) | st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**30])
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["features", "features", "other"]) | odd_text,
        "shape": st.sampled_from([[1, 4], [2, 4]]) | st.lists(sizes, max_size=9),
        "datatype": st.sampled_from(["FP32", "FP32", "FP64", "INT64", "UINT64", "BOOL", "FP16", "BYTES"]) | odd_text,
    },
    optional={
        "data": st.lists(st.floats(width=32, allow_nan=False) | odd_numbers, min_size=4, max_size=8) | json_values,
        "parameters": st.dictionaries(st.just("binary_data_size"), odd_numbers | st.just(16)) | json_values,
    },
)
outputs = st.lists(st.fixed_dictionaries({"name": st.sampled_from(["quantiles", "none"]) | odd_text}), max_size=3)
inferences = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3)}, optional={"outputs": outputs | json_values, "id": odd_text | json_values}
)
mangled = st.sampled_from([b"", b"\xff", b"\x00", b"{", b"]", b"NaN", b"Infinity", b"[" * 5000, b"\xef\xbb\xbf"])
header_text = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f\xad"), max_size=200)
headers = st.fixed_dictionaries(
    {"content-type": st.sampled_from(["application/json"] * 4 + ["application/octet-stream", "text/plain", "a/b;c=d"])},
    optional={
        "x-request-id": st.text(
            st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f\xad"), max_size=200
        ),
        "inference-header-content-length": st.sampled_from(["0", "1", "-1", "999999", "1e3", "x", "18446744073709551616"]),
        "content-encoding": st.sampled_from(["identity", "gzip"]),
    },
)


class Target:
    """A slot over a store of its own, asked on `port`; `answered` counts what its predicting routes answered, by status."""

    def __init__(self, slot: Slot, port: int) -> None:
        self.slot, self.port = slot, port
        self.answered: Counter[str] = Counter()
        self.process = psutil.Process(slot.process.pid)
        self.grown_from = self.process.memory_info().rss

    def post(self, path: str, body: bytes, given: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path, body, {name: value.encode("latin-1") for name, value in given.items()})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        assert response.status < 500, (path, body[:300], content)
        assert len(content) < 20_000 + 100 * len(body)
        if response.status != 200:
            told = json.loads(content)["error"]
            assert 5 < len(told) <= 500
            assert told.isprintable()
        assert len(response.headers["x-request-id"]) == 36
        self.answered[str(response.status)] += 1
        return response.status

    def send(self, content: bytes) -> None:
        """Raw bytes, then the end of the stream; whatever is answered is no 5xx."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            answer = b""
            try:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65536):
                    answer += chunk
            except ConnectionError:
                pass
        assert not answer.startswith(b"HTTP/1.1 5"), (content[:300], answer[:300])

    def account(self) -> None:
        """All that was answered is in the log's counts, and the process has not grown by more than it was sent."""
        assert self.process.memory_info().rss - self.grown_from < GROWTH
        self.slot.process.send_signal(signal.SIGTERM)
        assert self.slot.process.wait(timeout=60) == 0
        summary = json.loads(next(self.slot.logs.glob("*.summary.json")).read_text())
        assert all(int(status) < 500 for status in summary["requests"])
        assert {"200", "400", "415", "422"} <= set(summary["requests"])
        for status, count in summary["requests"].items():
            kept = sum(summary[fate].get(status, 0) for fate in ("logged", "sampled_out", "dropped"))
            assert kept == count >= self.answered[status]


@pytest.fixture(params=["directly", "through the gateway"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    folder, port = demand_release(tmp_path / "releases"), free_port()
    slot = Slot(subprocess.Popen(arguments(folder, tmp_path / "logs", port)), port, folder, tmp_path / "logs")
    envoy: subprocess.Popen[bytes] | None = None
    try:
        slot.wait_ready()
        if request.param != "directly":
            ports = free_ports()
            config = LocalConfig(gateway_port=ports["gatewayPort"], admin_port=ports["adminPort"], default_model="demand")
            router = EnvoyRouter(tmp_path / "envoy", tmp_path / "envoy-logs", config)
            router.apply([ModelRoutes("demand", SlotName.BLUE, False, {SlotName.BLUE: (port,)})])
            envoy = subprocess.Popen(router.command(), cwd=router.home)
            eventually(lambda: router.ready() and router.routed("demand")[0] is SlotName.BLUE)
            port = config.gateway_port
        yield Target(slot, port)
    finally:
        for process in (slot.process, envoy):
            if process is not None:
                process.kill()
                process.wait()


def test_nothing_that_clients_send_is_answered_5xx_or_lost_from_the_account(target: Target) -> None:
    good = json.dumps({"skus": ["S1"], "horizon": 3}).encode()

    @seeded
    @given(forecasts | json_values, headers)
    def typed(value: object, given: dict[str, str]) -> None:
        target.post("/predict", json.dumps(value).encode(), given)

    @seeded
    @given(inferences | json_values, headers)
    def protocol(value: object, given: dict[str, str]) -> None:
        target.post(INFER, json.dumps(value).encode(), given)

    @seeded
    @given(st.integers(0, 80), mangled, st.sampled_from(["/predict", INFER]))
    def bytes_between(place: int, inserted: bytes, path: str) -> None:
        target.post(path, good[:place] + inserted + good[place:], {"content-type": "application/json"})

    request = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    stream = request % (len(good), good)

    @seeded
    @given(st.lists(st.tuples(st.integers(0, len(stream)), st.binary(max_size=8), st.integers(0, 8)), min_size=1, max_size=4))
    def raw(edits: list[tuple[int, bytes, int]]) -> None:
        content = stream
        for place, inserted, removed in edits:
            content = content[:place] + inserted + content[place + removed :]
        target.send(content)

    for attack in (typed, protocol, bytes_between, raw):
        attack()
    numbers = ",".join(["1.5"] * 20_000)
    for value in ('"a"', '"' + "x" * 50_000 + '"', "1e999", "[1]", "null"):
        tensor = f'{{"name": "features", "shape": [1, 4], "datatype": "FP32", "data": [{numbers},{value}]}}'
        assert target.post(INFER, f'{{"inputs": [{tensor}]}}'.encode(), {"content-type": "application/json"}) == 400
    features = np.ones((1, 4), dtype="<f4").tobytes()
    many = ",".join(['{"name": "quantiles"}'] * 2000)
    head = '{"inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}], '
    body = (head + f'"outputs": [{many}]}}').encode()
    binary = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(body))}
    assert target.post(INFER, body + features, binary) == 400
    assert target.post("/predict", good, {"content-type": "application/json"}) == 200
    assert {"200", "400", "415", "422"} <= set(target.answered)
    target.account()
