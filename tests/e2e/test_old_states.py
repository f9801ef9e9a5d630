"""What an older commit left in its state folder goes on: it starts, serves, judges, rolls back, replays and verifies."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from golden.archives import NAMES, GoldenState, unpack
from story import Told, copy_project, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(params=NAMES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[GoldenState, Told]]:
    golden = unpack(request.param, tmp_path / "golden")
    ports = copy_project(tmp_path / "project")
    told = Told(tmp_path / "project", f"http://127.0.0.1:{ports['gatewayPort']}", "")
    told.folder.mkdir(parents=True)
    golden.state.rename(told.state)
    try:
        yield golden, told
    finally:
        told.run("down")
        for process in told.processes():
            process.kill()


def ask(told: Told, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{told.gateway}/predict", json.dumps(body).encode(), headers)  # noqa: S310 (loopback)
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.loads(answer.read())


def test_a_state_folder_of_an_older_commit_starts_serves_rolls_back_replays_and_verifies(
    old: tuple[GoldenState, Told],
) -> None:
    golden, told = old
    asked = golden.requests()
    first, second = (release["id"] for release in told.run("release", "list", "demand"))
    assert told.run("ledger", "verify")["ok"]
    for release in (first, second):
        told.run("release", "verify", release)

    told.run("up")
    assert [ask(told, each["body"]) for each in asked] == [each["answer"] for each in asked]
    assert {each["answer"]["release"] for each in asked} == {second}
    assert told.run("replay", asked[0]["id"])["result"]["identical"]
    drift = told.run("drift", "demand", "--release", second)
    assert drift[-1]["verdict"] in ("PASS", "FAIL")  # judged: the load was too even to say what it must be

    told.run("rollback", "demand", "--reason", "the way back is open")
    assert eventually(lambda: ask(told, asked[0]["body"])["release"]) == first
    assert told.run("status", "demand", "--no-drift")[0]["live"] == first
    assert told.run("ledger", "verify")["ok"]
