"""The command that prints the figures of the page gets to its end, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys

from pipelines.returns.figures import HALVES, MODEL

from story import ROOT


def test_the_command_trains_every_network_and_prints_how_they_compare() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pipelines.returns.figures", "1", "400", "2"]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    sizes, head, *rows = done.stdout.splitlines()
    assert sizes.startswith(f"{MODEL} 170,574 numbers")
    assert head.startswith(f"| | {MODEL} | {HALVES} |")
    assert any(row.startswith("| loss |") for row in rows)
    assert any(row.startswith(f"log loss of {HALVES} less that of {MODEL}: ") for row in rows)
