"""Whether what answers a probe is the release that was asked for: an answer names the release's id, the target its digest."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from story import eventually
from tidegate.adapters.readiness import ReadinessProbe

DIGEST = "f92bd40748541e7a8fb6ace95410d78073358250a596e44fc999d3ceadc872bd"


@pytest.fixture
def answering() -> Iterator[tuple[int, list[str]]]:
    """A port, and the name of the release in its answers."""
    named: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if named:
                self.send_header("x-tidegate-release", named[0])
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, named
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "ready"),
    [("demand@f92bd4074854", True), (DIGEST, True), ("demand@193da42c0964", False), ("demand@f92b", False), ("demand@", False)],
)
def test_a_replica_is_ready_when_its_answer_names_the_release(answering: tuple[int, list[str]], name: str, ready: bool) -> None:
    port, named = answering
    named.append(name)
    probe = ReadinessProbe(waiting=0.01)
    probe.ready("demand-green-0", port, release=DIGEST)
    if ready:
        eventually(lambda: probe.ready("demand-green-0", port, release=DIGEST))
    else:
        for _ in range(20):
            assert not probe.ready("demand-green-0", port, release=DIGEST)
            time.sleep(0.02)
        assert not probe.ready("demand-green-0", port, release=DIGEST)
