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
from tidegate.ports.delivery import Overview, SlotView
from tidegate.rollout.plan import Check

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform
    from tidegate.rollout.state import Rollout

Part = TypeVar("Part")
OVERRIDDEN = "OVERRIDDEN"
FIRST = "the first release of the model, with nothing to compare it with"


@dataclass(frozen=True)
class Origin:
    """How the live release came to be live: see `tidegate.ports.delivery.Overview`."""

    kind: str = ""
    note: str = ""
    since: float | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()


def model_status(platform: Platform, model: str, with_drift: bool) -> Overview:
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
    hold = part(lambda: platform.rollouts.hold(model))
    origin = origin_of(live, history) if live else Origin()
    slots = part(lambda: _slots(platform, model)) if running else None
    problems += [problem for problem in platform.target.problems() if problem not in problems]
    if not running:
        problems.append("nothing runs; start it with 'tidegate up'")
    drift, drift_note = part(lambda: _drift(platform, model, with_drift, live)) or (None, "it could not be looked at")
    features = part(lambda: platform.online_status(manifest) if manifest else None)
    due = platform.untold.due(model)
    return Overview(
        model=model,
        running=running,
        live=manifest.id if manifest else f"{model}@{live[:SHORT]}" if live else None,
        version=manifest.version if manifest else None,
        slot=str(desired.active) if desired.active else None,
        since=origin.since,
        trained_until=manifest.lineage.trained_until if manifest else None,
        evidence=origin.evidence,
        rollout=rollout_view(unfinished) if unfinished else None,
        frozen=_frozen(hold, unfinished),
        slots=slots or (),
        drift=drift,
        problem="; ".join(problems),
        origin=origin.kind,
        origin_note=origin.note,
        drift_note=drift_note,
        registry=None if due is None else {"release": due.release, "version": due.version, "at": due.at, "reason": due.reason},
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
            found.append(_overridden(rollout, gate, verdict))
        elif verdict is not None:
            found.append(verdict)
    return tuple(found)


def _overridden(rollout: Rollout, gate: str, verdict: Mapping[str, Any] | None) -> Mapping[str, Any]:
    said = rollout.overrides[gate]
    was = f"; it said {verdict['verdict']}: {verdict['evidence']['summary']}" if verdict else ""
    evidence = {"summary": f"by {said['actor']}: {said['reason']}{was}", "sample_size": 0, "findings": []}
    return {"gate": gate, "release": rollout.candidate_id, "verdict": OVERRIDDEN, "at": said["at"], "evidence": evidence}


def rollout_view(rollout: Rollout) -> dict[str, Any]:
    """A rollout for status: id, release, status, stage and since when, the latest word on it."""
    stages = [stage.kind if stage.kind != "check" else getattr(stage, "gate", "check") for stage in rollout.plan.stages]
    return {
        "id": rollout.id,
        "release": rollout.candidate_id,
        "kind": rollout.kind,
        "status": str(rollout.status),
        "stage": stages[rollout.stage] if rollout.stage < len(stages) else "end",
        "stages": stages,
        "stage_at": rollout.stage_at,
        "message": rollout.history[-1]["message"] if rollout.history else "",
        "retraining_requested": rollout.retraining_requested,
        "gates": dict(rollout.gates),
        "overrides": dict(rollout.overrides),
    }


def _damage(platform: Platform, model: str) -> list[str]:
    """Sentences about files of the model that are damaged or gone, and that something else stands in for."""
    from tidegate.rollout.wanted import look_up

    wanted = look_up(platform.state, model).problem
    return [*([wanted] if wanted else []), *platform.rollouts.damaged(model)]


def _frozen(hold: Mapping[str, Any] | None, rollout: Rollout | None) -> Mapping[str, Any] | None:
    if hold is not None:
        return {"by": hold["actor"], "reason": hold["reason"], "at": hold["at"]}
    return dict(rollout.frozen) if rollout is not None and rollout.frozen is not None else None


def _drift(platform: Platform, model: str, wanted: bool, live: str | None) -> tuple[Mapping[str, Any] | None, str]:
    if live is None:
        return None, "nothing is live"
    if not wanted:
        return None, "not looked at (--no-drift)"
    watched = platform.drift(model)
    if not watched:
        return None, "no traffic was seen yet"
    latest = watched[-1]
    return {**to_json(latest.result), "week": latest.week, "advice": latest.advice}, ""


def _slots(platform: Platform, model: str) -> tuple[SlotView, ...]:
    status, traffic = platform.target.slots(model), platform.target.traffic(model)
    views = []
    for slot in Slot:
        seen, counted = status[slot], traffic.get(slot)
        release = f"{model}@{seen.release[:SHORT]}" if seen.release else None
        completed = counted.completed if counted else None
        views.append(SlotView(str(slot), release, seen.ready, seen.wanted, completed, counted.errors_5xx if counted else None))
    return tuple(views)
