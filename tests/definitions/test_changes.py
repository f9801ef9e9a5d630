"""Changes that docs/extending.md counts, done to a copy of the product: each works, and touches the files that are stated."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from story import copy_project

ROOT = Path(__file__).parents[2]
PACKAGE = Path("platform/tidegate")
Edits = Mapping[str, tuple[str, str]]  # by file: the text after which another is put, and that


def stated(change: str) -> int:
    """The number of files in the table's row, the larger one."""
    row = next(line for line in (ROOT / "docs/extending.md").read_text().splitlines() if line.startswith(f"| {change} |"))
    return max(map(int, re.findall(r"\d+", row.rpartition("| ")[2])))


def changed(folder: Path, edits: Edits) -> Path:
    """A copy of the package with text put into its files; returns what stands for `platform/`."""
    copy = folder / "platform"
    shutil.copytree(ROOT / PACKAGE, copy / "tidegate", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (after, text) in edits.items():
        path = copy / "tidegate" / name
        content = path.read_text() if path.exists() else ""
        assert content.count(after) == 1 or not after, f"{name} has {content.count(after)} times {after!r}"
        path.write_text(content.replace(after, after + text, 1) if after else content + text)
    return copy


def python(platform: Path, *arguments: str, cwd: Path | None = None) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env={"PYTHONPATH": str(platform), "HOME": "/tmp"}, cwd=cwd, capture_output=True, text=True)  # noqa: S108
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


VERB: Edits = {
    "cli/gateway.py": (
        "",
        '''"""The gateway, as clients reach it."""

import click
from tidegate.cli.session import Session, command, examples


@click.command(epilog=examples("tidegate gateway", "tidegate gateway --json"))
@command()
def gateway(session: Session) -> None:
    """Where clients reach the project's models on this machine."""
    url = session.platform.target.gateway_url
    session.emit({"url": url}, url)
''',
    ),
    "cli/main.py": (
        "COMMANDS = {\n",
        '    "gateway": ("gateway", "Where clients reach the models."),\n',
    ),
}


def test_a_verb(tmp_path: Path) -> None:
    assert len(VERB) <= stated("a verb")
    platform, project = changed(tmp_path, VERB), tmp_path / "project"
    project.mkdir()
    copy_project(project)
    said = python(platform, "-m", "tidegate.cli.main", "-C", str(project), "gateway", "--json")
    assert json.loads(said)["url"].startswith("http://")
    assert "gateway" in python(platform, "-m", "tidegate.cli.main", "--help")


DISTANCE: Edits = {
    "statistics/distances.py": (
        "DISTANCES: Mapping[str, Distance] = {\n",
        '    "hellinger": Distance(\n'
        "        lambda _, p, q: float(np.sqrt(1 - np.sqrt(p / p.sum() * (q / q.sum())).sum())), False, 0.05, 0.8\n"
        "    ),\n",
    )
}
USE = """
import numpy as np, polars as pl
from tidegate.statistics import drift_columns
from tidegate.statistics.calibration import calibrate
from tidegate.statistics.distances import distance
from tidegate.adapters.evidently.drift import EvidentlyDriftMeter
from tidegate.ports.drift import DriftCheck

drift_columns.method_for = lambda reference: "hellinger"
rng = np.random.default_rng(0)
times = pl.datetime_range(pl.datetime(2011, 1, 1), pl.datetime(2011, 2, 9), "1d", eager=True).dt.cast_time_unit("us")
values = rng.integers(0, 9, 40 * 50).astype(float)
reference = pl.DataFrame({"event_timestamp": np.repeat(times.to_numpy(), 50), "sold": values})
reference = reference.with_columns(pl.col("event_timestamp").dt.replace_time_zone("UTC"))
limit = calibrate(reference, ["sold"], 100, 1.0, 0.05, seed=0, draws=100).features["sold"]
assert limit.method == "hellinger" and 0.05 <= limit.threshold < 0.8, limit
moved = rng.integers(5, 9, 200).astype(float)
mine = distance(values, moved, "hellinger")
assert mine > limit.threshold
seen = EvidentlyDriftMeter().measure({"sold": values}, {"sold": moved}, [DriftCheck("sold", "hellinger", limit.threshold)])
assert seen["sold"].drifted and abs(seen["sold"].distance - mine) < 0.02, (seen, mine)
"""


def test_another_drift_distance(tmp_path: Path) -> None:
    assert len(DISTANCE) <= stated("another drift distance")
    python(changed(tmp_path, DISTANCE), "-c", USE)


def test_an_alert_on_staleness_is_one_of_the_models_chart() -> None:
    files = ["templates/monitoring.yaml", "values.yaml", "values.schema.json"]
    assert len(files) <= stated("an alert on staleness")
    for name in files:
        assert re.search("featuresHours", (ROOT / "charts/model" / name).read_text())


@pytest.mark.parametrize("change", ["a verb", "another drift distance", "an alert on staleness"])
def test_what_was_carried_out_touches_four_files_at_most(change: str) -> None:
    assert stated(change) <= 4
