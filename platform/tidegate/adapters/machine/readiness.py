"""Readiness of local parts, asked over HTTP in the background, so that whoever looks never waits.

Any answer is a sign of life, whatever its status: a replica that says 503 is not ready, one that says nothing is dead or
hangs. A part that was ready stays so until `failures` answers in a row were missing or other than 200.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tidegate.domain.local import LOOPBACK
from tidegate.domain.release import SHORT
from tidegate.ports.local import READY_PATH

RELEASE_HEADER = "x-tidegate-release"


@dataclass
class _Seen:
    ready: bool = False
    missed: int = 0
    asking: bool = False
    next: float = 0.0
    since: float = 0.0  # when it was first asked, or answered last
    good: float | None = None  # when it was ready last


class ReadinessProbe:
    """The Probe port: often until a part is ready, then seldom."""

    def __init__(
        self,
        waiting: float = 0.1,
        settled: float = 0.5,
        timeout: float = 1.0,
        failures: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.waiting, self.settled, self.timeout, self.failures, self.clock = waiting, settled, timeout, failures, clock
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="readyz")
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}

    def ready(self, name: str, port: int, path: str = READY_PATH, release: str | None = None) -> bool:
        with self._lock:
            now = self.clock()
            seen = self._seen.setdefault(name, _Seen(since=now))
            if not seen.asking and now >= seen.next:
                seen.asking = True
                self._pool.submit(self._ask, seen, port, path, release)
            return seen.ready

    def silent_seconds(self, name: str) -> float:
        with self._lock:
            seen = self._seen.get(name)
            return self.clock() - seen.since if seen is not None and seen.missed >= self.failures else 0.0

    def unready_seconds(self, name: str) -> float:
        with self._lock:
            seen = self._seen.get(name)
            if seen is None or seen.ready or seen.good is None:
                return 0.0
            return self.clock() - seen.good

    def forget(self, name: str) -> None:
        with self._lock:
            self._seen.pop(name, None)

    def _ask(self, seen: _Seen, port: int, path: str, release: str | None) -> None:
        answered, ok = False, False
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=self.timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read(65536)
            answered = True
            # a stranger on the port, or a process of another release, is not what was asked for
            ok = answer.status == 200 and _is_of(release, answer.getheader(RELEASE_HEADER))
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        with self._lock:
            now = self.clock()
            seen.missed = 0 if ok else seen.missed + 1
            seen.good = now if ok else seen.good
            if answered:
                seen.since = now
            seen.ready = ok or (seen.ready and seen.missed < self.failures)
            seen.next = now + (self.settled if seen.ready else self.waiting)
            seen.asking = False


def _is_of(release: str | None, named: str | None) -> bool:
    """Whether `named`, a release's id (`demand@3f2c91a07b5d`) in an answer, is that of `release`, its digest."""
    if release is None or named is None or named == release:
        return True
    short = named.rpartition("@")[2]
    return len(short) == SHORT and release.startswith(short)
