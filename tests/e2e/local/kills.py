"""Kills under load: replicas, Envoy, the supervisor, and any part in the middle of a rollout. Prints what it saw as a table.

    make test-kills
    PYTHONPATH=platform:tests build/venv/bin/python -m e2e.local.kills --replicas 40 --gateways 10 --rollouts 15

Slots are stand-ins that start quickly; supervisor, watcher, controllers, Envoy, rollouts and ledger are the real ones. What is
required: no request is lost or answered wrongly while another replica lives; the gateway is back within a second each time it
is killed (whoever was connected to it loses that connection); after each rollout, what the registry was told, the ledger, and
the release that answers agree. All load goes to loopback, a few requests at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from e2e.local.conftest import FAKES, PLATFORM, Platform, write_project
from fakes.rollouts import manifest
from story import eventually, free_ports
from tidegate.adapters.files.project_file import project_with_state
from tidegate.adapters.machine.local_processes import read_records
from tidegate.apps import rollouts, supervision, wiring
from tidegate.domain.actor import Actor
from tidegate.domain.release import ReleaseManifest
from tidegate.rollout.plan import Bake, Check, RolloutConfig
from tidegate.rollout.state import Status
from tidegate.rollout.wanted import read_observed

PARTS = supervision.Parts("slot_server:command", "fixed_gates:build_gates", "fixed_gates:finish")
CONFIG = RolloutConfig((Check("parity"), Check("shadow"), Check("drift")), Bake(("bake",), 0.5, 60.0))
CLIENTS, PACE = 4, 0.02
BACK = 1.0  # seconds in which a killed gateway has to be back


@dataclass
class Row:
    """What one kind of kill did to clients."""

    kind: str
    kills: int = 0
    asked: int = 0
    lost: int = 0  # no answer at all
    wrong: int = 0  # an answer other than 200, or not of the release that it names
    slowest: float = 0.0  # seconds until whole again
    unsound: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # what was lost or wrong

    @property
    def holds(self) -> bool:
        lossless = self.kind == "gateway" or not (self.lost or self.wrong)
        return self.asked > 0 and lossless and not self.unsound and (self.kind != "gateway" or self.slowest <= BACK)

    def line(self) -> str:
        verdict = "holds" if self.holds else "FAILS"
        numbers = f"{self.kills:>5} {self.asked:>9,} {self.lost:>6} {self.wrong:>6} {self.slowest:>9.2f}"
        return f"{self.kind:<12} {numbers}  {verdict} {'; '.join([*self.unsound, *(() if self.holds else self.seen)][:3])}"


class Load:
    """Clients in a thread of their own, which a test changes as it goes: `row` counts what they see."""

    def __init__(self, url: str) -> None:
        self.url, self.row = url, Row("")
        self._ended = threading.Event()

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._ended.is_set():
            row = self.row
            row.asked += 1
            try:
                async with session.post(self.url + "/predict", json={}) as answer:
                    body = await answer.json(content_type=None)
                    same = answer.headers.get("x-tidegate-release") == body.get("release")
                    row.wrong += answer.status != 200 or not same
                    if answer.status != 200 or not same:
                        row.seen.append(f"{answer.status} {str(body)[:160]}")
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                row.lost += 1
                row.seen.append(repr(error)[:160])
            await asyncio.sleep(PACE)

    async def _all(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


class Kills:
    def __init__(self, platform: Platform, seed: int) -> None:
        self.platform, self.random = platform, random.Random(seed)
        self.state = platform.target.state
        self.store, self.ledger = rollouts.open_store(platform.project), wiring.ledger(platform.project)
        self.orders = rollouts.open_orders(platform.project, Actor("ada"))
        self.versions = 0
        self.live = ""

    def run(self, replicas: int, gateways: int, supervisors: int, in_rollouts: int) -> list[Row]:
        supervision.ensure_supervisor(self.platform.project, PARTS)
        self._roll_out(None)
        with Load(self.platform.url) as load:
            rows = [
                self._repeat(load, "replica", replicas, self._kill_replica),
                self._repeat(load, "supervisor", supervisors, self._kill_supervisor),
                self._repeat(load, "rollout", in_rollouts, self._kill_in_rollout),
                self._repeat(load, "gateway", gateways, self._kill_gateway),
            ]
        return rows

    def _repeat(self, load: Load, kind: str, times: int, kill: Callable[[Row], float]) -> Row:
        row = load.row = Row(kind)
        time.sleep(1.0)  # requests under way are counted where they began
        for _ in range(times):
            row.slowest = max(row.slowest, kill(row))
            row.kills += 1
            time.sleep(self.random.uniform(0.0, 0.3))
        time.sleep(0.2)
        return row

    def _whole(self, without: int | None = None) -> bool:
        """Whether both replicas of what is live are ready, as the supervisor saw it after process `without` was gone."""
        observed, active = read_observed(self.state), self.platform.target.desired("demand").active
        if observed is None or active is None:
            return False
        replicas = observed["models"].get("demand", {}).get(active, {}).get("replicas", [])
        ready = {replica["pid"] for replica in replicas if replica["ready"] and psutil.pid_exists(replica["pid"])}
        return len(ready) == 2 and without not in ready

    def _kill(self, pid: int | None) -> float:
        with suppress(ProcessLookupError, TypeError):
            os.kill(pid, signal.SIGKILL)  # type: ignore[arg-type]
        return time.monotonic()

    def _pids(self, kind: str) -> list[int]:
        return [record.pid for record in read_records(self.state.pids) if record.labels.get("kind") == kind]

    def _kill_replica(self, row: Row) -> float:
        victim = self.random.choice(self._pids("slot"))
        began = self._kill(victim)
        eventually(lambda: self._whole(victim))
        return time.monotonic() - began

    def _kill_supervisor(self, row: Row) -> float:
        victim = supervision.supervisor_pid(self.state)
        began = self._kill(victim)
        eventually(lambda: supervision.supervisor_pid(self.state) not in (None, victim) and self._whole())
        return time.monotonic() - began

    def _kill_gateway(self, row: Row) -> float:
        [victim] = self._pids("envoy")
        began = self._kill(victim)
        answered = asyncio.run(first_answer(self.platform.url))
        eventually(self._whole)
        return answered - began

    def _kill_in_rollout(self, row: Row) -> float:
        """One part, at a random moment; the rollout gets to its end, and everybody agrees on what is live."""

        def kill() -> None:
            time.sleep(self.random.uniform(0.0, 4.0))
            victims = {kind: self._pids(kind) for kind in ("control", "slot", "watcher")}
            victims["supervisor"] = [supervision.supervisor_pid(self.state)]  # type: ignore[list-item]
            kind = self.random.choice(sorted(kind for kind, pids in victims.items() if pids))
            self._kill(self.random.choice(victims[kind]))

        began = time.monotonic()
        row.unsound += self._roll_out(kill)
        return time.monotonic() - began

    def _roll_out(self, kill: Callable[[], None] | None) -> list[str]:
        self.versions += 1
        made = self._release(str(self.versions))
        started = self.orders.start(made, CONFIG)
        assert started is not None
        if kill is not None:
            kill()
        eventually(lambda: self.store.load("demand", started.id).status.terminal, 120.0)
        ended = self.store.load("demand", started.id)
        if ended.status is not Status.DONE:
            return [f"{started.id} is {ended.status}: {ended.reason}"]
        eventually(self._whole)
        return self._disagreements(made)

    def _release(self, version: str) -> ReleaseManifest:
        made = manifest(version)
        folder = self.state.release(made.digest)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(made.to_bytes())
        return made

    def _disagreements(self, made: ReleaseManifest) -> list[str]:
        """What the registry was told, the ledger, what is wanted and what answers, where they do not say `made`."""
        told = (Path(self.platform.project.state) / "finished").read_text().split()[-1]
        done = [entry.subject for entry in self.ledger.entries() if entry.action == "rollout.done"][-1]
        answers = asyncio.run(release_of_answer(self.platform.url))
        wanted = self.platform.target.desired("demand").active_release
        says = {"the registry": told == made.id, "the ledger": done == made.id, "the gateway": answers == made.digest}
        says |= {"what is wanted": wanted == made.digest, "the ledger's chain": self.ledger.verify().ok}
        return [f"{name} disagrees on {made.id}" for name, agrees in says.items() if not agrees]


async def first_answer(url: str, within: float = 60.0) -> float:
    """When the gateway answers 200 on a new connection."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession() as session, session.post(url + "/predict", json={}) as answer:
                if answer.status == 200:
                    return time.monotonic()
        await asyncio.sleep(0.01)
    raise AssertionError(f"no answer within {within:g} s")


async def release_of_answer(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.post(url + "/predict", json={}) as answer:
        return answer.headers.get("x-tidegate-release", "")


@contextmanager
def running_platform(folder: Path) -> Iterator[Platform]:
    project = project_with_state(write_project(folder, *free_ports().values()), None)
    platform = Platform(project)
    try:
        yield platform
    finally:
        supervision.stop_supervisor(project)
        for process in platform.processes():
            process.kill()


def table(rows: list[Row]) -> str:
    head = f"{'killed':<12} {'kills':>5} {'requests':>9} {'lost':>6} {'wrong':>6} {'slowest s':>9}"
    return "\n".join([head, *(row.line() for row in rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill parts of the local target under load.")
    for name, default in (("replicas", 40), ("gateways", 10), ("supervisors", 10), ("rollouts", 15), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PLATFORM), str(FAKES)])
    os.environ.pop("TIDEGATE_STATE", None)
    with tempfile.TemporaryDirectory() as folder, running_platform(Path(folder)) as platform:
        kills = Kills(platform, options.seed)
        rows = kills.run(options.replicas, options.gateways, options.supervisors, options.rollouts)
    print(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
