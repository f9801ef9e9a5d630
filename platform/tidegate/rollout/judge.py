"""What the evidence of a stage means: the one place that decides it, for the local engine and for a cluster's gate service.

Pure functions of a stage of the plan and of what is known of it now. Closed: nothing but a PASS that was reached after the
stage's least time, or a person's override of a check, lets a release pass on. What is late, stuck or out of reach is never
waited for without end. A person's freeze lets nothing pass on and gives it time; it hides no harm.

| seen                                              | before the switch       | once clients reach it |
|---------------------------------------------------|-------------------------|-----------------------|
| PASS after the stage's least time, or an override | passes on               | passes on             |
| FAIL                                              | rolled back             | rolled back           |
| FAIL of a check whose `on_fail` is `freeze`       | frozen, and retraining  |                       |
| ... that found a fault in its inputs              | rolled back             |                       |
| ERROR, no PASS in time, no answer to the bake     | aborted                 | rolled back           |
| the candidate cannot run, the target is silent    | failed                  | rolled back           |

A bake is not overridden. Who carries a judgement out differs: the engine by its record, the service by its answer to Argo
Rollouts, which knows no frozen rollout and gives a release up whatever the judgement against it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.rollout.plan import Bake, Check, RolloutConfig, Stage, Staging, Switching

FAULT = "fault"  # units or scale: harm, however the drift of the gate's inputs is treated
PATIENCE = 2  # deadlines of a stage for which a silent target is asked again


class Act(StrEnum):
    PASS_ON = "pass on"  # noqa: S105 (no password)
    WAIT = "wait"
    FREEZE = "freeze"
    ROLL_BACK = "roll back"
    ABORT = "abort"  # nothing was shown, for the release or against it
    FAIL = "fail"  # the release cannot run


@dataclass(frozen=True)
class Seen:
    """What is known of one gate at a stage. Times are of one clock.

    `began` is the stage's, `since` when the traffic that counts began, None while it has not. `result` is the latest of this
    stage, known at `reached`; `running_seconds` the age of the evaluation under way. `override` is a person's (actor, reason),
    `held` why nothing may pass on (`frozen_by`). In `away` seconds since then nobody watched: no time of the stage.
    """

    now: float
    began: float
    since: float | None
    result: GateResult | None = None
    reached: float = 0.0
    running_seconds: float = 0.0
    override: Mapping[str, Any] | None = None
    held: str = ""
    away: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """`result` is the verdict that it rests on, None where there is none."""

    act: Act
    reason: str
    result: GateResult | None = None
    retraining: bool = False

    @property
    def ends(self) -> bool:
        """Whether the rollout is given up."""
        return self.act not in (Act.PASS_ON, Act.WAIT)


def judge(stage: Check | Bake, gate: str, release: str, seen: Seen) -> Judgement:
    """What is known of `gate` means for `release` (its id) at this stage."""
    if isinstance(stage, Check) and seen.override is not None:
        said = f"{release}: gate '{gate}' is overridden by {seen.override['actor']}: {seen.override['reason']}"
        return Judgement(Act.WAIT, seen.held) if seen.held else Judgement(Act.PASS_ON, said)
    result = seen.result
    if result is not None and result.verdict in (Verdict.FAIL, Verdict.ERROR):
        return _against(stage, result)
    if isinstance(stage, Bake) and seen.running_seconds > stage.evaluation_seconds:
        why = f"it has not answered for {stage.evaluation_seconds:g} s, and what is not watched is not served"
        return _against(stage, _error(gate, release, why))
    if seen.held:
        return Judgement(Act.WAIT, seen.held, result)
    if result is not None and result.verdict.opens and _long_enough(stage, seen):
        return Judgement(Act.PASS_ON, result.describe(), result)
    if seen.now - seen.began - seen.away >= stage.deadline_seconds:
        why = f"it did not PASS within {stage.deadline_seconds:g} s: {_last_word(seen)}"
        return _against(stage, _error(gate, release, why))
    return Judgement(Act.WAIT, _open(seen), result)


def judge_staging(stage: Staging, release: str, ready: int, wanted: int, problem: str, elapsed: float) -> Judgement:
    """`problem` is why the release cannot run, "" as long as it may."""
    if ready == wanted > 0:
        return Judgement(Act.PASS_ON, f"all replicas of {release} are ready in {stage.slot}")
    if problem:
        return cannot_run(problem, switched=False)
    if elapsed >= stage.deadline_seconds:
        seen = f"{ready} of {wanted} replicas were ready after {stage.deadline_seconds:g} s"
        return Judgement(Act.FAIL, f"{seen}; see the slot's log")
    return Judgement(Act.WAIT, f"{ready} of {wanted} replicas of {release} are ready")


def judge_switching(stage: Switching, requested: bool, confirmed: bool, elapsed: float) -> Judgement:
    """`requested` says whether the switch was, `confirmed` whether the proxy routes live traffic to the slot."""
    if confirmed:
        return Judgement(Act.PASS_ON, f"live traffic goes to {stage.slot}")
    if elapsed < stage.deadline_seconds:
        return Judgement(Act.WAIT, f"live traffic does not go to {stage.slot} yet")
    if not requested:
        return Judgement(Act.FAIL, f"slot {stage.slot} was not ready when it was to be switched to")
    return Judgement(Act.FAIL, f"the proxy did not switch within {stage.deadline_seconds:g} s")


def cannot_run(problem: str, switched: bool) -> Judgement:
    """The candidate cannot run, or a stage could not be gone on with."""
    return Judgement(Act.ROLL_BACK if switched else Act.FAIL, problem)


def judge_silence(stage: Stage | None, problem: str, switched: bool, elapsed: float) -> Judgement:
    """A target that cannot be reached is asked again for a while; a stage without a deadline is never given up for it."""
    deadline = getattr(stage, "deadline_seconds", None)
    if deadline is None or elapsed < PATIENCE * deadline:
        return Judgement(Act.WAIT, problem)
    return cannot_run(problem, switched)


def unproven(checks: Sequence[Check], verdicts: Mapping[str, str | None], overridden: Mapping[str, Any]) -> list[str]:
    """Checks that neither a PASS nor a person's override has opened: while there is one, nothing is switched."""
    return [each.gate for each in checks if each.gate not in overridden and verdicts.get(each.gate) != Verdict.PASS]


def unasked(plan: RolloutConfig, asked: Sequence[str], switched: bool) -> str:
    """Why an engine that asks for the verdicts of the gates `asked` must not go on; "" where it asks for all of the plan's."""
    missing = [gate for gate in (plan.gates_after if switched else plan.gates_before) if gate not in asked]
    if not missing:
        return ""
    return (
        f"the cluster's analysis asks for {', '.join(asked) or 'no gate that only a PASS opens'}, but the plan of "
        f"the release also has {', '.join(missing)}; apply the model's chart with all of them, as 'tidegate rollout' does"
    )


def refusal(stage: Check | Bake, gate: str, release: str, why: str) -> Judgement:
    """The gate cannot be judged."""
    return _against(stage, _error(gate, release, why))


def frozen_by(model: str, hold: Mapping[str, Any] | None) -> str:
    """Why a person's freeze lets nothing pass on; "" without one."""
    return f"model {model} is frozen by {hold['actor']}: {hold['reason']}" if hold is not None else ""


def _against(stage: Check | Bake, result: GateResult) -> Judgement:
    if isinstance(stage, Bake):
        return Judgement(Act.ROLL_BACK, result.describe(), result)
    if result.verdict is Verdict.ERROR:
        return Judgement(Act.ABORT, result.describe(), result)
    if stage.on_fail == "freeze" and result.evidence.numbers.get("kind") != FAULT:
        return Judgement(Act.FREEZE, f"{result.describe()}; retraining is requested", result, retraining=True)
    return Judgement(Act.ROLL_BACK, result.describe(), result)


def _long_enough(stage: Check | Bake, seen: Seen) -> bool:
    return seen.since is not None and seen.reached - seen.since - seen.away >= stage.min_seconds


def _last_word(seen: Seen) -> str:
    if seen.since is None:
        return "mirroring was not confirmed"
    return seen.result.evidence.summary if seen.result is not None else "it never answered"


def _open(seen: Seen) -> str:
    if seen.since is None:
        return "live traffic is not mirrored to it yet"
    return seen.result.evidence.summary if seen.result is not None else "it is being evaluated"


def _error(gate: str, release: str, summary: str) -> GateResult:
    return GateResult(gate, release, Verdict.ERROR, Evidence(summary))
