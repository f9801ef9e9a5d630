"""The engine: one persisted, idempotent step of a rollout at a time, comparing what is wanted with what is.

It may be killed between any two lines and started again: each step looks at the record and at the target, and does what
is still missing. Invariants:

- Live traffic goes to a candidate only in `Switching`, and only when every check of the plan has a PASS or a person's override.
- Forward steps are in the ledger before they are done; a way back is done first and recorded after, because harm does not
  wait for a disk. An entry may be repeated after a crash, and is never missing from what was acknowledged: what the ledger does
  not take waits (`tidegate.rollout.unrecorded`), and a record that its disk does not take is kept in memory and tried again.
- A terminal record never changes. A target that cannot be reached is asked again until the stage's deadline; a way back is
  tried without end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tidegate.domain.errors import TidegateError
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.domain.verdict import GateResult, Verdict, to_json
from tidegate.ports.gates import Evaluations, GateContext
from tidegate.ports.ledger import Ledger
from tidegate.ports.traffic import SlotTraffic, Target
from tidegate.rollout import judge
from tidegate.rollout.evaluation import Observed
from tidegate.rollout.judge import Act, Judgement, Seen
from tidegate.rollout.kept_records import KeptRecords
from tidegate.rollout.plan import Bake, Check, Finishing, Retiring, Staging, Switching
from tidegate.rollout.state import Rollout, RolloutStore, Status
from tidegate.rollout.unrecorded import Recorder

MAX_RESUMED = 10
ENDINGS = {Act.FREEZE: Status.FROZEN, Act.ROLL_BACK: Status.ROLLED_BACK, Act.ABORT: Status.ABORTED, Act.FAIL: Status.FAILED}
ReleaseSource = Callable[[str], tuple[ReleaseManifest, Path]]


@dataclass(frozen=True)
class Engine:
    """Drives one rollout, by what `tidegate.rollout.judge` makes of its evidence. `releases` gives a digest's manifest and
    folder, `finish` tells the registry what is live."""

    store: RolloutStore
    target: Target
    ledger: Ledger
    evaluations: Evaluations
    releases: ReleaseSource
    finish: Callable[[Rollout], None] = lambda _: None
    clock: Callable[[], float] = time.time

    @cached_property
    def records(self) -> KeptRecords:
        return KeptRecords(self.store)

    @cached_property
    def observed(self) -> Observed:
        return Observed(self.clock)

    @cached_property
    def recorder(self) -> Recorder:
        return Recorder(self.ledger, self.store.folder, self.clock)

    def step(self, model: str, id: str) -> Rollout:
        """Do at most one thing; returns the record as it then is. Never raises for a target that cannot be reached."""
        with self.store.lock(model):
            rollout = self.records.load(model, id)
            if rollout.status.terminal:
                return rollout
            try:
                return self._step(rollout)
            except TidegateError as error:
                return self._troubled(self.records.load(model, id), str(error))

    def settled(self, model: str, id: str) -> bool:
        """Whether everything is recorded, after trying once more to record what waits for a disk or the ledger."""
        with self.store.lock(model), suppress(TidegateError):
            self.records.load(model, id)
            self.recorder.catch_up(model)
        return not self.records.unsaved and not self.recorder.remark(model)

    def resume(self, model: str, id: str) -> Rollout:
        """To be called by whoever begins to drive a rollout: the time in which nobody did is not the release's.

        A bake goes on from what was counted, requests in between with it; a stage before it begins anew. A few times at most:
        a deadline must come although its drivers die.
        """
        with self.store.lock(model):
            rollout = self.store.load(model, id)
            watched = rollout.status in (Status.RUNNING, Status.FROZEN) and isinstance(rollout.current, Staging | Check | Bake)
            if not watched or not rollout.stage_at or rollout.undo is not None or rollout.resumed >= MAX_RESUMED:
                return rollout
            return self.records.save(rollout.taken_over(self.clock()))

    def _step(self, rollout: Rollout) -> Rollout:
        if rollout.undo is not None:
            return self._undo(rollout)
        if rollout.request is not None:
            return self._obey(rollout)
        stage = rollout.current
        if rollout.status is Status.FROZEN and not (rollout.switched and isinstance(stage, Switching | Bake)):
            return rollout  # held; live traffic goes on being watched
        if not rollout.stage_at:
            return self.store.save(replace(rollout, stage_at=self.clock()))
        match stage:
            case Staging():
                return self._stage(rollout, stage)
            case Check():
                return self._check(rollout, stage)
            case Switching():
                return self._switch(rollout, stage)
            case Bake():
                return self._bake(rollout, stage)
            case Finishing():
                return self._finish(rollout, stage)
            case Retiring():
                return self._retire(rollout, stage)
            case None:
                return self._end(rollout, Status.DONE, f"{rollout.candidate_id} is live in {rollout.plan.slot}")

    # --- stages -----------------------------------------------------------------------------------------------------

    def _stage(self, rollout: Rollout, stage: Staging) -> Rollout:
        desired = self.target.desired(rollout.model)
        if desired.active is stage.slot and desired.active_release != stage.release:
            return self._take_back(rollout, Status.FAILED, f"slot {stage.slot} became active with another release meanwhile")
        if desired.release_of(stage.slot) != stage.release:
            rollout = self._record(rollout, "rollout.stage", f"starting {rollout.candidate_id} in {stage.slot}")
            self._want(desired, **{str(stage.slot): stage.release}, mirror=False)
            return rollout
        status = self.target.slots(rollout.model)[stage.slot]
        ready = status.ready if status.release == rollout.candidate else 0
        elapsed = self._elapsed(rollout)
        judged = judge.judge_staging(stage, rollout.candidate_id, ready, status.wanted, status.problem, elapsed)
        return self._carried_out(rollout, judged)

    def _check(self, rollout: Rollout, stage: Check) -> Rollout:
        if stage.gate not in rollout.overrides:
            if problem := self._problem(rollout):
                return self._carried_out(rollout, judge.cannot_run(problem, switched=False))
            if rollout.stage_ready_at is None and self._prepare(rollout, stage):
                return self.store.save(replace(rollout, stage_ready_at=self.clock()))
        rollout, judged = self._judged(rollout, stage, stage.gate)
        return self._carried_out(rollout, judged)

    def _prepare(self, rollout: Rollout, stage: Check) -> bool:
        """Whether mirroring is as the check needs it, asking for it otherwise."""
        desired = self.target.desired(rollout.model)
        if desired.mirror != stage.mirror:
            self._want(desired, mirror=stage.mirror)
            return False
        return self.target.routed(rollout.model) == (desired.active, stage.mirror)

    def _switch(self, rollout: Rollout, stage: Switching) -> Rollout:
        checks = [each for each in rollout.plan.stages if isinstance(each, Check)]
        verdicts = {gate: result.get("verdict") for gate, result in rollout.gates.items()}
        if missing := judge.unproven(checks, verdicts, rollout.overrides):
            return self._take_back(rollout, Status.FAILED, f"gates without a PASS before the switch: {', '.join(missing)}")
        desired = self.target.desired(rollout.model)
        requested = desired.active is stage.slot
        if not requested and self._ready(rollout, stage.slot) and desired.release_of(stage.slot) == rollout.candidate:
            rollout = replace(rollout, counted_before=self._counted(rollout.model, stage.slot))
            rollout = self._record(rollout, "rollout.switch", f"switching to {stage.slot}", time="switch_requested")
            self._want(desired, active=stage.slot, mirror=False)
            return rollout
        confirmed = requested and self.target.routed(rollout.model) == (stage.slot, False)
        if confirmed:
            rollout = self._timed(rollout, "switch_confirmed")
        return self._carried_out(rollout, judge.judge_switching(stage, requested, confirmed, self._elapsed(rollout)))

    def _bake(self, rollout: Rollout, stage: Bake) -> Rollout:
        if problem := self._problem(rollout):
            return self._carried_out(rollout, judge.cannot_run(problem, switched=True))
        passed = []
        for gate in stage.gates:
            rollout, judged = self._judged(rollout, stage, gate)
            if judged.ends:
                rollout = self._carried_out(rollout, judged)
                if judged.result is not None:  # recorded after the traffic is back
                    self._append(rollout, "verdict", judged.reason, back=True, **to_json(judged.result))
                return rollout
            passed.append(judged.act is Act.PASS_ON)
        return self._advance(rollout, f"{', '.join(stage.gates)} passed on live traffic") if all(passed) else rollout

    def _judged(self, rollout: Rollout, stage: Check | Bake, gate: str) -> tuple[Rollout, Judgement]:
        """What is known of a gate now, and what it means; a verdict is kept in the record."""
        fresh, seen, override, since = False, None, None, rollout.stage_ready_at
        if isinstance(stage, Check):
            override = rollout.overrides.get(gate)
        elif since is None:
            since = rollout.times.get("switch_requested", rollout.stage_at)
        if override is None and since is not None:
            context = self._context(rollout, since, stage.deadline_seconds)
            fresh, seen = self.observed.look(self.evaluations, gate, context, stage.interval_seconds)
        held = judge.frozen_by(rollout.model, self._hold(rollout))
        known = Seen(self.clock(), rollout.stage_at, since, override=override, held=held, away=rollout.unwatched_seconds)
        if seen is not None:
            known = replace(known, result=seen.result, reached=seen.reached, running_seconds=seen.running_seconds)
        judged = judge.judge(stage, gate, rollout.candidate_id, known)
        if judged.result is not None and (fresh or judged.ends):
            rollout = self._kept(replace(rollout, watched_at=self.clock()), judged.result)
        return rollout, judged

    @staticmethod
    def _hold(rollout: Rollout) -> Mapping[str, Any] | None:
        frozen = rollout.frozen if rollout.status is Status.FROZEN else None
        return {"actor": frozen["by"], "reason": frozen["reason"]} if frozen else None

    def _carried_out(self, rollout: Rollout, judged: Judgement) -> Rollout:
        if judged.act is Act.PASS_ON:
            return self._advance(rollout, judged.reason)
        if judged.act is Act.WAIT:
            return rollout
        by = f"gate {judged.result.gate}" if judged.act is Act.FREEZE and judged.result else ""
        rollout = replace(rollout, retraining_requested=rollout.retraining_requested or judged.retraining)
        return self._take_back(rollout, ENDINGS[judged.act], judged.reason, by=by)

    def _finish(self, rollout: Rollout, stage: Finishing) -> Rollout:
        try:
            self.finish(rollout)
        except TidegateError as error:
            if self._elapsed(rollout) < stage.deadline_seconds:
                raise
            # the release is live and sound: a registry that is away must not take it back
            return self._advance(
                rollout, f"{rollout.candidate_id} is live, but the registry was not told, and will be: {error}"
            )
        return self._advance(rollout, f"{rollout.candidate_id} is recorded as live")

    def _retire(self, rollout: Rollout, stage: Retiring) -> Rollout:
        if self.clock() - rollout.stage_at < stage.keep_seconds:
            return rollout
        desired = self.target.desired(rollout.model)
        if desired.active is not stage.slot and desired.release_of(stage.slot) is not None:
            self._want(desired, **{str(stage.slot): None}, mirror=False)
            return rollout
        return self._advance(rollout, f"slot {stage.slot} is empty")

    # --- the way back -----------------------------------------------------------------------------------------------

    def _obey(self, rollout: Rollout) -> Rollout:
        order = rollout.request or {}
        said = f"{order['kind']} by {order['actor']}: {order['reason']}"
        rollout = replace(rollout, request=None)
        if order["kind"] == "freeze" and rollout.switched:
            frozen = {"by": order["actor"], "reason": order["reason"], "at": order["at"]}
            return self.records.save(replace(rollout, status=Status.FROZEN, frozen=frozen).noted(self.clock(), "frozen", said))
        if order["kind"] == "freeze":
            return self._take_back(rollout, Status.FROZEN, said, by=order["actor"], keep=True)
        return self._take_back(rollout, Status.ROLLED_BACK if rollout.switched else Status.ABORTED, said)

    def _take_back(self, rollout: Rollout, status: Status, reason: str, by: str = "", keep: bool = False) -> Rollout:
        """Decide to undo, and at once begin with the traffic: the record follows."""
        keep = keep or (status is Status.FROZEN and rollout.plan.keep_preview_when_frozen)
        rollout = replace(rollout, undo={"status": status.value, "reason": reason, "by": by, "keep": keep}, request=None)
        if rollout.switched:
            rollout = self._timed(rollout, "rollback_requested", save=False)
            try:
                self._traffic_back(rollout)
            except TidegateError as error:  # the decision stands and is recorded; the next step tries again
                rollout = rollout.noted(self.clock(), "trouble", str(error))
        rollout = self.records.save(rollout.noted(self.clock(), "undo", reason))
        self._append(rollout, "rollout.rollback" if rollout.switched else "rollout.stop", reason, back=True)
        return rollout

    def _traffic_back(self, rollout: Rollout) -> bool:
        """Whether what is wanted has no traffic for the candidate, asking for that otherwise."""
        desired, plan = self.target.desired(rollout.model), rollout.plan
        if desired.active is plan.slot and desired.active_release == rollout.candidate:
            back = plan.previous_slot if plan.previous_slot and desired.release_of(plan.previous_slot) else None
            if back is None and plan.previous_slot is not None:
                # its slot was emptied: put the previous release there again before anything else can serve
                self._want(desired, **{str(plan.previous_slot): plan.previous}, mirror=False)
            else:
                self._want(desired, active=back, mirror=False)
            return False
        if desired.mirror:
            self._want(desired, mirror=False)
            return False
        return True

    def _undo(self, rollout: Rollout) -> Rollout:
        undo, plan = rollout.undo or {}, rollout.plan
        if not self._traffic_back(rollout):
            return rollout
        desired = self.target.desired(rollout.model)
        if self.target.routed(rollout.model) != (desired.active, False):
            return rollout
        if rollout.switched and "rollback_confirmed" not in rollout.times:
            rollout = self._timed(rollout, "rollback_confirmed")
        if not undo["keep"] and desired.active is not plan.slot and desired.release_of(plan.slot) == rollout.candidate:
            self._want(desired, **{str(plan.slot): None})
            return rollout
        status = Status(undo["status"])
        if status is Status.FROZEN:
            frozen = {"by": undo["by"], "reason": undo["reason"], "at": self.clock()}
            rollout = replace(rollout, undo=None, status=status, reason=undo["reason"], frozen=frozen)
            asked = rollout.retraining_requested
            self._append(rollout, "rollout.frozen", undo["reason"], back=True, retraining_requested=asked)
            return self.records.save(rollout.noted(self.clock(), "frozen", undo["reason"]))
        return self._end(replace(rollout, undo=None), status, undo["reason"])

    # --- records ----------------------------------------------------------------------------------------------------

    def _advance(self, rollout: Rollout, message: str) -> Rollout:
        rollout = self._record(rollout, "rollout.stage_done", message)
        return self.store.save(rollout.next_stage(self.clock()))

    def _end(self, rollout: Rollout, status: Status, reason: str) -> Rollout:
        self._append(rollout, f"rollout.{status.lower()}", reason, back=status is not Status.DONE)
        ended = replace(rollout, status=status, reason=reason, ended_at=self.clock())
        return self.records.save(ended.noted(self.clock(), status.lower(), reason), back=status is not Status.DONE)

    def _record(self, rollout: Rollout, action: str, message: str, time: str = "") -> Rollout:
        self._append(rollout, action, message)
        rollout = rollout.noted(self.clock(), action.partition(".")[2], message)
        return self._timed(rollout, time) if time else self.store.save(rollout)

    def _timed(self, rollout: Rollout, name: str, save: bool = True) -> Rollout:
        rollout = replace(rollout, times={**rollout.times, name: rollout.times.get(name, self.clock())})
        return self.records.save(rollout, back=rollout.undo is not None) if save else rollout

    def _kept(self, rollout: Rollout, result: GateResult) -> Rollout:
        """Keep the result; a verdict other than the gate's last one goes into the history, a decisive one into the ledger."""
        changed = rollout.gates.get(result.gate, {}).get("verdict") != result.verdict
        value = to_json(result)
        rollout = replace(rollout, gates={**rollout.gates, result.gate: value})
        if changed:
            rollout = rollout.noted(self.clock(), "verdict", result.describe(), verdict=value)
        harmful = result.verdict in (Verdict.FAIL, Verdict.ERROR) and rollout.switched
        if changed and result.verdict is not Verdict.INCONCLUSIVE and not harmful:
            self._append(rollout, "verdict", result.describe(), back=result.verdict is not Verdict.PASS, **value)
        return rollout if harmful else self.records.save(rollout, back=result.verdict is not Verdict.PASS)

    def _troubled(self, rollout: Rollout, message: str) -> Rollout:
        """Something could not be reached: say so once, and give up only where nothing can have been harmed by it."""
        if not rollout.history or rollout.history[-1]["message"] != message:
            rollout = self.records.save(rollout.noted(self.clock(), "trouble", message))
        judged = judge.judge_silence(rollout.current, message, rollout.switched, self._elapsed(rollout))
        if rollout.undo is None and rollout.stage_at and judged.ends:
            undo = {"status": ENDINGS[judged.act].value, "reason": message, "by": "", "keep": False}
            rollout = self.records.save(replace(rollout, undo=undo))
        return rollout

    def _append(self, rollout: Rollout, action: str, message: str, *, back: bool = False, **more: Any) -> None:
        body = {"rollout": rollout.id, "slot": str(rollout.plan.slot), "message": message, **more}
        record = self.recorder.back if back or rollout.kind == "rollback" else self.recorder.forward
        record(rollout.model, action, rollout.candidate_id, body, rollout.actor)

    # --- looking ----------------------------------------------------------------------------------------------------

    def _context(self, rollout: Rollout, since: float, deadline_seconds: float) -> GateContext:
        candidate, folder = self.releases(rollout.candidate)
        active, active_folder = self.releases(rollout.plan.previous) if rollout.plan.previous else (None, None)
        away, counted = rollout.unwatched_seconds, rollout.counted_before if rollout.switched else None
        return GateContext(
            rollout.model,
            candidate,
            folder,
            rollout.plan.slot,
            active,
            active_folder,
            since,
            rollout.stage_at + away + deadline_seconds,
            unwatched_seconds=away,
            counted_before=SlotTraffic.from_json(counted) if counted else None,
        )

    def _counted(self, model: str, slot: Slot) -> dict[str, Any] | None:
        """What the gateway has counted of the slot; None where it does not tell."""
        with suppress(TidegateError):
            counted = self.target.traffic(model).get(slot)
            return counted.to_json() if counted else None
        return None

    def _want(self, desired: Desired, **changes: Slot | str | bool | None) -> None:
        values: Mapping[str, Any] = changes
        self.target.set_desired(replace(desired, **values), desired.generation)

    def _ready(self, rollout: Rollout, slot: Slot) -> bool:
        status = self.target.slots(rollout.model)[slot]
        return status.release == rollout.candidate and status.ready == status.wanted > 0

    def _problem(self, rollout: Rollout) -> str:
        """Why the candidate cannot run; "" when it may, or when nobody can tell just now."""
        try:
            return self.target.slots(rollout.model)[rollout.plan.slot].problem
        except TidegateError:
            return ""

    def _elapsed(self, rollout: Rollout) -> float:
        return self.clock() - rollout.stage_at - rollout.unwatched_seconds
