"""The monitor file: what is shipped is valid, and a mistake is named with its key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from release_fixture import MONITOR_FILE, rules, write_release

from tidegate.apps.rollouts import rollout_config
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.gates.drift_check import watched
from tidegate.gates.monitor_file import MonitorConfig, load_monitor, monitor_of
from tidegate.statistics.slo import error_budget


def test_the_shipped_file_survives_the_way_through_a_release(tmp_path: Path) -> None:
    config = load_monitor(MONITOR_FILE)
    assert MonitorConfig.from_json(config.to_json()) == config
    manifest, folder = write_release(tmp_path)
    assert monitor_of(folder, manifest) == MonitorConfig.from_json(rules())


def test_four_named_sections_of_an_earlier_file_are_the_same_gates() -> None:
    earlier = {**rules(), "gates": {}}
    for gate in rules()["gates"]:
        whole = {key: gate[key] for key in ("on_fail", "timeout_seconds", "min_seconds") if key in gate}
        earlier["gates"][gate["name"]] = {**whole, **gate["rules"]}
    assert MonitorConfig.from_json(earlier) == MonitorConfig.from_json(rules())
    earlier["gates"]["bake"]["on_fail"] = "freeze"  # was taken, and a release that fails its bake was rolled back
    assert MonitorConfig.from_json(earlier) == MonitorConfig.from_json(rules())
    with pytest.raises(InvalidInput, match=r"unknown key 'gates.cost'; .*more gates are written as a list"):
        MonitorConfig.from_json({**earlier, "gates": {**earlier["gates"], "cost": {}}})
    del earlier["gates"]["shadow"]
    with pytest.raises(InvalidInput, match=r"gates.shadow is None, allowed: a mapping with on_fail"):
        MonitorConfig.from_json(earlier)


def test_gates_are_asked_by_stage_and_then_as_the_file_has_them() -> None:
    value = rules()
    value["gates"] = [*reversed(value["gates"]), {"name": "parity-late", "kind": "parity", "stage": "bake"}]
    config = MonitorConfig.from_json(value)
    assert [gate.name for gate in config.before_switch] == ["parity", "drift", "shadow"]
    assert [gate.name for gate in config.after_switch] == ["bake", "parity-late"]
    plan = rollout_config(config)
    assert [(check.gate, check.gate_kind, check.on_fail) for check in plan.checks] == [
        ("parity", "parity", "rollback"),
        ("drift", "drift", "freeze"),
        ("shadow", "shadow", "rollback"),
    ]
    assert plan.bake is not None
    assert plan.bake.gate_kinds == {"bake": "bake", "parity-late": "parity"}


def test_what_a_file_leaves_out_has_the_kinds_own_value_and_is_written_into_the_release() -> None:
    value = rules()
    value["gates"] = [
        {"name": name, "kind": name, "stage": "bake" if name == "bake" else "verify"} for name in ("parity", "bake")
    ]
    config = MonitorConfig.from_json(value)
    assert config.gate("bake").rules["min_requests"] == 400
    assert (config.gate("parity").timeout_seconds, config.gate("bake").min_seconds) == (120, 12)
    assert config.rules_of("drift").window == 500, "the watch over live traffic goes on without a gate of the kind"


def test_a_kind_may_be_asked_twice_under_two_names_and_other_rules() -> None:
    value = rules()
    value["gates"].append({"name": "parity-few", "kind": "parity", "stage": "verify", "rules": {"min_vectors": 7}})
    config = MonitorConfig.from_json(value)
    assert [config.gate(name).rules["min_vectors"] for name in ("parity", "parity-few")] == [300, 7]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("bake.rules.alpha", 2, "gates.bake.alpha is 2, allowed: a number from 1e-06 to 0.5"),
        ("bake.rules.alpha", float("nan"), "gates.bake.alpha is nan"),
        ("bake.rules.min_requests", 1.5, "allowed: a whole number of at least 1"),
        ("bake.rules.min_requests", True, "gates.bake.min_requests is True"),
        ("bake.rules.min_request", 1, "unknown key 'gates.bake.min_request'; did you mean 'min_requests'?"),
        ("bake.rules", [], "gates.bake.rules is [], allowed: a mapping of the rules of kind bake"),
        ("bake.on_fail", "freeze", "gates.bake.on_fail is 'freeze', allowed in stage bake: rollback"),
        ("bake.stage", "verify", "gates.bake.stage is 'verify', allowed for kind bake: bake"),
        ("shadow.stage", "bake", "gates.shadow.stage is 'bake', allowed for kind shadow: verify or shadow"),
        ("shadow.stage", "later", "gates.shadow.stage is 'later', allowed: verify or shadow or bake"),
        ("shadow.rules.harmful_refusal_rate", 0.001, "gates.shadow: harmful_refusal_rate is 0.001, allowed: more than"),
        ("shadow.name", "parity", "gates has 'parity' 2 times, allowed: each gate a name of its own"),
        ("shadow.name", "Shadow!", "gates[1].name is 'Shadow!', allowed: small letters, digits and '-'"),
        ("drift.on_fail", "ignore", "allowed: rollback or freeze"),
        ("drift.kind", "drft", "unknown key 'gates.drift.kind: drft'; allowed: parity, shadow, drift, bake or ./gates/NAME.py"),
        ("drift.kind", "./gates/../x.py", "allowed: parity, shadow, drift, bake or ./gates/NAME.py"),
        ("drift.timeout_second", 5, "unknown key 'gates.drift.timeout_second'; did you mean 'timeout_seconds'?"),
        ("drift.rules.excluded", ["weekday"], "allowed: a mapping FEATURE: reason"),
        ("parity.rules.min_vectors", 9999, "gates.parity: min_vectors is 9999, allowed: at most max_vectors (5000)"),
    ],
)
def test_a_mistake_in_a_gate_is_named(path: str, value: Any, said: str) -> None:
    broken = rules()
    name, *parents, last = path.split(".")
    section = next(gate for gate in broken["gates"] if gate["name"] == name)
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(InvalidInput) as caught:
        MonitorConfig.from_json(broken, "monitoring/demand.yaml")
    assert str(caught.value).startswith("monitoring/demand.yaml: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("gates", "said"),
    [
        (None, "gates is None, allowed: a list of gates"),
        ([], "gates has none of stage verify or shadow, required: at least one that is asked before the switch"),
        ([{"name": "parity", "kind": "parity", "stage": "verify"}], "gates has none of stage bake, required: at least one"),
        (["parity"], "gates[0] is 'parity', allowed: a mapping with name, kind, stage, on_fail and rules"),
        ([{"name": "a", "kind": "parity"}], "key 'gates.a.stage' is missing, required: verify or shadow or bake"),
    ],
)
def test_no_file_opens_a_way_past_all_gates(gates: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        MonitorConfig.from_json({**rules(), "gates": gates})
    assert said in str(caught.value)


def test_a_slip_beside_the_gates_is_named() -> None:
    value = rules()
    value["slo"]["latncy"] = 1
    with pytest.raises(InvalidInput, match=r"unknown key 'slo.latncy'; did you mean 'latency_ms'\?"):
        MonitorConfig.from_json(value)
    with pytest.raises(InvalidInput, match="unknown key 'gate'; did you mean 'gates'"):
        MonitorConfig.from_json({**rules(), "gate": []})


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
    drift = MonitorConfig.from_json(rules()).rules_of("drift")
    assert watched(("a", "horizon_days"), drift) == ["a"]
    with pytest.raises(InvalidInput, match="'horizon_days', which is no feature"):
        watched(("a",), drift)


def test_error_budgets() -> None:
    assert error_budget(0, 0, 0.99).observed is None
    budget = error_budget(1000, 5, 0.99)
    assert (budget.observed, budget.left, budget.burn) == pytest.approx((0.995, 0.5, 0.5))
    assert error_budget(1000, 20, 0.99).left == pytest.approx(-1.0)
