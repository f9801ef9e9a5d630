"""What people order: start a rollout, abort, freeze, unfreeze, override a gate, go back to the previous release.

An order is in the ledger, with its person and reason, before it is acknowledged. Orders about a running rollout are left in
its record; the engine executes them at its next step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tidegate.domain.errors import Conflict, InvalidInput, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.ports.ledger import Ledger
from tidegate.ports.traffic import Target
from tidegate.rollout.plan import Check, Plan, RolloutConfig, plan, plan_rollback
from tidegate.rollout.state import Rollout, RolloutStore, Status


@dataclass(frozen=True)
class Orders:
    """`actor` is who orders."""

    store: RolloutStore
    target: Target
    ledger: Ledger
    actor: str
    clock: Callable[[], float] = time.time

    def plan(self, candidate: ReleaseManifest, config: RolloutConfig) -> Plan:
        """What `start` would do; changes nothing."""
        return plan(candidate.model, candidate.digest, self.target.desired(candidate.model), config)

    def start(
        self, candidate: ReleaseManifest, config: RolloutConfig, overrides: Mapping[str, str] | None = None
    ) -> Rollout | None:
        """Record a new rollout, which a controller then drives; None when the release is active already.

        The same release being rolled out already is joined. `overrides` gives a reason by gate. A rollout that a gate
        froze is superseded. Raises Conflict while another one runs or a person's freeze holds the model.
        """
        model = candidate.model
        with self.store.lock(model):
            running = self.store.unfinished(model)
            if running is not None and running.status is Status.RUNNING and running.candidate == candidate.digest:
                return running
            self._check_hold(model, candidate)
            self.store.refuse_damaged(model)
            made = plan(model, candidate.digest, self.target.desired(model), config)
            if made.nothing_to_do and running is None:
                return None
            self._check_overrides(made, overrides or {})
            if running is not None and running.status is Status.FROZEN and not running.switched:
                self._supersede(running, candidate.id)
            return self._add(candidate, made, "rollout", f"rollout of {candidate.id}", overrides or {})

    def rollback(self, model: str, reason: str, releases: Callable[[str], ReleaseManifest], config: RolloutConfig) -> Rollout:
        """Go back to the release before the active one: by aborting a rollout that switched, else by a rollout to it."""
        running = self.store.unfinished(model)
        if running is not None and running.switched:
            return self._order(model, running.id, "abort", reason)
        with self.store.lock(model):
            running = self.store.unfinished(model)
            if running is not None and running.status is Status.RUNNING:
                raise Conflict(f"rolling back model {model}: rollout {running.id} has not switched yet; abort it instead")
            desired = self.target.desired(model)
            done = [r for r in self.store.all(model) if r.status is Status.DONE and r.candidate == desired.active_release]
            previous = done[-1].plan.previous if done else None
            if previous is None:
                raise NotFound(f"rolling back model {model}: no release was active before the present one")
            if running is not None:
                self._supersede(running, f"a rollback to {previous[:12]}")
            made = plan_rollback(model, previous, desired, config)
            return self._add(releases(previous), made, "rollback", reason, {})

    def abort(self, model: str, reason: str) -> Rollout:
        return self._order(model, self._unfinished(model).id, "abort", reason)

    def freeze(self, model: str, reason: str) -> None:
        """Hold the model: nothing moves forward until unfrozen. A release that has live traffic goes on being watched."""
        self._need(reason)
        hold = {"kind": "freeze", "actor": self.actor, "reason": reason, "at": self.clock()}
        with self.store.lock(model):
            self.ledger.append("freeze", model, hold, self.actor)
            self.store.set_hold(model, hold)
            running = self.store.unfinished(model)
            if running is not None and running.status is Status.RUNNING:
                self.store.save(replace(running, request=hold))

    def unfreeze(self, model: str, reason: str) -> Rollout | None:
        """Let go; a frozen rollout goes on, from its beginning if it had not switched yet. Raises Conflict if not frozen."""
        self._need(reason)
        with self.store.lock(model):
            running = self.store.unfinished(model)
            frozen = running if running is not None and running.status is Status.FROZEN else None
            if self.store.hold(model) is None and frozen is None:
                raise Conflict(f"unfreezing model {model}: it is not frozen")
            self.ledger.append("unfreeze", model, {"reason": reason}, self.actor)
            self.store.set_hold(model, None)
            if frozen is None:
                return None
            going = replace(frozen, status=Status.RUNNING, frozen=None)
            if not frozen.switched:  # what was proven may no longer hold
                going = replace(going, stage=0, stage_at=0.0, stage_ready_at=None, gates={}, reason="")
            return self.store.save(going.noted(self.clock(), "unfrozen", f"unfrozen by {self.actor}: {reason}"))

    def override(self, model: str, gate: str, reason: str) -> Rollout:
        """Let a rollout pass a gate before the switch on a person's word. The gates of the bake cannot be overridden."""
        self._need(reason)
        with self.store.lock(model):
            running = self._unfinished(model)
            self._check_overrides(running.plan, {gate: reason})
            said = {"actor": self.actor, "reason": reason, "at": self.clock()}
            self.ledger.append("override", running.candidate_id, {"gate": gate, "rollout": running.id, **said}, self.actor)
            running = replace(running, overrides={**running.overrides, gate: said})
            return self.store.save(running.noted(self.clock(), "override", f"gate {gate}: {self.actor}: {reason}"))

    def _order(self, model: str, id: str, kind: str, reason: str) -> Rollout:
        self._need(reason)
        with self.store.lock(model):
            running = self.store.load(model, id)
            if running.status.terminal:
                raise Conflict(f"{kind} of rollout {id}: it is {running.status} already")
            order = {"kind": kind, "actor": self.actor, "reason": reason, "at": self.clock()}
            self.ledger.append(f"rollout.{kind}_ordered", running.candidate_id, {"rollout": id, **order}, self.actor)
            return self.store.save(replace(running, request=order))

    def _add(self, candidate: ReleaseManifest, made: Plan, kind: str, reason: str, overrides: Mapping[str, str]) -> Rollout:
        now = self.clock()
        said = {gate: {"actor": self.actor, "reason": why, "at": now} for gate, why in overrides.items()}
        id = self.store.new_id(candidate.model, candidate.digest, now)
        rollout = Rollout(id, candidate.model, candidate.digest, candidate.id, made, now, self.actor, kind, overrides=said)
        rollout = replace(rollout, sequence=self.store.next_sequence(candidate.model))
        self.store.refuse_second(rollout)
        body = {"rollout": id, "kind": kind, "reason": reason, "plan": made.describe(), "overrides": said}
        self.ledger.append("rollout.start", candidate.id, body, self.actor)
        return self.store.save(rollout.noted(now, "start", reason))

    def _supersede(self, frozen: Rollout, by: str) -> None:
        why = f"superseded by {by}"
        self.ledger.append("rollout.aborted", frozen.candidate_id, {"rollout": frozen.id, "message": why}, self.actor)
        ended = replace(frozen, status=Status.ABORTED, reason=f"{frozen.reason}; {why}", ended_at=self.clock())
        self.store.save(ended.noted(self.clock(), "aborted", why))

    def _unfinished(self, model: str) -> Rollout:
        running = self.store.unfinished(model)
        if running is None:
            raise NotFound(f"model {model} has no rollout under way")
        return running

    def _check_hold(self, model: str, candidate: ReleaseManifest) -> None:
        hold = self.store.hold(model)
        if hold is not None:
            raise Conflict(
                f"starting a rollout of {candidate.id}: model {model} is frozen by {hold['actor']} ({hold['reason']}); "
                f"'tidegate freeze {model} --off' lets it go"
            )

    @staticmethod
    def _check_overrides(made: Plan, overrides: Mapping[str, str]) -> None:
        gates = {stage.gate for stage in made.stages if isinstance(stage, Check)}
        for gate, reason in overrides.items():
            if gate not in gates:
                raise InvalidInput(f"gate '{gate}' cannot be overridden, allowed are {', '.join(sorted(gates)) or 'none here'}")
            Orders._need(reason)

    @staticmethod
    def _need(reason: str) -> None:
        if not reason.strip():
            raise InvalidInput("this order needs a reason, which the ledger keeps; give one with --reason")
