"""Readiness asked over HTTP: what counts as ready, as a sign of life, and as a stranger."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tidegate.adapters.machine.readiness import ReadinessProbe

RELEASE = "3f2c91a07b5d" + "0" * 52


class Part(BaseHTTPRequestHandler):
    status, said, slow = 200, "", 0.0

    def do_GET(self) -> None:
        time.sleep(Part.slow)
        self.send_response(Part.status)
        if Part.said:
            self.send_header("x-tidegate-release", Part.said)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def port() -> Iterator[int]:
    Part.status, Part.said, Part.slow = 200, "", 0.0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Part)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def probe() -> ReadinessProbe:
    return ReadinessProbe(waiting=0.0, settled=0.0, timeout=0.2, failures=2)


def comes(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.parametrize("said", ["", "demand@3f2c91a07b5d", RELEASE])
def test_a_part_that_names_its_release_in_any_form_is_ready(port: int, said: str) -> None:
    Part.said, asked = said, probe()
    assert comes(lambda: asked.ready("a", port, release=RELEASE))


@pytest.mark.parametrize("said", ["demand@0000", "demand@", "demand@3f2c", "4" * 64])
def test_what_names_another_release_is_not_ready_but_alive(port: int, said: str) -> None:
    Part.said, asked = said, probe()
    assert not comes(lambda: asked.ready("a", port, release=RELEASE), 0.3)
    assert asked.silent_seconds("a") < 0.3


def test_an_answer_of_503_is_a_sign_of_life_and_none_at_all_is_not(port: int) -> None:
    asked = probe()
    assert comes(lambda: asked.ready("a", port))
    Part.status = 503
    assert comes(lambda: not asked.ready("a", port))
    assert comes(lambda: (asked.ready("a", port), asked.unready_seconds("a") > 0.1)[1])
    assert asked.silent_seconds("a") < 0.1
    Part.slow = 1.0
    assert comes(lambda: (asked.ready("a", port), asked.silent_seconds("a") > 0.5)[1])
    Part.slow, Part.status = 0.0, 200
    assert comes(lambda: asked.ready("a", port))
    assert (asked.silent_seconds("a"), asked.unready_seconds("a")) == (0.0, 0.0)
