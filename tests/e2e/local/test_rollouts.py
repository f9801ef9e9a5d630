"""Whole rollouts with real processes: a good release goes through kills, a bad one goes back by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from fakes.rollouts import manifest
from tidegate.apps import rollouts, supervision, wiring
from tidegate.domain.actor import Actor
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.files.layout import StateFolder
from tidegate.rollout.plan import Bake, Check, RolloutConfig
from tidegate.rollout.state import Status

pytestmark = pytest.mark.e2e
CHECKS = (Check("parity"), Check("shadow", min_seconds=1.0), Check("drift", on_fail="freeze"))
CONFIG = RolloutConfig(CHECKS, Bake(("bake",), min_seconds=1.0, deadline_seconds=20.0))


def release(platform, version: str) -> ReleaseManifest:
    """A release folder with nothing but its manifest; a fake slot fails when the folder says `bad`."""
    made = manifest(version)
    folder = platform.target.state.release(made.digest)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(made.to_bytes())
    if "bad" in version:
        (folder / "bad").touch()
    return made


def up(platform) -> int:
    parts = supervision.Parts("slot_server:command", "fixed_gates:build_gates", "fixed_gates:finish")
    return supervision.ensure_supervisor(platform.project, parts)


async def load(url: str, seen: list[tuple[int, str]], ended: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        while not ended.is_set():
            async with session.post(url + "/predict", json={}) as answer:
                seen.append((answer.status, answer.headers["x-tidegate-release"]))
            await asyncio.sleep(0.02)


def wait_for(platform, id: str, condition, kills=lambda: None) -> list[tuple[int, str]]:
    """Requests' status and release while the rollout comes to `condition`."""
    store, seen = rollouts.open_store(platform.project), []

    async def both() -> None:
        ended = asyncio.Event()
        running = asyncio.create_task(load(platform.url, seen, ended))
        for _ in range(400):
            if condition(store.load("demand", id)):
                break
            kills()
            await asyncio.sleep(0.05)
        ended.set()
        await running

    asyncio.run(both())
    assert condition(store.load("demand", id)), (
        platform.target.state.observed.read_text(),
        store.load("demand", id).history[-2:],
    )
    return seen


def test_rollouts_of_a_good_and_a_bad_release(platform) -> None:
    up(platform)
    orders = rollouts.open_orders(platform.project, Actor("ada"))
    one, two, bad = release(platform, "1"), release(platform, "2"), release(platform, "bad")
    first = orders.start(one, CONFIG)
    store = rollouts.open_store(platform.project)
    platform.eventually(lambda: store.load("demand", first.id).status is Status.DONE)

    second = orders.start(two, CONFIG)
    victims = iter(["control", "slot", "supervisor", "control"])

    def kill_next() -> None:
        """One kill a stage or so: controller, a replica, the supervisor, the controller again."""
        stage = store.load("demand", second.id).stage
        if stage == kill_next.stage or (victim := next(victims, None)) is None:
            return
        kill_next.stage = stage
        with suppress(StopIteration, ProcessLookupError):
            if victim == "supervisor":
                os.kill(supervision.supervisor_pid(platform.target.state), signal.SIGKILL)
                up(platform)
            else:
                os.kill(platform.pid_of(victim), signal.SIGKILL)

    kill_next.stage = -1
    seen = wait_for(platform, second.id, lambda r: r.status is Status.DONE, kill_next)
    assert {status for status, _ in seen} == {200}
    assert [seen[0][1], seen[-1][1]] == [one.digest, two.digest]
    assert platform.target.desired("demand").active is Slot.GREEN

    third = orders.start(bad, CONFIG)
    seen = wait_for(platform, third.id, lambda r: r.status.terminal)
    ended = store.load("demand", third.id)
    assert (ended.status, seen[-1]) == (Status.ROLLED_BACK, (200, two.digest))
    assert {release for status, release in seen if status != 200} == {bad.digest}
    assert ended.gates["bake"]["verdict"] == "FAIL"
    assert (Path(platform.project.state) / "finished").read_text().splitlines()[-1] == two.id
    assert wiring.ledger(platform.project).verify().ok
    entries = [entry.action for entry in wiring.ledger(platform.project).entries()]
    assert "rollout.rolled_back" in entries
    record = json.loads((StateFolder(platform.project.state).rollouts / "demand" / f"{third.id}.json").read_bytes())
    assert record["times"]["rollback_confirmed"] >= record["times"]["rollback_requested"] >= record["times"]["switch_confirmed"]
