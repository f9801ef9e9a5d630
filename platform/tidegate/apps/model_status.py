"""One model at a glance: what is live and how it came to be, on what evidence, what is under way, and what is wrong.

Each part is looked at by itself: one that cannot be read is a problem that is named, and does not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tidegate.domain.errors import TidegateError
from tidegate.domain.release import SHORT
from tidegate.domain.slots import Desired, Slot
from tidegate.domain.verdict import to_json
from tidegate.ports.delivery import FROZEN, RolloutView, SlotView, Standing
from tidegate.rollout.admission import overridden
from tidegate.rollout.plan import Check

if TYPE_CHECKING:
    from tidegate.apps.project_evidence import ProjectEvidence
    from tidegate.rollout.state import Rollout

Part = TypeVar("Part")
FIRST = "the first release of the model, with nothing to compare it with"


@dataclass(frozen=True)
class Origin:
    """How the live release came to be live: see `tidegate.ports.delivery.Standing`."""

    kind: str = ""
    note: str = ""
    since: float | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()


def model_status(platform: ProjectEvidence, model: str, with_drift: bool) -> Standing:
    problems: list[str] = []

    def part(look: Callable[[], Part]) -> Part | None:
        try:
            return look()
        except TidegateError as error:
            if str(error) not in problems:
                problems.append(str(error))
            return None

    desired = part(lambda: platform.target.desired(model)) or Desired(model)
    problems += part(lambda: _damage(platform, model)) or ()
    live = desired.active_release
    manifest = part(lambda: platform.release(live) if live else None)
    running = platform.is_up()
    history = part(lambda: platform.rollouts.all(model)) or []
    unfinished = part(lambda: platform.rollouts.unfinished(model))
    latest = unfinished or (history[-1] if history else None)
    hold = part(lambda: platform.rollouts.hold(model))
    origin = origin_of(live, history) if live else Origin()
    slots = part(lambda: _slots(platform, model)) if running else None
    problems += [problem for problem in platform.target.problems() if problem not in problems]
    if not running:  # who runs looks at its releases by itself
        part(lambda: platform.startable(manifest) if manifest else None)
        problems.append("nothing runs; start it with 'tidegate up'")
    elif other := part(platform.started_otherwise):
        problems.append(f"{other}, or use what it was started with")
    problems += part(lambda: platform.schedule_problems(model)) or ()
    drift, drift_note = part(lambda: _drift(platform, model, with_drift, live)) or (None, "it could not be looked at")
    features = part(lambda: platform.online_status(manifest) if manifest else None)
    return Standing(
        model=model,
        running=running,
        live=manifest.id if manifest else f"{model}@{live[:SHORT]}" if live else None,
        version=manifest.version if manifest else None,
        slot=str(desired.active) if desired.active else None,
        since=origin.since,
        trained_until=manifest.lineage.trained_until if manifest else None,
        evidence=origin.evidence,
        rollout=rollout_view(latest) if latest else None,
        frozen=_frozen(hold, unfinished),
        slots=slots or (),
        drift=drift,
        problem="; ".join(problems),
        origin=origin.kind,
        origin_note=origin.note,
        drift_note=drift_note,
        registry=_due(platform, model),
        ledger=tuple(platform.ledger_remarks(model)),
        features=features,
    )


def origin_of(live: str, history: Sequence[Rollout]) -> Origin:
    """How release `live` (a digest) came to be live; `history` is oldest first."""
    passed = next((r for r in reversed(history) if r.candidate == live and r.kind != "rollback" and r.switched), None)
    evidence = evidence_of(passed) if passed else ()
    first = f"; it was {FIRST}" if passed and passed.plan.previous is None else ""
    for rollout in reversed(history):
        if rollout.candidate == live and rollout.switched and "rollback_requested" not in rollout.times:
            since = rollout.times.get("switch_confirmed", rollout.times["switch_requested"])
            if rollout.kind == "rollback":
                why = rollout.history[0]["message"] if rollout.history else ""
                return Origin("rollback", f"gone back to by {rollout.actor.name}: {why}{first}", since, evidence)
            if rollout.plan.previous is None:
                return Origin("first", FIRST, since, evidence)
            return Origin("rollout", f"rollout {rollout.id}", since, evidence)
        if rollout.plan.previous == live and "rollback_confirmed" in rollout.times:
            note = f"came back when {rollout.candidate_id} was taken back: {rollout.reason or 'under way'}{first}"
            return Origin("returned", note, rollout.times["rollback_confirmed"], evidence)
    return Origin(evidence=evidence)


def evidence_of(rollout: Rollout) -> tuple[Mapping[str, Any], ...]:
    """What let the rollout past each of its gates: the latest verdict, or a person's override, in the plan's order."""
    gates = [stage.gate for stage in rollout.plan.stages if isinstance(stage, Check)]
    gates += [gate for gate in (*rollout.overrides, *rollout.gates) if gate not in gates]
    found = []
    for gate in dict.fromkeys(gates):
        verdict = rollout.gates.get(gate)
        if gate in rollout.overrides:
            found.append(overridden(gate, rollout.candidate_id, rollout.overrides[gate], verdict))
        elif verdict is not None:
            found.append(verdict)
    return tuple(found)


def standing_of(platform: ProjectEvidence, rollout: Rollout) -> Standing:
    """A rollout, and what is live beside it; nothing else is looked at."""
    model = rollout.model
    live = platform.target.desired(model).active_release
    return Standing(
        model=model,
        live=f"{model}@{live[:SHORT]}" if live else None,
        rollout=rollout_view(rollout),
        frozen=_frozen(platform.rollouts.hold(model), rollout),
        registry=_due(platform, model),
    )


def rollout_view(rollout: Rollout) -> RolloutView:
    stages = tuple(stage.kind if stage.kind != "check" else getattr(stage, "gate", "check") for stage in rollout.plan.stages)
    message = str(rollout.history[-1]["message"]) if rollout.history else ""
    return RolloutView(
        release=rollout.candidate_id,
        status=str(rollout.status),
        reason=rollout.reason or message,
        id=rollout.id,
        kind=rollout.kind,
        slot=str(rollout.plan.slot),
        previous=f"{rollout.model}@{rollout.plan.previous[:SHORT]}" if rollout.plan.previous else None,
        stage=stages[rollout.stage] if rollout.stage < len(stages) else "end",
        stages=stages,
        stage_at=rollout.stage_at,
        message=message,
        gates=evidence_of(rollout),
        overrides=dict(rollout.overrides),
        retraining_requested=rollout.retraining_requested,
        next_steps=_next_steps(rollout),
        history=rollout.history,
    )


def _next_steps(found: Rollout) -> tuple[str, ...]:
    """What a person can do about a rollout that waits for one."""
    if found.status != FROZEN or found.undo or found.request:
        return ()
    by = str((found.frozen or {}).get("by", ""))
    gate = by.removeprefix("gate ") if by.startswith("gate ") else ""
    past = f"'tidegate rollout override {found.model} {gate} --reason TEXT' lets it past that gate, " if gate else ""
    return (
        f"it is frozen by {by or 'a gate'}: {past}'tidegate unfreeze {found.model} --reason TEXT' lets it go on, "
        f"'tidegate rollout abort {found.model} --reason TEXT' ends it",
    )


def _due(platform: ProjectEvidence, model: str) -> Mapping[str, Any] | None:
    due = platform.pending.due(model)
    return None if due is None else {"release": due.release, "version": due.version, "at": due.at, "reason": due.reason}


def _damage(platform: ProjectEvidence, model: str) -> list[str]:
    """Sentences about files of the model that are damaged or gone, and that something else stands in for."""
    from tidegate.rollout.wanted import look_up

    wanted = look_up(platform.state, model).problem
    return [*([wanted] if wanted else []), *platform.rollouts.damaged(model)]


def _frozen(hold: Mapping[str, Any] | None, rollout: Rollout | None) -> Mapping[str, Any] | None:
    if hold is not None:
        return {"by": hold["actor"], "reason": hold["reason"], "at": hold["at"]}
    return dict(rollout.frozen) if rollout is not None and rollout.frozen is not None else None


def _drift(platform: ProjectEvidence, model: str, wanted: bool, live: str | None) -> tuple[Mapping[str, Any] | None, str]:
    if live is None:
        return None, "nothing is live"
    if not wanted:
        return None, "not looked at (--no-drift)"
    watched = platform.drift(model)
    if not watched:
        return None, "no traffic was seen yet"
    latest = watched[-1]
    return {**to_json(latest.result), "window": latest.window, "advice": latest.advice}, ""


def _slots(platform: ProjectEvidence, model: str) -> tuple[SlotView, ...]:
    status, traffic = platform.target.slots(model), platform.target.traffic(model)
    views = []
    for slot in Slot:
        seen, counted = status[slot], traffic.get(slot)
        release = f"{model}@{seen.release[:SHORT]}" if seen.release else None
        completed = counted.completed if counted else None
        views.append(SlotView(str(slot), release, seen.ready, seen.wanted, completed, counted.errors_5xx if counted else None))
    return tuple(views)
