"""The blocks of docs/extending.md, run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from story import copy_project
from tidegate.adapters.files.project_file import load_project
from tidegate.cli.session import Session
from tidegate.domain.verdict import Verdict
from tidegate.gates.monitor_file import load_monitor
from tidegate.gates.own_kinds import load_own_kind
from tidegate.ports.drift import DriftCheck

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs/extending.md").read_text(), flags=re.MULTILINE)


def block(section: str, kind: str) -> str:
    text = next(part for part in SECTIONS if part.startswith(section))
    found = re.search(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def run(section: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "extending"}
    exec(compile(block(section, "python"), "docs/extending.md", "exec"), names)  # noqa: S102 (what this page says)
    return names


def test_the_gate_is_read_beside_the_demands_own_and_judges(tmp_path: Path) -> None:
    monitor = yaml.safe_load((ROOT / "monitoring/demand.yaml").read_text())
    monitor["gates"] += yaml.safe_load(block("A gate", "yaml"))
    (tmp_path / "gates").mkdir()
    (tmp_path / "gates/bounded.py").write_text(block("A gate", "python"))
    (tmp_path / "demand.yaml").write_text(yaml.safe_dump(monitor))
    config = load_monitor(tmp_path / "demand.yaml")
    assert [gate.name for gate in config.before_switch] == ["parity", "shadow", "drift", "bounded"]
    kind = load_own_kind("gates/bounded.py", config.own["gates/bounded.py"], tmp_path, "test")
    rules = config.gate("bounded").read_rules(kind, "test")
    for values, verdict in (([], Verdict.INCONCLUSIVE), ([3.0], Verdict.PASS), ([3.0, 501.0], Verdict.FAIL)):
        answers = [SimpleNamespace(outputs={"units": np.array([value])}) for value in values]
        assert kind.judge(SimpleNamespace(candidate_records=lambda seen=answers: seen), rules)[0] is verdict  # type: ignore[arg-type]


def test_the_adapter_measures() -> None:
    columns = np.arange(100.0)
    checks = [DriftCheck("price", "wasserstein", 0.1)]
    scores = run("An adapter")["PlainDriftMeter"]().measure({"price": columns}, {"price": columns + 50}, checks)
    assert scores["price"].drifted


def test_the_verb_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_project(tmp_path)
    run("A verb")["models_of"].main(["--json"], standalone_mode=False, obj=Session(tmp_path))
    assert json.loads(capsys.readouterr().out) == list(load_project(tmp_path).models)


def test_the_model_is_one_of_the_project(tmp_path: Path) -> None:
    copy_project(tmp_path)
    project = yaml.safe_load((tmp_path / "tidegate.yaml").read_text())
    project["models"] |= yaml.safe_load(block("A model", "yaml"))
    (tmp_path / "tidegate.yaml").write_text(yaml.safe_dump(project))
    assert "outlet_demand" in load_project(tmp_path).models


@pytest.mark.parametrize("section", ["A gate", "An adapter", "A verb", "A model"])
def test_each_takes_about_ten_lines(section: str) -> None:
    kind = "yaml" if section == "A model" else "python"
    assert len([line for line in block(section, kind).splitlines() if line.strip()]) <= 12
