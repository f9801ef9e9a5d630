"""What people order: start a rollout, abort, freeze, unfreeze, override a gate, go back to the previous release.

An order is in the ledger, with its person and reason, before it is acknowledged; where the ledger takes nothing, a way back
(abort, freeze, rollback) is ordered all the same, and recorded later (`tidegate.rollout.unrecorded`). Orders about a running
rollout are left in its record; the engine executes them at its next step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tidegate.domain.actor import Actor, named
from tidegate.domain.errors import Conflict, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.ports.ledger import Ledger
from tidegate.ports.traffic import Target
from tidegate.rollout.admission import refuse_while_held, require_overridable, require_reason
from tidegate.rollout.past import Past, past
from tidegate.rollout.plan import Plan, RolloutConfig, plan, plan_rollback
from tidegate.rollout.rollback_target import rollback_target
from tidegate.rollout.state import Json, Rollout, RolloutStore, Status
from tidegate.rollout.unrecorded import Recorder


@dataclass(frozen=True)
class Orders:
    """`actor` is who orders."""

    store: RolloutStore
    target: Target
    ledger: Ledger
    actor: Actor
    clock: Callable[[], float] = time.time

    @cached_property
    def recorder(self) -> Recorder:
        return Recorder(self.ledger, self.store.folder, self.clock)

    def plan(self, candidate: ReleaseManifest, config: RolloutConfig) -> Plan:
        """What `start` would do; changes nothing."""
        return plan(candidate.model, candidate.digest, self.target.desired(candidate.model), config)

    def start(
        self, candidate: ReleaseManifest, config: RolloutConfig, overrides: Mapping[str, str] | None = None
    ) -> Rollout | None:
        """Record a new rollout, which a controller then drives; None when the release is active already.

        The same release being rolled out already is joined, and its overrides are added to. `overrides` gives a reason by
        gate. A rollout that a gate froze is superseded: by the same release with the overrides that it had, which are stated.
        Raises Conflict while another one runs or a person's freeze holds the model.
        """
        model, given = candidate.model, overrides or {}
        with self.store.lock(model):
            running = self.store.unfinished(model)
            if running is not None and running.status is Status.RUNNING and running.candidate == candidate.digest:
                for gate, reason in given.items():
                    if gate not in running.overrides:
                        running = self._override(running, gate, reason)
                return running
            refuse_while_held(candidate.id, model, self.store.hold(model))
            self.store.refuse_damaged(model)
            made = plan(model, candidate.digest, self.target.desired(model), config)
            if made.nothing_to_do and running is None:
                return None
            require_overridable(made, given)
            said, notes = self._said(given), []
            if running is not None and running.status is Status.FROZEN and not running.switched:
                self._supersede(running, candidate.id, "rollout")
                for gate, before in running.overrides.items():
                    kept = running.candidate == candidate.digest and gate not in given
                    said |= {gate: before} if kept else {}
                    what = "stays" if kept else "was replaced" if gate in given else f"was for {running.candidate_id} alone"
                    notes.append(f"the override of gate {gate} by {before['actor']} ({before['reason']}) {what}")
            return self._add(candidate, made, "rollout", f"rollout of {candidate.id}", said, notes)

    def rollback(
        self,
        model: str,
        reason: str,
        releases: Callable[[str], ReleaseManifest],
        config: RolloutConfig,
        to: str | None = None,
    ) -> Rollout:
        """Go back to the last good release before the active one, or to release `to` (a digest) that was live once: by
        aborting a rollout that switched, else by a rollout to it. A rollback that is under way is joined."""
        require_reason(reason)
        with self.store.lock(model):
            running = self.store.unfinished(model)
            if running is not None and running.kind == "rollback" and running.status is Status.RUNNING:
                if to not in (None, running.candidate):
                    raise Conflict(f"rolling back model {model}: the rollback to {running.candidate_id} is under way")
                return running
            if running is not None and running.switched:
                if to not in (None, running.plan.previous):
                    raise Conflict(
                        f"rolling back model {model}: rollout {running.id} is under way, and its end goes back to "
                        f"{(running.plan.previous or 'nothing')[:12]}; roll back without --to first"
                    )
                return self._ordered(running, "abort", reason)
            if running is not None and running.status is Status.RUNNING:
                raise Conflict(
                    f"rolling back model {model}: rollout {running.id} has not switched yet; end it with "
                    f"'tidegate rollout abort {model} --reason TEXT'"
                )
            desired = self.target.desired(model)
            previous = self._rollback_target(model, desired.active_release, to)
            manifest = releases(previous)
            if running is not None:
                self._supersede(running, f"a rollback to {previous[:12]}", "rollback")
            made = plan_rollback(model, manifest.digest, desired, config)
            return self._add(manifest, made, "rollback", reason, {})

    def goes_back_to(self, model: str, to: str | None = None) -> str | None:
        """The release (digest) that `rollback` would go back to; changes nothing."""
        running = self.store.unfinished(model)
        if running is not None and running.kind == "rollback" and running.status is Status.RUNNING:
            return running.candidate
        if running is not None and running.switched:
            return running.plan.previous
        return self._rollback_target(model, self.target.desired(model).active_release, to)

    def _rollback_target(self, model: str, active: str | None, to: str | None) -> str:
        try:
            history = past(self.store, self.ledger, model)
        except Conflict:
            if to is None:
                raise
            history = [Past.of(rollout) for rollout in self.store.all(model)]  # a person names it
        return rollback_target(model, history, active, to)

    def abort(self, model: str, reason: str) -> Rollout:
        return self._order(model, self._unfinished(model).id, "abort", reason)

    def freeze(self, model: str, reason: str) -> None:
        """Hold the model: nothing moves forward until unfrozen. A release that has live traffic goes on being watched."""
        require_reason(reason)
        hold = {"kind": "freeze", **named(self.actor), "reason": reason, "at": self.clock()}
        with self.store.lock(model):
            self.store.set_hold(model, hold)
            running = self.store.unfinished(model)
            if running is not None and running.status is Status.RUNNING:
                self.store.ordered(replace(running, request=hold))
            self.recorder.back(model, "freeze", model, hold, self.actor)

    def unfreeze(self, model: str, reason: str) -> Rollout | None:
        """Let go; a frozen rollout goes on, from its beginning if it had not switched yet. Raises Conflict if not frozen."""
        require_reason(reason)
        with self.store.lock(model):
            running = self.store.unfinished(model)
            frozen = running if running is not None and running.status is Status.FROZEN else None
            if self.store.hold(model) is None and frozen is None:
                raise Conflict(f"unfreezing model {model}: it is not frozen")
            self.recorder.forward(model, "unfreeze", model, {"reason": reason}, self.actor)
            self.store.set_hold(model, None)
            if frozen is None:
                if running is not None and (running.request or {}).get("kind") == "freeze":  # not carried out yet
                    self.store.save(replace(running, request=None))
                return None
            return self._go_on(frozen, f"unfrozen by {self.actor.name}: {reason}")

    def override(self, model: str, gate: str, reason: str) -> Rollout:
        """Let a rollout pass a gate before the switch on a person's word. The gates of the bake cannot be overridden.

        A rollout that this very gate froze goes on, from its beginning; one that a person froze stays so until unfrozen.
        """
        with self.store.lock(model):
            running = self._unfinished(model)
            require_overridable(running.plan, {gate: reason})
            running = self._override(running, gate, reason)
            by_gate = running.status is Status.FROZEN and (running.frozen or {}).get("by") == f"gate {gate}"
            if not by_gate or self.store.hold(model) is not None:
                return running
            return self._go_on(running, f"gate {gate}, which froze it, is overridden by {self.actor.name}: it goes on")

    def _override(self, running: Rollout, gate: str, reason: str) -> Rollout:
        require_overridable(running.plan, {gate: reason})
        said = self._said({gate: reason})
        body = {"gate": gate, "rollout": running.id, **said[gate]}
        self.recorder.forward(running.model, "override", running.candidate_id, body, self.actor)
        running = replace(running, overrides={**running.overrides, **said})
        return self.store.save(running.noted(self.clock(), "override", f"gate {gate}: {self.actor.name}: {reason}"))

    def _go_on(self, frozen: Rollout, message: str) -> Rollout:
        going = replace(frozen, status=Status.RUNNING, frozen=None)
        if not frozen.switched:  # what was proven may no longer hold
            going = replace(going, stage=0, stage_at=0.0, stage_ready_at=None, gates={}, reason="")
        elif frozen.frozen and frozen.stage_at:  # the time of a freeze is not the stage's
            going = replace(going, stage_at=frozen.stage_at + max(0.0, self.clock() - float(frozen.frozen["at"])))
        return self.store.save(going.noted(self.clock(), "unfrozen", message))

    def _order(self, model: str, id: str, kind: str, reason: str) -> Rollout:
        require_reason(reason)
        with self.store.lock(model):
            return self._ordered(self.store.load(model, id), kind, reason)

    def _ordered(self, running: Rollout, kind: str, reason: str) -> Rollout:
        if running.status.terminal:
            raise Conflict(f"{kind} of rollout {running.id}: it is {running.status} already")
        order = {"kind": kind, **named(self.actor), "reason": reason, "at": self.clock()}
        ordered = self.store.ordered(replace(running, request=order))
        body = {"rollout": running.id, **order}
        self.recorder.back(running.model, f"rollout.{kind}_ordered", running.candidate_id, body, self.actor)
        return ordered

    def _said(self, overrides: Mapping[str, str]) -> dict[str, Json]:
        now = self.clock()
        return {gate: {**named(self.actor), "reason": why, "at": now} for gate, why in overrides.items()}

    def _add(
        self,
        candidate: ReleaseManifest,
        made: Plan,
        kind: str,
        reason: str,
        overrides: Mapping[str, Json],
        notes: Sequence[str] = (),
    ) -> Rollout:
        now = self.clock()
        id = self.store.new_id(candidate.model, candidate.digest, now)
        rollout = Rollout(id, candidate.model, candidate.digest, candidate.id, made, now, self.actor, kind, overrides=overrides)
        rollout = replace(rollout, sequence=self.store.next_sequence(candidate.model))
        self.store.refuse_second(rollout)
        body = {"rollout": id, "kind": kind, "reason": reason, "plan": made.describe(), "overrides": dict(overrides)}
        body |= {"previous": made.previous} if made.previous else {}
        body |= {"notes": list(notes)} if notes else {}
        self._record(kind, candidate.model, "rollout.start", candidate.id, body)
        rollout = rollout.noted(now, "start", reason)
        for note in notes:
            rollout = rollout.noted(now, "override", note)
        return self.store.ordered(rollout) if kind == "rollback" else self.store.save(rollout)

    def _record(self, kind: str, model: str, action: str, subject: str, body: dict[str, Any]) -> None:
        record = self.recorder.back if kind == "rollback" else self.recorder.forward
        record(model, action, subject, body, self.actor)

    def _supersede(self, frozen: Rollout, by: str, kind: str) -> None:
        why = f"superseded by {by}"
        self._record(kind, frozen.model, "rollout.aborted", frozen.candidate_id, {"rollout": frozen.id, "message": why})
        ended = replace(frozen, status=Status.ABORTED, reason=f"{frozen.reason}; {why}", ended_at=self.clock())
        self.store.save(ended.noted(self.clock(), "aborted", why))

    def _unfinished(self, model: str) -> Rollout:
        running = self.store.unfinished(model)
        if running is None:
            raise NotFound(f"model {model} has no rollout under way; start one with 'tidegate rollout {model}'")
        return running
