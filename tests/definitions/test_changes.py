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
        path.parent.mkdir(exist_ok=True)
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


KIND: Edits = {
    "gates/kinds/cost.py": (
        "",
        '''"""Gate: what a decision on the candidate's answers costs, on average."""

from dataclasses import dataclass

import numpy as np

from tidegate.domain.rules import between
from tidegate.domain.verdict import Evidence, Verdict
from tidegate.ports.gates import Case


@dataclass(frozen=True)
class Rules:
    a_unit: float = between(0, default=1.0)
    most: float = between(0, default=100.0)


def judge(case: Case, rules: Rules) -> tuple[Verdict, Evidence]:
    answers = [value for record in case.candidate_records() for value in record.outputs.values()]
    if not answers:
        return Verdict.INCONCLUSIVE, Evidence("no answers yet")
    cost = rules.a_unit * float(np.concatenate(answers).mean())
    return (Verdict.PASS if cost <= rules.most else Verdict.FAIL), Evidence(f"a decision costs {cost:.2f}", len(answers))
''',
    ),
    "gates/kinds/__init__.py": ("KINDS: Mapping[str, str] = {\n", '    "cost": "tidegate.gates.kinds.cost",\n'),
}
JUDGE = """
import sys
from pathlib import Path
sys.path.append("TESTS/unit/gates")
sys.path.append("TESTS")
from release_fixture import ask, records, rules, stage, vectors, with_changed_files
import json
from fakes.inference_records import FakeRecords
from tidegate.files.release_folder import MONITOR
folder = Path(sys.argv[1])
folder.mkdir()
here = stage(folder)
monitor = rules()
monitor["gates"].append({"name": "cost", "kind": "cost", "stage": "shadow", "rules": {"most": 0}})
context = with_changed_files(here, {MONITOR: json.dumps({"schema": 2, **monitor}).encode()})
answered = FakeRecords(records(context.candidate, vectors(20, 1), shadow=True))
found = ask("cost", context, answered)
assert found.verdict == "FAIL" and "a decision costs" in found.evidence.summary, found
"""


def test_a_gate_on_cost_per_decision_as_a_kind_of_the_platform(tmp_path: Path) -> None:
    assert len(KIND) + 1 <= stated("a gate on cost per decision")  # and the monitor file that names it
    python(changed(tmp_path, KIND), "-c", JUDGE.replace("TESTS", str(ROOT / "tests")), str(tmp_path / "release"))


TOPIC: Edits = {
    "adapters/kafka/source.py": (
        "",
        '''"""A topic as the source of a dataset: its parts are the partitions, its cursor their offsets."""

from __future__ import annotations

import json

import kafka
import polars as pl

from tidegate.ports.dataset_source import Cursor, Pulled, SourceCapabilities, SourceRows


class KafkaTopic:
    capabilities = SourceCapabilities(rereads=True)

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def pull(self, cursor: Cursor | None) -> Pulled:
        offsets, rows = dict((cursor or {}).get("offsets", {})), []
        for partition in map(str, kafka.partitions(self._topic)):
            first = offsets.get(partition, 0)
            found = [json.loads(value) for value in kafka.values(self._topic, partition, first)]
            if found:
                raw = pl.DataFrame(found).cast(pl.String)
                rows.append(SourceRows(partition, raw, pl.int_range(first + 1, first + len(found) + 1, eager=True)))
            offsets[partition] = first + len(found)
        parts = {partition: f"offset {offset}" for partition, offset in offsets.items()}
        return Pulled(tuple(rows), {"offsets": offsets}, parts)
''',
    ),
    "domain/project.py": (
        'are taken by name.", ',
        'default=(), exists="file or folder"\n    )\n'
        '    topic: str = key("topic", "A topic in place of files.", default="")\n'
        '    others: tuple[Path, ...] = key("others", "Not used.", default=(), ',
    ),
    "apps/wiring.py": (
        "    from tidegate.adapters.files.dataset_files import DatasetFiles\n",
        "\n    if config.topic and not paths:\n        from tidegate.adapters.kafka.source import KafkaTopic\n\n"
        "        return KafkaTopic(config.topic)\n",
    ),
}
CLIENT = """
import json, pathlib
LOG = pathlib.Path(__file__).parent / "log.json"
def partitions(topic): return sorted(json.loads(LOG.read_text())[topic])
def values(topic, partition, first): return [json.dumps(v) for v in json.loads(LOG.read_text())[topic][partition][first:]]
"""
DATASET = """
from tidegate.api.data import Column, Dataset
COLUMNS = {"order": Column(("order",), "identifier"), "at": Column(("at",), "timestamp")}
DATASET = Dataset("orders", columns=COLUMNS, time="at", identity=("order",))
"""


def test_a_kafka_source(tmp_path: Path) -> None:
    assert len(TOPIC) + 1 <= stated("a Kafka source")  # and .importlinter, which allows its library
    platform, project = changed(tmp_path, TOPIC), tmp_path / "project"
    project.mkdir()
    (project / "orders.py").write_text(DATASET)
    (project / "monitor.yaml").write_text((ROOT / "monitoring/demand.yaml").read_text())
    model = {"monitor": "monitor.yaml", "datasets": ["orders"]}
    text = {"apiVersion": "tidegate/v1", "project": "p", "stateDir": "state", "models": {"m": model}}
    text["datasets"] = {"orders": {"definition": "orders.py", "topic": "orders"}}
    (project / "tidegate.yaml").write_text(json.dumps(text))
    (platform / "kafka.py").write_text(CLIENT)
    log = {"orders": {"0": [{"order": "a", "at": "2011-01-01T00:00:00"}], "1": [{"order": "b", "at": "2011-01-02T00:00:00"}]}}

    def ingest() -> dict[str, int]:
        (platform / "log.json").write_text(json.dumps(log))
        python(platform, "-m", "tidegate.cli.main", "-C", str(project), "ingest", "orders")
        counts: dict[str, int] = json.loads((project / "state/data/orders/ingest.json").read_text())["counts"]
        return counts

    assert ingest()["rows"] == 2
    log["orders"]["1"] += [{"order": "c", "at": "2011-01-03T00:00:00"}, {"order": "d", "at": "no time"}]
    assert ingest() == {"rows": 3, "quarantine": 1}


CARRIED_OUT = ["a verb", "another drift distance", "an alert on staleness", "a gate on cost per decision", "a Kafka source"]


@pytest.mark.parametrize("change", CARRIED_OUT)
def test_what_was_carried_out_touches_four_files_at_most(change: str) -> None:
    assert stated(change) <= 4
