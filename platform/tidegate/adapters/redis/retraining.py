"""Requests for retraining, and reports to the ledger's writer, as Redis streams (`ports.retraining`).

    tidegate:retraining            requests that are not done; KEDA starts a Job while it has any
    tidegate:retraining:refused    those that were taken `DELIVERIES` times and never ended
    tidegate:reports               what has to be written into the ledger

A request's place in its stream is its id, so Redis itself refuses to take it twice. Who works on one says so every few seconds;
after `lease_seconds` of silence it is anybody's. What Redis loses, the ledger still has: its writer publishes it again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tidegate.adapters.redis.record_sink import connect
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ports.retraining import REQUEST, TRAINING, Report, RetrainingRequest

REQUESTS, REFUSED, REPORTS = "tidegate:retraining", "tidegate:retraining:refused", "tidegate:reports"
GROUP, FIELD = "training", b"json"
DELIVERIES = 3
Result = TypeVar("Result")


class RedisRetraining:
    """`RetrainingQueue` and `Reports`; `worker` names who takes, as a pod's name does."""

    def __init__(self, url: str, worker: str = "", lease_seconds: float = 30.0) -> None:
        self._client, self._worker, self._lease_ms = connect(url), worker or "nobody", int(1000 * lease_seconds)

    def await_reachable(self, seconds: float) -> None:
        """Wait until Redis answers, since the network of a pod that has just started may not let it through yet. Raises
        Unavailable after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._ask("reaching it", self._client.ping)
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    # --- requests ---------------------------------------------------------------------------------------------------

    def last(self) -> int:
        from redis import ResponseError

        def ask() -> int:
            try:
                return int(self._client.xinfo_stream(REQUESTS)["last-generated-id"].partition(b"-")[0])
            except ResponseError:  # no such stream
                return 0

        return self._ask("asking for the latest", ask)

    def publish(self, request: RetrainingRequest) -> None:
        from redis import ResponseError

        def ask() -> None:
            try:
                self._client.xadd(REQUESTS, _fields(vars(request)), id=f"{request.id}-0")
            except ResponseError as error:
                if "equal or smaller" not in str(error):
                    raise

        self._ask(f"publishing request {request.id}", ask)

    def waiting(self) -> list[RetrainingRequest]:
        entries = self._ask("listing", lambda: self._client.xrange(REQUESTS))
        return [_request(fields) for _, fields in entries]

    def take(self) -> RetrainingRequest | None:
        while (entry := self._ask("taking one", self._next)) is not None:
            place, fields = entry
            request = _request(fields)
            if self._ask("counting", lambda place=place: self._deliveries(place)) <= DELIVERIES:  # type: ignore[misc]
                return request
            body = {"request": request.id, "message": f"taken {DELIVERIES} times and never ended, so it is not tried again"}
            self._end(request, Report("retraining.refused", request.release, body, TRAINING), refused=True)
        return None

    @contextmanager
    def working(self, request: RetrainingRequest) -> Iterator[None]:
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(self._lease_ms / 4000):
                try:
                    self._claim(request, idle_ms=0)
                except Unavailable:
                    continue  # said again in a moment, or the lease ends

        thread = threading.Thread(target=keep, name="lease", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            ended.set()
            thread.join()
            self._claim(request, idle_ms=self._lease_ms)
            raise
        finally:
            ended.set()
            thread.join()

    def done(self, request: RetrainingRequest, report: Report) -> None:
        self._end(request, report, refused=False)

    # --- reports ----------------------------------------------------------------------------------------------------

    def report(self, report: Report) -> None:
        self._ask("reporting", lambda: self._client.xadd(REPORTS, _fields(report.to_json())))

    def unwritten(self) -> Iterator[tuple[str, Report]]:
        unreadable: IntegrityError | None = None
        for place, fields in self._ask("reading reports", lambda: self._client.xrange(REPORTS)):
            where = f"{REPORTS} {place.decode()}"
            try:
                report = Report.read(fields.get(FIELD, b""), where)
            except IntegrityError as error:
                unreadable = unreadable or error
            else:
                yield place.decode(), report
        if unreadable:
            raise unreadable

    def written(self, name: str) -> None:
        self._ask("forgetting a report", lambda: self._client.xdel(REPORTS, name))

    # --- parts ------------------------------------------------------------------------------------------------------

    def _next(self) -> tuple[bytes, dict[bytes, bytes]] | None:
        self._ensure_group()
        _, stale, *_ = self._client.xautoclaim(REQUESTS, GROUP, self._worker, self._lease_ms, count=1)
        if found := [entry for entry in stale if entry[1]]:
            return found[0]  # type: ignore[no-any-return]
        fresh = self._client.xreadgroup(GROUP, self._worker, {REQUESTS: ">"}, count=1)
        return fresh[0][1][0] if fresh else None

    def _ensure_group(self) -> None:
        from redis import ResponseError

        try:
            self._client.xgroup_create(REQUESTS, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _deliveries(self, place: bytes) -> int:
        (pending,) = self._client.xpending_range(REQUESTS, GROUP, place, place, 1)
        return int(pending["times_delivered"])

    def _claim(self, request: RetrainingRequest, idle_ms: int) -> None:
        place = f"{request.id}-0"
        self._ask(
            "keeping one", lambda: self._client.xclaim(REQUESTS, GROUP, self._worker, 0, [place], idle=idle_ms, justid=True)
        )

    def _end(self, request: RetrainingRequest, report: Report, *, refused: bool) -> None:
        def ask() -> None:
            with self._client.pipeline(transaction=True) as pipe:
                if refused:
                    pipe.xadd(REFUSED, _fields(vars(request)))
                pipe.xadd(REPORTS, _fields(report.to_json()))
                pipe.xack(REQUESTS, GROUP, f"{request.id}-0")
                pipe.xdel(REQUESTS, f"{request.id}-0")
                pipe.execute()

        self._ask(f"ending request {request.id}", ask)

    def _ask(self, what: str, question: Callable[[], Result]) -> Result:
        import redis

        try:
            return question()
        except redis.RedisError as error:
            raise Unavailable(
                f"queue of retraining, {what}: Redis did not do it ({error}); check that it runs and can be reached"
            ) from error


def _fields(value: dict[str, Any]) -> dict[bytes, bytes]:
    return {FIELD: json.dumps(value).encode()}


def _request(fields: dict[bytes, bytes]) -> RetrainingRequest:
    return REQUEST.convert(REQUEST.parse(fields.get(FIELD, b""), REQUESTS), RetrainingRequest, REQUESTS)
