"""The load, as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.one_node.processes import identify

import demo.load
from story import eventually

PARENT = """
import subprocess, sys, time
print(subprocess.Popen([sys.executable, *sys.argv[1:]]).pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "catalogue").write_text(json.dumps(["a", "b", "c", "d"]))
    (tmp_path / "phase").write_text(json.dumps("any"))
    arguments = ["--url", "http://127.0.0.1:9/predict"]  # nobody answers there
    for name in ("catalogue", "phase", "log"):
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
