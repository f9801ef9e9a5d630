"""`tidegate predict`, killed in the middle: the next run goes on where it was, and makes the file that one run makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from story import ROOT, TIDEGATE, eventually
from tensor_models import CASES, release_of

pytestmark = pytest.mark.e2e
ROWS = 30_000  # thirty parts
PROJECT = """apiVersion: tidegate/v1
project: killed
stateDir: state
models:
  any: {monitor: monitor.yaml}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one release of a model of images, and a file of images."""
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    (tmp_path / "monitor.yaml").write_text("")
    release_of(tmp_path / "state/releases", CASES["images of bytes, a label and scores"])
    pixels = np.random.default_rng(1).integers(0, 256, (ROWS, 16), np.uint8)
    images = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), 16)
    pq.write_table(pa.table({"number": np.arange(ROWS), "image": images}), tmp_path / "in.parquet")
    return tmp_path


def start(project: Path, output: str) -> subprocess.Popen[str]:
    (release,) = (project / "state/releases").iterdir()
    command = [
        TIDEGATE,
        "predict",
        "any",
        "--release",
        release.name[:12],
        "--input",
        "in.parquet",
        "--output",
        output,
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "platform"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=project, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    told, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return json.loads(told)


def test_a_prediction_that_is_killed_goes_on_and_makes_the_same_file_byte_by_byte(project: Path) -> None:
    whole = ended(start(project, "whole.parquet"))
    assert (whole["rows"], whole["failed"], whole["parts"], whole["resumed"]) == (ROWS, 0, 30, 0)
    output, parts = project / "out.parquet", project / "out.parquet.parts"
    resumed = 0
    for more in (3, 9):  # the second run goes on after the first, and is killed, too
        process = start(project, "out.parquet")
        eventually(lambda goal=resumed + more: len(list(parts.glob("part-*.parquet"))) >= goal)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was done before it was killed"
        assert not output.exists()
        resumed = len(list(parts.glob("part-*.parquet")))
    done = ended(start(project, "out.parquet"))
    assert (done["rows"], done["resumed"]) == (ROWS, resumed)
    assert output.read_bytes() == (project / "whole.parquet").read_bytes()
    assert not parts.exists()
    assert pq.read_table(output)["number"].to_pylist() == list(range(ROWS))
