import json

import pytest

from fakes.rollouts import CONFIG
from tidegate.domain.errors import Conflict, InvalidInput
from tidegate.domain.slots import Desired, Slot
from tidegate.rollout.plan import Bake, Check, Plan, Retiring, RolloutConfig, Staging, Switching, plan, plan_rollback
from tidegate.rollout.state import UNDER_WAY

LIVE = Desired("demand", blue="1" * 64, active=Slot.BLUE, generation=3)


def test_the_first_release_is_staged_and_switched_to() -> None:
    made = plan("demand", "2" * 64, Desired("demand"), CONFIG)
    assert [stage.kind for stage in made.stages] == ["stage", "switch", "finish"]
    assert (made.slot, made.previous) == (Slot.BLUE, None)


def test_a_candidate_goes_to_the_other_slot_behind_every_gate() -> None:
    made = plan("demand", "2" * 64, LIVE, CONFIG)
    assert [stage.kind for stage in made.stages] == ["stage", "check", "check", "check", "switch", "bake", "finish", "retire"]
    assert made.stages[0] == Staging(Slot.GREEN, "2" * 64, CONFIG.ready_seconds)
    assert [stage.gate for stage in made.stages if isinstance(stage, Check)] == ["parity", "shadow", "drift"]
    assert made.stages[4:6] == (Switching(Slot.GREEN), Bake(("bake",)))
    assert made.stages[-1] == Retiring(Slot.BLUE)
    assert made.previous == "1" * 64


def test_what_is_active_needs_nothing() -> None:
    made = plan("demand", "1" * 64, LIVE, CONFIG)
    assert made.nothing_to_do
    assert "nothing to do" in made.describe()[0]


def test_a_way_back_asks_no_gate() -> None:
    made = plan_rollback("demand", "0" * 64, LIVE, CONFIG)
    assert [stage.kind for stage in made.stages] == ["stage", "switch", "finish", "retire"]
    with pytest.raises(Conflict):
        plan_rollback("demand", "0" * 64, Desired("demand"), CONFIG)


def test_a_plan_survives_json_and_is_described_stage_by_stage() -> None:
    made = plan("demand", "2" * 64, LIVE, CONFIG)
    assert Plan.of(UNDER_WAY, json.loads(json.dumps(made.to_json())), "test") == made
    assert len(made.describe()) == len(made.stages)


def test_a_gate_fails_into_rollback_or_freeze_only() -> None:
    with pytest.raises(InvalidInput, match="on_fail is 'ignore'"):
        RolloutConfig((Check("drift", on_fail="ignore"),), None)
