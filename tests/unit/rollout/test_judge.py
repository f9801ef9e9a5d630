"""What evidence means, as tables: the local engine and a cluster's gate service both carry these judgements out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fakes.rollouts import CONFIG
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.rollout import judge
from tidegate.rollout.judge import Act, Judgement, Seen
from tidegate.rollout.plan import Bake, Check, Finishing, Retiring, Staging, Switching

CHECK = Check("shadow", min_seconds=5, deadline_seconds=120)
DRIFT = replace(CHECK, on_fail="freeze")
BAKE = Bake(("bake",), min_seconds=12, deadline_seconds=180, evaluation_seconds=10)
EARLY, LONG_ENOUGH, LATE = 4.0, 60.0, 180.0
ADA = {"actor": "ada", "reason": "known"}
HELD = "model demand is frozen by ada: stocktaking"


def result(verdict: Verdict, kind: str = "") -> GateResult:
    return GateResult("gate", "demand@1", verdict, Evidence("as it is", 10, {"kind": kind} if kind else {}))


def judged(stage: Check | Bake, verdict: Verdict | None, now: float, kind: str = "", **more: Any) -> Judgement:
    known: dict[str, Any] = {"since": 0.0, "reached": now, **more}
    return judge.judge(stage, "gate", "demand@1", Seen(now, 0.0, result=result(verdict, kind) if verdict else None, **known))


VERDICTS = [
    # verdict, seconds after the stage began, of a check, of one that freezes, of the bake
    (Verdict.PASS, EARLY, Act.WAIT, Act.WAIT, Act.WAIT),
    (Verdict.PASS, LONG_ENOUGH, Act.PASS_ON, Act.PASS_ON, Act.PASS_ON),
    (Verdict.PASS, LATE, Act.PASS_ON, Act.PASS_ON, Act.PASS_ON),
    (Verdict.FAIL, EARLY, Act.ROLL_BACK, Act.FREEZE, Act.ROLL_BACK),
    (Verdict.FAIL, LATE, Act.ROLL_BACK, Act.FREEZE, Act.ROLL_BACK),
    (Verdict.ERROR, EARLY, Act.ABORT, Act.ABORT, Act.ROLL_BACK),
    (Verdict.ERROR, LATE, Act.ABORT, Act.ABORT, Act.ROLL_BACK),
    (Verdict.INCONCLUSIVE, LONG_ENOUGH, Act.WAIT, Act.WAIT, Act.WAIT),
    (Verdict.INCONCLUSIVE, LATE, Act.ABORT, Act.ABORT, Act.ROLL_BACK),
    (None, LONG_ENOUGH, Act.WAIT, Act.WAIT, Act.WAIT),
    (None, LATE, Act.ABORT, Act.ABORT, Act.ROLL_BACK),
]


@pytest.mark.parametrize(("verdict", "now", "check", "drift", "bake"), VERDICTS)
def test_a_verdict_means_this_at_each_stage(verdict: Verdict | None, now: float, check: Act, drift: Act, bake: Act) -> None:
    assert [judged(stage, verdict, now).act for stage in (CHECK, DRIFT, BAKE)] == [check, drift, bake]


@pytest.mark.parametrize(("verdict", "now"), [row[:2] for row in VERDICTS])
@pytest.mark.parametrize("stage", [CHECK, DRIFT, BAKE])
def test_what_ends_a_rollout_rests_on_a_verdict_that_can_be_recorded(
    stage: Check | Bake, verdict: Verdict | None, now: float
) -> None:
    found = judged(stage, verdict, now)
    if found.ends:
        assert found.result is not None
        assert found.result.verdict in (Verdict.FAIL, Verdict.ERROR)
        assert found.result.describe() in found.reason
    assert found.retraining is (found.act is Act.FREEZE)


@pytest.mark.parametrize("stage", [CHECK, BAKE])
def test_what_is_late_is_an_error_that_says_what_was_seen_last(stage: Check | Bake) -> None:
    found = judged(stage, Verdict.INCONCLUSIVE, LATE)
    wanted = f"demand@1: gate 'gate' ERROR: it did not PASS within {stage.deadline_seconds:g} s: as it is"
    assert (found.reason, found.result and found.result.verdict) == (wanted, Verdict.ERROR)
    assert judged(stage, None, LATE).reason.endswith("it never answered")
    assert judged(stage, None, LATE, since=None).reason.endswith("mirroring was not confirmed")


def test_a_fault_is_harm_even_where_drift_freezes() -> None:
    assert judged(DRIFT, Verdict.FAIL, EARLY, kind="fault").act is Act.ROLL_BACK
    assert judged(DRIFT, Verdict.FAIL, EARLY, kind="drift").act is Act.FREEZE


def test_a_pass_counts_from_the_moment_it_is_known_and_not_for_growing_old() -> None:
    assert judged(CHECK, Verdict.PASS, LONG_ENOUGH, reached=EARLY).act is Act.WAIT
    assert judged(CHECK, Verdict.PASS, LONG_ENOUGH, since=LONG_ENOUGH - EARLY).act is Act.WAIT
    assert judged(CHECK, Verdict.PASS, LATE, reached=EARLY).act is Act.ABORT
    assert judged(CHECK, Verdict.PASS, LONG_ENOUGH, since=None).act is Act.WAIT


def test_a_bake_whose_evaluation_hangs_is_not_waited_for_and_a_check_is_until_its_deadline() -> None:
    stuck = judged(BAKE, Verdict.PASS, LONG_ENOUGH, running_seconds=11)
    assert (stuck.act, stuck.result and stuck.result.verdict) == (Act.ROLL_BACK, Verdict.ERROR)
    assert "has not answered for 10 s" in stuck.reason
    assert judged(BAKE, None, LONG_ENOUGH, running_seconds=10).act is Act.WAIT
    assert judged(CHECK, None, LONG_ENOUGH, running_seconds=60).act is Act.WAIT


@pytest.mark.parametrize("verdict", [None, *Verdict])
def test_a_person_lets_a_check_be_passed_and_never_the_bake(verdict: Verdict | None) -> None:
    passed = Judgement(Act.PASS_ON, "demand@1: gate 'gate' is overridden by ada: known")
    assert judged(CHECK, verdict, EARLY, override=ADA) == passed
    assert judged(BAKE, verdict, EARLY, override=ADA).act is judged(BAKE, verdict, EARLY).act


@pytest.mark.parametrize(("verdict", "now", "check", "drift", "bake"), VERDICTS)
def test_a_freeze_lets_nothing_pass_on_gives_it_time_and_hides_no_harm(
    verdict: Verdict | None, now: float, check: Act, drift: Act, bake: Act
) -> None:
    harm = verdict in (Verdict.FAIL, Verdict.ERROR)
    for stage, act in ((CHECK, check), (DRIFT, drift), (BAKE, bake)):
        held = judged(stage, verdict, now, held=HELD)
        assert held.act is (act if harm else Act.WAIT)
        assert harm or held.reason == HELD
    assert judged(CHECK, verdict, now, held=HELD, override=ADA).act is Act.WAIT
    assert judged(BAKE, verdict, now, held=HELD, running_seconds=11).act is Act.ROLL_BACK


@pytest.mark.parametrize(
    ("ready", "problem", "elapsed", "act", "words"),
    [
        (2, "", 0, Act.PASS_ON, "all replicas of demand@1 are ready in green"),
        (2, "a replica ended", 500, Act.PASS_ON, "ready"),
        (1, "", 119, Act.WAIT, "1 of 2"),
        (1, "", 120, Act.FAIL, "1 of 2 replicas were ready after 120 s; see the slot's log"),
        (0, "model.onnx is damaged", 0, Act.FAIL, "model.onnx is damaged"),
    ],
)
def test_a_release_is_staged_once_all_are_ready(ready: int, problem: str, elapsed: float, act: Act, words: str) -> None:
    found = judge.judge_staging(Staging(Slot.GREEN, "1" * 64), "demand@1", ready, 2, problem, elapsed)
    assert (found.act, words in found.reason) == (act, True)
    assert judge.judge_staging(Staging(Slot.GREEN, "1" * 64), "demand@1", 0, 0, "", 0).act is Act.WAIT


@pytest.mark.parametrize(
    ("requested", "confirmed", "elapsed", "act", "words"),
    [
        (True, True, 99, Act.PASS_ON, "live traffic goes to green"),
        (True, False, 29, Act.WAIT, ""),
        (True, False, 30, Act.FAIL, "the proxy did not switch within 30 s"),
        (False, False, 29, Act.WAIT, ""),
        (False, False, 30, Act.FAIL, "was not ready when it was to be switched to"),
    ],
)
def test_a_switch_is_done_once_it_is_confirmed(requested: bool, confirmed: bool, elapsed: float, act: Act, words: str) -> None:
    found = judge.judge_switching(Switching(Slot.GREEN), requested, confirmed, elapsed)
    assert (found.act, words in found.reason) == (act, True)


@pytest.mark.parametrize(
    ("stage", "switched", "elapsed", "act"),
    [
        (CHECK, False, 239, Act.WAIT),
        (CHECK, False, 240, Act.FAIL),
        (BAKE, True, 359, Act.WAIT),
        (BAKE, True, 360, Act.ROLL_BACK),
        (Finishing(), True, 120, Act.ROLL_BACK),
        (Retiring(Slot.BLUE), True, 1e9, Act.WAIT),
        (None, True, 1e9, Act.WAIT),
    ],
)
def test_a_silent_target_is_asked_again_for_two_deadlines(stage: Any, switched: bool, elapsed: float, act: Act) -> None:
    assert judge.judge_silence(stage, "away", switched, elapsed).act is act


def test_a_release_that_cannot_run_fails_before_the_switch_and_is_rolled_back_after_it() -> None:
    assert [judge.cannot_run("damaged", switched).act for switched in (False, True)] == [Act.FAIL, Act.ROLL_BACK]


def test_nothing_is_switched_to_with_a_check_that_neither_passed_nor_was_overridden() -> None:
    checks = CONFIG.checks
    verdicts = {"parity": "PASS", "shadow": "INCONCLUSIVE"}
    assert judge.unproven(checks, verdicts, {}) == ["shadow", "drift"]
    assert judge.unproven(checks, verdicts, {"drift": ADA}) == ["shadow"]
    assert judge.unproven(checks, dict.fromkeys(("parity", "shadow", "drift"), "PASS"), {}) == []


@pytest.mark.parametrize(
    ("asked", "switched", "missing"),
    [
        (("parity", "shadow", "drift"), False, ""),
        (("parity", "shadow", "drift"), True, "bake"),
        (("bake",), True, ""),
        (("parity",), False, "shadow, drift"),
        ((), False, "parity, shadow, drift"),
    ],
)
def test_who_leaves_out_a_gate_of_the_plan_must_not_go_on(asked: tuple[str, ...], switched: bool, missing: str) -> None:
    said = judge.unasked(CONFIG, asked, switched)
    assert f"also has {missing};" in said if missing else not said
    assert judge.refusal(BAKE if switched else CHECK, "gate", "demand@1", said).ends
