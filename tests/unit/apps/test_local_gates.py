"""What gates on this machine look at, and by whose clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tidegate.adapters.files.project_file import project_with_state
from tidegate.apps.gates import local_gates
from tidegate.files.layout import StateFolder
from tidegate.gates.evaluator import GateEvaluator
from tidegate.rollout.state_clock import state_clock


def test_gates_go_by_the_state_folders_clock_and_not_by_one_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of requests and rollouts have its times, which windows and stages are made of."""
    (tmp_path / "monitor.yaml").write_text("")
    (tmp_path / "tidegate.yaml").write_text(
        "apiVersion: tidegate/v1\nproject: shop\nstateDir: state\nmodels: {any: {monitor: monitor.yaml}}\n"
    )
    project = project_with_state(tmp_path / "tidegate.yaml", None)
    kept, true = state_clock(StateFolder(project.state)), time.time
    monkeypatch.setattr(time, "time", lambda: true() + 86_400)
    gates = local_gates(project, "any")
    assert isinstance(gates, GateEvaluator)
    assert gates._instruments().clock == kept
