"""The gateway alone, a real Envoy before echoing slots: who a request is, what is counted, asked again, refused, logged."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from story import eventually, free_ports
from tidegate.adapters.envoy.routes import EnvoyRouter
from tidegate.adapters.envoy.stats import slot_traffic
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

pytestmark = pytest.mark.e2e
LIMIT = 6 * 1024 * 1024
TOO_LARGE = b"x" * (LIMIT + 1)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Echo(ThreadingHTTPServer):
    """A slot that keeps what it was sent. `/die` ends the connection without an answer, `/hang` answers late."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def ids(self) -> list[str]:
        return [headers["x-request-id"] for _, _, headers in self.seen]


class EchoHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def answer(self) -> None:
        if self.command == "POST":
            self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        if "/die" in self.path:
            self.close_connection = True
            return
        if "/hang" in self.path:
            time.sleep(3)
        body = b'{"echo": true}'
        self.send_response(422 if "/bad" in self.path else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


class Gateway:
    def __init__(self, folder: Path) -> None:
        ports = free_ports()
        config = LocalConfig(
            gateway_port=ports["gatewayPort"],
            admin_port=ports["adminPort"],
            default_model="demand",
            request_timeout_seconds=2,
            arrival_seconds=3,
            body_limits={"demand": LIMIT},
        )
        self.port = config.gateway_port
        self.blue, self.other_blue, self.green = Echo(), Echo(), Echo()
        self.endpoints = {slot: tuple(e.server_port for e in echoes) for slot, echoes in self.by_slot().items()}
        self.router = EnvoyRouter(folder, folder / "logs", config)
        self.router.apply([ModelRoutes("demand", Slot.BLUE, False, self.endpoints)])
        self.process = subprocess.Popen(self.router.command(), cwd=self.router.home)
        eventually(self.router.ready)

    def by_slot(self) -> dict[Slot, list[Echo]]:
        return {Slot.BLUE: [self.blue, self.other_blue], Slot.GREEN: [self.green]}

    def route(self, active: Slot, mirror: bool = False) -> None:
        self.router.apply([ModelRoutes("demand", active, mirror, self.endpoints)])
        eventually(lambda: self.router.routed("demand") == (active, mirror))

    def raw(self, content: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(content)
            response = http.client.HTTPResponse(connection, method="HEAD" if content.startswith(b"HEAD") else "GET")
            response.begin()
            head = "".join(f"{name.lower()}: {value}\r\n" for name, value in response.getheaders())
            return f"HTTP/1.1 {response.status}\r\n{head}\r\n".encode("latin-1") + response.read()

    def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        head = [f"{method} {path} HTTP/1.1", "host: anything", "connection: close", f"content-length: {len(body)}", *headers]
        answer = self.raw("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        first, _, content = answer.partition(b"\r\n\r\n")
        lines = first.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value for name, _, value in pairs}, content

    def counters(self, name: str) -> dict[str, int]:
        page = self.router.admin.get("/stats/prometheus?filter=" + urllib.parse.quote(r"^vhost\.gateway\.route\."))
        found = re.findall(rf'^envoy_vhost_route_{name}{{.*envoy_route="([^"]+)".*}} (\d+)$', page, re.MULTILINE)
        return {route: int(value) for route, value in found if int(value)}

    def accessed(self) -> list[dict]:
        return [json.loads(line) for line in self.router.access_log.read_text().splitlines()]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    started = Gateway(tmp_path)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def test_each_request_has_the_gateways_id_which_no_client_chooses_and_a_mirrored_one_shares(gateway: Gateway) -> None:
    gateway.route(Slot.BLUE, mirror=True)
    gateway.green.seen.clear()
    given = [
        ("x-request-id: mine",),
        ("x-request-id: mine",),  # again
        ("x-request-id: with blanks, and more",),
        ("x-request-id: " + "a" * 5000,),
        ("x-request-id: one", "x-request-id: two"),
        ("X-Request-ID: \xff\xe9",),
        ("x-request-id:",),
        (),
        ("x-client-request-id: forged", "x-tidegate-shadow: 1", "x-tidegate-anything: 1", "x-envoy-retry-on: 5xx"),
    ]
    answered = [gateway.ask("POST", "/predict", *headers) for headers in given]
    ids = [headers["x-request-id"] for _, headers, _ in answered]
    assert all(UUID.fullmatch(each) for each in ids)
    assert len(set(ids)) == len(given)
    live = gateway.blue.seen + gateway.other_blue.seen
    assert sorted(headers["x-request-id"] for _, _, headers in live) == sorted(ids)
    eventually(lambda: len(gateway.green.seen) == len(given))
    assert sorted(gateway.green.ids()) == sorted(ids)
    for _, _, headers in live + gateway.green.seen:
        place = ids.index(headers["x-request-id"])
        expected = ["mine", "mine", "with blanks, and more", "a" * 128, "one,two", "\xff\xe9", None, None, None][place]
        assert headers.get("x-client-request-id") == expected
        assert headers["host"].startswith("demand.tidegate")
        own = {name for name in headers if name.startswith(("x-tidegate", "x-envoy-retry"))}
        assert own == ({"x-tidegate-shadow"} if headers["host"].endswith("-shadow") else set())
    assert [headers.get("x-client-request-id") for _, headers, _ in answered[:1] + answered[-1:]] == ["mine", None]


def test_predictions_are_counted_by_slot_and_kind_apart_from_all_else_and_over_switches(gateway: Gateway) -> None:
    gateway.route(Slot.BLUE, mirror=True)
    for path in ("/predict", "/predict?a=b", "/models/demand/predict", "/bad", "/v2/models/demand/infer"):
        gateway.ask("POST", path)
    for path in ("/livez", "/readyz", "/v2", "/v2/models/demand/ready", "/models/demand/readyz", "/openapi.json"):
        assert gateway.ask("GET", path)[0] == 200
    for method, path in (
        ("POST", "/livez"),
        ("GET", "/predict"),
        ("POST", "/models/other/predict"),
        ("POST", "/v2/models/demand"),
    ):
        assert gateway.ask(method, path)[0] in (404, 405)
    assert gateway.ask("POST", "/predict", body=TOO_LARGE)[0] == 413
    expected = {"demand/blue/predict": 4, "demand/blue/infer": 1, "demand/blue/other": 6}
    eventually(lambda: gateway.counters("upstream_rq_completed") == expected)
    gateway.route(Slot.GREEN)
    gateway.ask("POST", "/predict")
    gateway.route(Slot.BLUE)
    gateway.ask("POST", "/predict")
    expected = {"demand/blue/predict": 5, "demand/blue/infer": 1, "demand/blue/other": 6, "demand/green/predict": 1}
    eventually(lambda: gateway.counters("upstream_rq_completed") == expected)
    assert gateway.counters("upstream_rq_total") == expected
    eventually(lambda: gateway.counters("upstream_rq_time_count") == expected)  # histograms are merged at each flush
    page = gateway.router.admin.get("/stats/prometheus")
    labels = 'envoy_response_code_class="4",envoy_virtual_host="gateway",envoy_route="demand/blue/predict"'
    assert f"envoy_vhost_route_upstream_rq_xx{{{labels}}} 1" in page
    name = 'envoy_cluster_upstream_rq_completed{envoy_cluster_name="demand-green-shadow"}'
    shadow = re.search(rf"^{name} (\d+)$", page, re.MULTILINE)
    assert shadow is not None
    assert shadow[1] == "5"  # predictions alone are mirrored
    seen, mirrored = slot_traffic(gateway.router.admin, "demand"), slot_traffic(gateway.router.admin, "demand", shadow=True)
    assert (seen[Slot.BLUE].completed, seen[Slot.BLUE].refused_4xx, seen[Slot.BLUE].errors_5xx) == (6, 1, 0)
    assert (seen[Slot.GREEN].completed, mirrored[Slot.GREEN].completed, mirrored[Slot.BLUE].completed) == (1, 5, 0)
    assert max(seen[Slot.BLUE].latency_buckets_ms.values()) == 6


def test_each_model_has_its_own_limit_of_a_body_and_what_fits_is_mirrored_whole(gateway: Gateway) -> None:
    gateway.route(Slot.BLUE, mirror=True)
    fits, too_large = b"x" * (LIMIT - 10), b"x" * (LIMIT + 1)
    for path in ("/predict", "/models/demand/predict", "/v2/models/demand/infer"):
        assert gateway.ask("POST", path, body=fits)[0] == 200
        status, _, body = gateway.ask("POST", path, body=too_large)
        assert (status, "larger" in json.loads(body)["error"]) == (413, True)
    eventually(lambda: len(gateway.green.seen) == 3)
    assert {headers["content-length"] for _, _, headers in gateway.green.seen} == {str(len(fits))}


def test_what_computes_too_long_is_asked_of_one_replica_and_what_lost_its_replica_of_two(gateway: Gateway) -> None:
    status, _, body = gateway.ask("POST", "/hang")
    assert (status, json.loads(body)["status"]) == (504, 504)
    seen = gateway.blue.seen + gateway.other_blue.seen
    assert [path for _, path, _ in seen] == ["/hang"]
    status, _, body = gateway.ask("POST", "/die")
    assert (status, bool(json.loads(body)["error"])) == (503, True)
    for echo in (gateway.blue, gateway.other_blue):
        assert [path for _, path, _ in echo.seen].count("/die") == 1
    assert gateway.ask("GET", "/v2/die")[0] == 503  # nothing was predicted, and bytes had reached the replica
    assert [path for _, path, _ in gateway.blue.seen + gateway.other_blue.seen].count("/v2/die") == 1


NOT_FOR_CLIENTS = [
    ("GET", "/", 404),
    ("GET", "/metrics", 404),
    ("GET", "/schema.json", 404),
    ("GET", "/models/demand/metrics", 404),
    ("GET", "/models/demand/schema.json", 404),
    ("GET", "/models/demand/", 404),
    ("GET", "/static_content/index.css", 404),
    ("HEAD", "/metrics", 404),
    ("POST", "/metrics", 405),
    ("PUT", "/predict", 404),
    ("DELETE", "/predict", 404),
    ("OPTIONS", "/predict", 404),
]
END = b"\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
REFUSED = [
    (b"POST /a%2fb HTTP/1.1" + END, 400),
    (b"POST /%00 HTTP/1.1" + END, 400),
    (b"POST /predict HTTP/1.1\r\nconnection: close\r\n\r\n", 400),
    (b"nonsense\r\n\r\n", 400),
    (b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked" + END, 400),
    (b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: xchunked\r\n\r\n", 400),
    (b"POST /predict HTTP/1.1\r\nupgrade: websocket" + END.replace(b"close", b"upgrade"), 403),
    (b"POST /predict HTTP/1.1\r\na: " + b"b" * 70_000 + END, 431),
    (b"POST /models/x/predict HTTP/1.1" + END, 404),
    (b"POST /predict HTTP/1.0\r\ncontent-length: 0\r\n\r\n", 426),
]


WITHOUT_BODY = b" HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
CHUNKED = b" HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


INCOMPLETE = [
    (b"POST /predict" + WITHOUT_BODY, 408),
    (b"POST /predict" + CHUNKED, 408),
    (b"POST /predict" + WITHOUT_BODY + b"1", 408),
    (b"POST /v2/models/demand/infer" + WITHOUT_BODY, 408),
    (b"POST /predict HTTP/1.1\r\nhost: x\r\n", 408),
    (b"GET /livez" + WITHOUT_BODY, 200),  # nobody reads a body here, so nobody waits for one
    (b"GET /v2" + CHUNKED, 200),
    (b"GET /nothing" + WITHOUT_BODY, 404),
    (b"POST /livez" + WITHOUT_BODY, 405),
]


def test_a_request_whose_body_never_comes_is_answered_and_costs_no_replica(gateway: Gateway) -> None:
    with ThreadPoolExecutor(len(INCOMPLETE)) as pool:
        answers = list(pool.map(gateway.raw, [request for request, _ in INCOMPLETE]))
    for (request, status), answer in zip(INCOMPLETE, answers, strict=True):
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status), (request, answer)
        assert UUID.search(head.decode())
        if status != 200:
            told = json.loads(body)
            assert (told["status"], bool(told["error"])) == (status, True)
            assert f"x-request-id: {told['request_id']}" in head.decode()
    seen = gateway.blue.seen + gateway.other_blue.seen
    assert sorted(path for _, path, _ in seen) == ["/livez", "/v2"]

    def late() -> list[str]:
        return sorted(line["details"] for line in gateway.accessed() if line["status"] == 408)

    eventually(lambda: len(late()) == 5)
    assert set(late()) <= {"request_header_timeout", "request_overall_timeout"}  # and not because nothing moved


def test_what_is_not_for_clients_is_not_behind_the_gateway(gateway: Gateway) -> None:
    for method, path, status in NOT_FOR_CLIENTS:
        answered, headers, _ = gateway.ask(method, path, "x-request-id: mine")
        assert (answered, headers["x-client-request-id"]) == (status, "mine"), (method, path)
    assert gateway.blue.seen == gateway.other_blue.seen == []


def test_the_gateways_own_refusals_are_a_sentence_with_an_id(gateway: Gateway) -> None:
    for request, status in REFUSED:
        head, _, body = gateway.raw(request).partition(b"\r\n\r\n")
        assert int(head.split()[1]) == status, (request[:50], head)
        told = json.loads(body)
        assert len(told["error"]) > 10, (request[:50], told)
        assert UUID.fullmatch(told["request_id"]), (request[:50], told)
        assert f"x-request-id: {told['request_id']}".encode() in head


def test_the_access_log_has_no_query_and_no_long_text_of_a_client(gateway: Gateway) -> None:
    gateway.ask("POST", "/predict?token=secret", "x-request-id: mine")
    gateway.ask("POST", "/models/demand/predict?token=secret")
    gateway.ask("POST", "/" + "p" * 5000 + "?token=secret", "x-request-id: " + "\xff" * 3000)
    gateway.ask("POST", "/predict?token=secret", body=TOO_LARGE)
    eventually(lambda: len(gateway.accessed()) == 4)
    text = gateway.router.access_log.read_text()
    assert "secret" not in text
    assert max(len(line) for line in text.splitlines()) < 1500
    assert [line["path"][:24] for line in gateway.accessed()] == [
        "/predict",
        "/predict",  # as the slot sees it, the model is a field of its own
        "/" + "p" * 23,
        "/predict",
    ]
    assert gateway.accessed()[0]["client_request_id"] == "mine"
