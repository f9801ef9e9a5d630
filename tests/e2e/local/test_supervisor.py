"""The supervisor with real Envoy: switches under load lose nothing, kills heal, down leaves nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from tidegate.adapters.files.project_file import project_with_state
from tidegate.apps import supervision
from tidegate.apps import supervisor as local
from tidegate.domain.errors import Conflict, Unavailable
from tidegate.domain.slots import Slot
from tidegate.rollout.wanted import read_observed

pytestmark = pytest.mark.e2e
R1, R2 = "1" * 64, "2" * 64


class Load:
    """Keep-alive clients at a steady pace; every answer is kept with what it says about itself."""

    def __init__(self, url: str, clients: int = 5, pace: float = 0.05) -> None:
        self.url, self.clients, self.pace = url, clients, pace
        self.answers: list[tuple[int, str, str, str]] = []
        self.lost: list[str] = []
        self.ended = asyncio.Event()

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(self.clients)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self.ended.is_set():
            try:
                async with session.post(self.url + "/predict", json={"rows": [1]}) as answer:
                    body = await answer.json()
                    headers = answer.headers
                    slot, release = headers.get("x-tidegate-slot", ""), headers.get("x-tidegate-release", "")
                    self.answers.append((answer.status, slot, release, f"{body.get('replica')}/{body.get('release')}"))
            except (aiohttp.ClientError, TimeoutError) as error:
                self.lost.append(repr(error))
            await asyncio.sleep(self.pace)

    def mixed(self, releases: dict[str, str]) -> list[tuple[int, str, str, str]]:
        """Answers whose header, slot and body do not agree on one release."""
        return [
            answer
            for answer in self.answers
            if answer[0] != 200
            or releases.get(answer[1]) != answer[2]
            or not answer[3].startswith(answer[1] + "-")
            or not answer[3].endswith("/" + answer[2])
        ]


def under_load(url: str, act, clients: int = 5) -> Load:
    """Run blocking `act` in a thread while the load goes on."""

    async def both() -> Load:
        load = Load(url, clients)
        running = asyncio.create_task(load.run())
        try:
            await asyncio.sleep(0.2)
            await asyncio.to_thread(act)
            await asyncio.sleep(0.3)
        finally:
            load.ended.set()
            await running
        return load

    return asyncio.run(both())


def test_twenty_switches_and_kills_lose_and_mix_nothing(platform) -> None:
    platform.up()
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    platform.stage(Slot.GREEN, R2)

    def switches() -> None:
        for number in range(20):
            platform.activate(Slot.GREEN if number % 2 == 0 else Slot.BLUE)

    load = under_load(platform.url, switches)
    assert (load.lost, load.mixed({"blue": R1, "green": R2})) == ([], [])
    assert {answer[1] for answer in load.answers} == {"blue", "green"}

    def kill_replica_and_supervisor() -> None:
        os.kill(platform.pid_of("slot"), signal.SIGKILL)
        platform.ready(Slot.BLUE, R1)
        os.kill(supervision.supervisor_pid(platform.target.state), signal.SIGKILL)
        platform.up()
        platform.ready(Slot.BLUE, R1)

    before = {process.pid for process in platform.processes()}
    load = under_load(platform.url, kill_replica_and_supervisor)
    assert (load.lost, load.mixed({"blue": R1})) == ([], [])
    assert len(before & {process.pid for process in platform.processes()}) >= 4, "a new supervisor adopts what runs"

    os.kill(platform.pid_of("envoy"), signal.SIGKILL)
    load_after = under_load(platform.url, lambda: platform.up() and platform.ready(Slot.BLUE, R1))
    assert load_after.answers[-1][:3] == (200, "blue", R1), "the gateway comes back with the routes it had"

    assert supervision.stop_supervisor(platform.project)
    assert [p.cmdline() for p in platform.processes()] == []


def test_mirrored_requests_reach_the_other_slot_and_are_counted_apart(platform) -> None:
    platform.up()
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    platform.stage(Slot.GREEN, R2)
    platform.activate(Slot.BLUE, mirror=True)
    load = under_load(platform.url, lambda: None)
    assert load.mixed({"blue": R1}) == []
    live, mirrored = platform.target.traffic("demand"), platform.target.mirrored_traffic("demand")
    assert live[Slot.BLUE].completed >= len(load.answers)
    assert live[Slot.GREEN].completed == 0
    assert mirrored[Slot.GREEN].completed == live[Slot.BLUE].completed
    platform.want(green=None, mirror=False)
    assert under_load(platform.url, lambda: None).lost == []


def test_bad_requests_and_unknown_models_are_answered_with_one_sentence(platform) -> None:
    platform.up()

    async def ask() -> list[int]:
        async with aiohttp.ClientSession() as session:
            found = []
            for path, size in (("/predict", 1), ("/models/other/predict", 1), ("/models/demand/predict", 5 << 20)):
                async with session.post(platform.url + path, data=b"x" * size, headers={"x-request-id": "mine"}) as answer:
                    assert answer.headers["x-client-request-id"] == "mine"
                    body = await answer.json()
                    assert answer.status == 200 or body["error"], body
                    found.append(answer.status)
            return found

    assert asyncio.run(ask()) == [503, 404, 404]  # what is not there reads no body
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    assert asyncio.run(ask()) == [200, 404, 413]


def test_a_taken_port_is_one_sentence(platform) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", platform.project.local.gateway_port))
        taken.listen()
        port = platform.project.local.gateway_port
        with pytest.raises(Unavailable, match=rf"port {port} is taken.*targets.local.gatewayPort"):
            platform.up()


def test_one_supervisor_a_state_folder(platform) -> None:
    first = platform.up()
    assert platform.up() == first
    with pytest.raises(Conflict, match=f"pid {first}"):
        local.supervise(platform.project)


def test_a_supervisor_killed_between_start_and_record_leaves_no_orphan(platform, tmp_path: Path) -> None:
    platform.up()
    platform.stage(Slot.BLUE, R1)
    os.kill(supervision.supervisor_pid(platform.target.state), signal.SIGKILL)
    for record in platform.target.state.pids.glob("slot-*.json"):
        record.unlink()
    assert supervision.stop_supervisor(platform.project)
    assert [p.cmdline() for p in platform.processes()] == []


def test_a_model_that_is_new_in_the_project_file_is_taken_over_while_everything_goes_on(platform) -> None:
    file, text = platform.project.file, platform.project.file.read_text()
    both = text.replace("targets:\n", "  returns: {monitor: monitor.yaml}\ntargets:\n")
    kept = both.replace("local: {", "local: {defaultModel: demand, ")
    pid = platform.up()
    platform.stage(Slot.BLUE, R1)
    platform.activate(Slot.BLUE)
    gateway = platform.pid_of("envoy")

    def say(content: str) -> None:
        file.write_text(content)
        platform.project = project_with_state(file, None)

    def add() -> None:
        say(kept)
        assert platform.up() == pid

    load = under_load(platform.url, add)
    assert (load.lost, load.mixed({"blue": R1})) == ([], [])
    assert platform.pid_of("envoy") == gateway
    assert (read_observed(platform.target.state) or {})["serves"] == ["demand", "returns"]
    say(both)
    with pytest.raises(Conflict, match=r"defaultModel demand \(here: none\)"):
        platform.up()  # what answers at / would answer no more
    problems = lambda: (read_observed(platform.target.state) or {}).get("problems", {}).get("project file", "")  # noqa: E731
    platform.eventually(lambda: "what runs goes on as it was: it runs with defaultModel demand" in problems())
    file.write_text(kept + "nonsense: 1\n")
    platform.eventually(lambda: "nonsense" in problems())
    say(kept)
    platform.eventually(lambda: not problems())
    assert platform.up() == pid
