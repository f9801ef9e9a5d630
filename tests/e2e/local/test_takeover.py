"""A bake whose supervisor, watcher and controller are killed goes on from what was counted, requests in between with it."""

from __future__ import annotations

import http.client
import os
import signal

import pytest

from e2e.local.test_own_gate import release, start
from tidegate.apps import rollouts, supervision
from tidegate.rollout.state import Rollout, Status

pytestmark = pytest.mark.e2e
PARTS = supervision.Parts("slot_server:command", rollouts.GATES, "fixed_gates:finish")
ENOUGH = 60
BAKE = {
    "name": "bake",
    "kind": "bake",
    "stage": "bake",
    "min_seconds": 0.5,
    "timeout_seconds": 60,
    "rules": {"min_requests": ENOUGH},
}


def ask(platform, times: int, body: bytes = b"{}") -> None:
    for _ in range(times):
        connection = http.client.HTTPConnection("127.0.0.1", platform.project.local.gateway_port, timeout=10)
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        assert connection.getresponse().status == (500 if body == b"fail" else 200)
        connection.close()


def test_who_takes_over_a_bake_forgives_nothing_and_asks_for_nothing_twice(platform) -> None:
    store = rollouts.open_store(platform.project)
    pid = supervision.ensure_supervisor(platform.project, PARTS)

    def record(id: str) -> Rollout:
        return store.load("demand", id)

    def counted(id: str) -> int:
        return record(id).gates.get("bake", {}).get("evidence", {}).get("numbers", {}).get("requests", 0)

    first = start(platform, release(platform, "1", BAKE))
    platform.eventually(lambda: record(first).status is Status.DONE)
    for version, meanwhile, ends in (("2", b"{}", Status.DONE), ("1", b"fail", Status.ROLLED_BACK)):
        id = start(platform, release(platform, version, {**BAKE, "timeout_seconds": 61 + len(meanwhile)}))
        platform.eventually(lambda id=id: platform.target.routed("demand")[0] is record(id).plan.slot)
        ask(platform, 40)
        platform.eventually(lambda id=id: counted(id) == 40)
        for victim in (platform.pid_of("watcher"), pid, platform.pid_of("control")):
            os.kill(victim, signal.SIGKILL)
        ask(platform, 25, meanwhile)
        pid = supervision.ensure_supervisor(platform.project, PARTS)
        platform.eventually(lambda id=id: record(id).status.terminal)
        ended = record(id)
        assert (ended.status, ended.gates["bake"]["evidence"]["numbers"]["requests"]) == (ends, 65), ended.reason
    assert "error rate is 25 of 65 predictions" in ended.reason
