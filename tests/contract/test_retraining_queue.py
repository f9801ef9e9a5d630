"""What a queue of retraining promises, kept by Redis and by the fake of unit tests alike."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from fakes.retraining import FakeRetraining, Store
from tidegate.adapters.redis.retraining import DELIVERIES, RedisRetraining
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError, Unavailable
from tidegate.ports.retraining import Report, RetrainingRequest

LEASE = 0.4  # seconds
DONE = Report("retraining.done", "demand@1", {"request": 1, "version": "3"}, Actor("training"))


@dataclass(frozen=True)
class Queue:
    """`worker` gives the queue as one more worker sees it; `lapse` waits until nobody is known to work on what was taken."""

    worker: Callable[[], Any]
    lapse: Callable[[], None]


@pytest.fixture(params=["memory", "redis"])
def queue(request: pytest.FixtureRequest) -> Queue:
    if request.param == "memory":
        store = Store()
        return Queue(lambda: FakeRetraining(store), store.lapse)
    url = request.getfixturevalue("redis_url").rpartition("/")[0] + "/9"
    import redis

    redis.Redis.from_url(url).flushdb()
    names = iter(range(100))
    return Queue(lambda: RedisRetraining(url, f"pod-{next(names)}", LEASE), lambda: time.sleep(1.5 * LEASE))


def asked(id: int) -> RetrainingRequest:
    return RetrainingRequest(id, "demand", f"demand@{id}", "prices drifted")


def test_an_empty_queue_gives_nothing(queue: Queue) -> None:
    worker = queue.worker()
    assert worker.take() is None
    assert worker.last() == 0
    assert worker.waiting() == []


def test_requests_are_taken_in_order_and_each_by_one(queue: Queue) -> None:
    one, other = queue.worker(), queue.worker()
    for id in (4, 9):
        one.publish(asked(id))
    assert one.waiting() == [asked(4), asked(9)]
    assert one.take() == asked(4)
    assert other.take() == asked(9)
    assert one.take() is None
    assert other.waiting() == [asked(4), asked(9)]  # until they are done


def test_publishing_again_changes_nothing_even_after_it_was_done(queue: Queue) -> None:
    worker = queue.worker()
    worker.publish(asked(4))
    worker.publish(asked(4))
    taken = worker.take()
    worker.done(taken, DONE)
    worker.publish(asked(4))
    assert worker.waiting() == []
    assert worker.take() is None
    assert worker.last() == 4


def test_what_a_dead_worker_took_is_taken_by_another(queue: Queue) -> None:
    queue.worker().publish(asked(1))
    assert queue.worker().take() == asked(1)
    queue.lapse()
    assert queue.worker().take() == asked(1)


def test_what_failed_may_be_taken_at_once(queue: Queue) -> None:
    worker = queue.worker()
    worker.publish(asked(1))
    taken = worker.take()
    with pytest.raises(RuntimeError), worker.working(taken):
        raise RuntimeError
    assert queue.worker().take() == asked(1)


def test_what_never_ends_is_refused_and_reported(queue: Queue) -> None:
    worker = queue.worker()
    worker.publish(asked(1))
    worker.publish(asked(2))
    for _ in range(DELIVERIES):
        assert worker.take() == asked(1)
        with pytest.raises(RuntimeError), worker.working(asked(1)):
            raise RuntimeError
    assert worker.take() == asked(2)
    ((_, report),) = worker.unwritten()
    assert (report.action, report.subject, report.body["request"]) == ("retraining.refused", "demand@1", 1)


def test_reports_stay_until_they_are_written(queue: Queue) -> None:
    worker = queue.worker()
    worker.publish(asked(1))
    worker.done(worker.take(), DONE)
    worker.report(Report("watch", "demand@1", {"window": "2011-12-05"}, Actor("monitor")))
    (first, one), (_, other) = worker.unwritten()
    assert one == DONE
    assert other.action == "watch"
    worker.written(first)
    worker.written(first)
    assert [report.action for _, report in queue.worker().unwritten()] == ["watch"]


def test_a_lease_lasts_while_somebody_works(request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("redis_url").rpartition("/")[0] + "/10"
    one, other = (RedisRetraining(url, name, LEASE) for name in ("one", "other"))
    one.publish(asked(1))
    taken = one.take()
    assert taken is not None
    with one.working(taken):
        time.sleep(2 * LEASE)
        assert other.take() is None


def test_an_unreachable_redis_is_said_in_one_sentence() -> None:
    nowhere = RedisRetraining("redis://127.0.0.1:1/0")
    for question in (nowhere.take, nowhere.last, nowhere.waiting, lambda: list(nowhere.unwritten())):
        with pytest.raises(Unavailable, match="queue of retraining"):
            question()


def test_redis_that_can_be_reached_a_moment_later_is_waited_for() -> None:
    """As a pod's network that comes after the pod: connections are refused at first."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]

        def answer() -> None:
            time.sleep(0.5)
            held.listen()
            connection, _ = held.accept()
            with connection:
                while connection.recv(4096):
                    connection.sendall(b"+PONG\r\n")

        threading.Thread(target=answer, daemon=True).start()
        waiting = RedisRetraining(f"redis://127.0.0.1:{port}/0?protocol=2&lib_name=&lib_version=")
        with pytest.raises(Unavailable, match="reaching it"):
            waiting.await_reachable(0)
        waiting.await_reachable(10)


def test_documents_of_a_newer_version_with_more_keys_are_read_and_damaged_reports_keep_nothing_waiting(redis_url: str) -> None:
    import redis

    url = redis_url.rpartition("/")[0] + "/9"
    client = redis.Redis.from_url(url)
    client.flushdb()
    request = {**vars(asked(4)), "priority": 1}
    client.xadd("tidegate:retraining", {"json": json.dumps(request)}, id="4-0")
    for text in ("{", json.dumps({**DONE.to_json(), "trace": "x"}), json.dumps({**DONE.to_json(), "schema": 9})):
        client.xadd("tidegate:reports", {"json": text})
    queue = RedisRetraining(url, "pod-1", LEASE)
    assert queue.take() == asked(4)
    reports = queue.unwritten()
    assert next(reports)[1] == DONE
    with pytest.raises(IntegrityError, match="report to the ledger's writer is not JSON"):
        next(reports)
