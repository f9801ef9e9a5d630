"""The load, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.one_node.processes import identify

import demo.load
from story import eventually

PARENT = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, *sys.argv[1:]]).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("asked", "given"),
    [("catalogue", ["a", "b", "c", "d"]), ("bodies", [{"inputs": 1}, {"inputs": 2}])],
)
def test_it_ends_with_the_process_that_started_it(asked: str, given: list[Any], tmp_path: Path) -> None:
    (tmp_path / asked).write_text(json.dumps(given))
    (tmp_path / "phase").write_text(json.dumps("any"))
    arguments = ["--url", "http://127.0.0.1:9/predict"]  # nobody answers there
    for name in (asked, "phase", "log"):
        arguments += [f"--{name}", str(tmp_path / name)]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, demo.load.__file__, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        load = int(parent.stdout.readline())
        eventually(lambda: (tmp_path / "log").is_file() and (tmp_path / "log").stat().st_size > 0)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    eventually(lambda: identify(load) is None)
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {record["outcome"] for record in records} == {"lost"}


def test_bodies_are_sent_in_turn_and_again(tmp_path: Path) -> None:
    given = [{"inputs": 1}, {"inputs": 2}]
    (tmp_path / "bodies").write_text(json.dumps(given))
    asks = demo.load.InTurn(tmp_path / "bodies")
    assert [asks.next() for _ in range(3)] == [(given[0], {}), (given[1], {}), (given[0], {})]


def test_nothing_is_asked_while_there_are_no_bodies(tmp_path: Path) -> None:
    asks = demo.load.InTurn(tmp_path / "bodies")
    assert asks.next() is None
    (tmp_path / "bodies").write_text("[]")
    assert asks.next() is None


def test_a_planning_job_asks_for_each_sku_before_any_comes_again(tmp_path: Path) -> None:
    skus = [f"s{n}" for n in range(30)]
    (tmp_path / "catalogue").write_text(json.dumps(skus))
    asks, seen = demo.load.Planning(tmp_path / "catalogue", 7), []
    while len(seen) <= len(skus) - demo.load.MAX_SKUS:
        ask = asks.next()
        assert ask
        assert ask[0] == ask[1]
        seen += ask[0]["skus"]
    assert len(set(seen)) == len(seen)
