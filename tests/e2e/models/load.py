"""Requests at a steady rate over kept connections while a block runs, each accounted for."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Answers:
    """Every request that was sent: how many, how many had no answer of a release (`lost`), how many whose body names another
    release than its header (`mixed`), statuses, answers a release, and the last answer of each release."""

    sent: int = 0
    lost: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    releases: Counter[str] = field(default_factory=Counter)
    last: dict[str, str] = field(default_factory=dict)  # release -> id of the request
    refused: list[str] = field(default_factory=list)

    def add(self, status: int, release: str | None, request: str, body: bytes) -> None:
        self.statuses[status] += 1
        if release is None:
            self.lost.append(f"{status} {body[:200]!r}")
            return
        self.releases[release] += 1
        if status != 200:
            self.refused.append(f"{status} {body[:300]!r}")
        elif json.loads(body).get("release") != release:
            self.mixed.append(f"{release}: {body[:200]!r}")
        else:
            self.last[release] = request


@contextmanager
def load(gateway: str, model: str, bodies: Sequence[Any], rate: float = 40.0, connections: int = 4) -> Iterator[Answers]:
    answers, stop, lock = Answers(), threading.Event(), threading.Lock()
    turns = itertools.cycle([json.dumps(body).encode() for body in bodies])
    place = urlsplit(gateway)

    def client() -> None:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=15)
        begun = time.monotonic()
        for number in itertools.count():
            if stop.wait(max(0.0, begun + number * connections / rate - time.monotonic())):
                break
            with lock:
                body = next(turns)
                answers.sent += 1
            try:
                connection.request("POST", f"/models/{model}/predict", body, {"content-type": "application/json"})
                response = connection.getresponse()
                content, headers = response.read(), response.headers
                with lock:
                    answers.add(response.status, headers["x-tidegate-release"], headers["x-request-id"], content)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with lock:
                    answers.lost.append(repr(error))

    threads = [threading.Thread(target=client, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
