"""monitoring/demand.yaml loads, and excludes only features that the demand model really reads."""

from __future__ import annotations

import runpy
from pathlib import Path

from tidegate.gates.drift_check import watched
from tidegate.gates.monitor_file import load_monitor

ROOT = Path(__file__).parents[2]


def test_exclusions_are_features_of_the_model() -> None:
    monitor = load_monitor(ROOT / "monitoring" / "demand.yaml")
    drift = monitor.rules_of("drift")
    derived = runpy.run_path(str(ROOT / "features" / "demand_calendar.py"))["DERIVED"]
    tables = runpy.run_path(str(ROOT / "features" / "demand_tables.py"))
    stored = {"demand_history": tables["HISTORY"], "sku_profile": tables["PROFILE"]}
    vector = [*(f"{view}__{name}" for view, names in stored.items() for name in names), *derived]
    kept = watched([*vector, "horizon"], drift)
    assert "sku_profile__price_last" in kept
    assert "trend" in kept
    assert monitor.gate("drift").on_fail == "freeze"
