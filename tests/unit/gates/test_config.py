"""The monitor file: what is shipped is valid, and a mistake is named with its key and what is allowed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from release_fixture import MONITOR_FILE, rules, write_release

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.gates.drift_check import watched
from tidegate.gates.monitor_file import MonitorConfig, load_monitor, monitor_of
from tidegate.statistics.slo import error_budget


def test_the_shipped_file_survives_the_way_through_a_release(tmp_path: Path) -> None:
    config = load_monitor(MONITOR_FILE)
    assert MonitorConfig.from_json(config.to_json()) == config
    manifest, folder = write_release(tmp_path)
    assert monitor_of(folder, manifest) == MonitorConfig.from_json(rules())


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("gates.bake.alpha", 2, "gates.bake.alpha is 2, allowed: a number from 1e-06 to 0.5"),
        ("gates.bake.alpha", float("nan"), "gates.bake.alpha is nan"),
        ("gates.bake.min_requests", 1.5, "allowed: a whole number of at least 1"),
        ("gates.bake.min_requests", True, "gates.bake.min_requests is True"),
        ("gates.drift.on_fail", "ignore", "allowed: rollback or freeze"),
        ("gates.drift.excluded", ["weekday"], "allowed: a mapping FEATURE: reason"),
        ("gates.parity", None, "gates.parity is None, allowed: a mapping with on_fail"),
        ("gates.parity.min_vectors", 9999, "at most gates.parity.max_vectors"),
        (
            "slo.latncy",
            1,
            "unknown key 'slo.latncy'; did you mean 'latency_ms'? (allowed: availability, latency_ms, latency_share)",
        ),
    ],
)
def test_a_mistake_is_named(path: str, value: Any, said: str) -> None:
    broken = copy.deepcopy(rules())
    *parents, last = path.split(".")
    section = broken
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(InvalidInput) as caught:
        MonitorConfig.from_json(broken, "monitoring/demand.yaml")
    assert str(caught.value).startswith("monitoring/demand.yaml: ")
    assert said in str(caught.value)


def test_a_missing_key_an_absent_file_and_no_yaml(tmp_path: Path) -> None:
    value = rules()
    del value["promotion"]["segments"]["max_worse"]
    with pytest.raises(InvalidInput, match=r"'promotion\.segments\.max_worse' is missing, required: a number from 0 to 10"):
        MonitorConfig.from_json(value)
    with pytest.raises(NotFound, match="does not exist"):
        load_monitor(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("slo: [")
    with pytest.raises(InvalidInput, match="is not YAML"):
        load_monitor(tmp_path / "broken.yaml")


def test_excluded_features_must_exist() -> None:
    drift = MonitorConfig.from_json(rules()).gates.drift
    assert watched(("a", "horizon_days"), drift) == ["a"]
    with pytest.raises(InvalidInput, match="'horizon_days', which is no feature"):
        watched(("a",), drift)


def test_error_budgets() -> None:
    assert error_budget(0, 0, 0.99).observed is None
    budget = error_budget(1000, 5, 0.99)
    assert (budget.observed, budget.left, budget.burn) == pytest.approx((0.995, 0.5, 0.5))
    assert error_budget(1000, 20, 0.99).left == pytest.approx(-1.0)
