"""Rollouts on a cluster, as people order and follow them: `--target kubernetes`.

The plan and the gates are the local target's. Here Argo Rollouts executes the plan, and asks the gate service for the verdicts;
what this process does is to say what is wanted, and to watch. Ending it ends nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.argo_rollouts import ArgoRollouts, Earlier
from tidegate.adapters.kubernetes.cron_jobs import problems_on
from tidegate.adapters.kubernetes.helm_chart import render
from tidegate.adapters.kubernetes.identity import reviewed
from tidegate.adapters.kubernetes.scaling import scaled_by
from tidegate.domain.actor import Actor
from tidegate.domain.errors import Conflict, NotFound, Unavailable
from tidegate.domain.project import KubernetesSettings
from tidegate.domain.release import SHORT, ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import Evidence, GateResult, Verdict, to_json
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.ports.cron import CronTimes
from tidegate.ports.delivery import (
    ABORTED,
    DONE,
    ROLLED_BACK,
    RUNNING,
    Capabilities,
    RollbackTarget,
    RolloutView,
    Say,
    SlotView,
    Standing,
)
from tidegate.rollout.admission import overridden, refuse_while_held, require_overridable
from tidegate.rollout.cluster.standing import chart_values, is_wanted, order, plan_on, settled
from tidegate.rollout.cluster.watch import happened
from tidegate.rollout.plan import Plan, RolloutConfig

PATIENCE_S = 60.0  # a cluster that does not answer is asked again for this long
OPTIONS = " --target kubernetes"
VERDICTS = {"Successful": Verdict.PASS, "Failed": Verdict.FAIL, "Inconclusive": Verdict.INCONCLUSIVE}  # by an analysis' phase


@dataclass(frozen=True)
class Supplies:
    """What the project gives for a rollout.

    `wanted` gives a model's release (by default the latest) and how its rollouts go, and `admit` raises for a release that may
    not be served. `push` stores a release and the present feature tables of its model where the gate service fetches them.
    `login` is who runs this process, where the cluster does not say who it is.
    """

    wanted: Callable[[str, str | None], tuple[ReleaseManifest, RolloutConfig]]
    admit: Callable[[ReleaseManifest], object]
    push: Callable[[ReleaseManifest], None]
    values: Callable[[str], Mapping[str, Any]]
    login: Actor


class ArgoDelivery:
    """`Delivery` on the cluster of the project's target `kubernetes`."""

    capabilities = Capabilities(OPTIONS, needs_image=True, ways_back=(DONE, ABORTED, ROLLED_BACK))

    def __init__(
        self, connect: Callable[[], KubernetesApi], settings: KubernetesSettings, supplies: Supplies, times: CronTimes
    ) -> None:
        self._connect, self._settings, self._supplies, self._times = connect, settings, supplies, times

    @cached_property
    def _api(self) -> KubernetesApi:
        return self._connect()

    @cached_property
    def _rollouts(self) -> ArgoRollouts:
        return ArgoRollouts(self._api, self._settings.namespace)

    def whoami(self) -> Actor:
        return reviewed(self._api, self._supplies.login)

    def plan(self, model: str, release: str | None) -> Plan:
        manifest, config = self._wanted(model, release)
        return plan_on(self._state(manifest.model), manifest.model, manifest.digest, config)

    def start(
        self, model: str, release: str | None, actor: Actor, overrides: Mapping[str, str], image: str | None, say: Say
    ) -> Standing:
        """Can be repeated: a release that is live or under way goes on, one that was given up is tried again."""
        manifest, config = self._wanted(model, release)
        self._supplies.admit(manifest)
        state = self._state(manifest.model)
        made = plan_on(state, manifest.model, manifest.digest, config)
        refuse_while_held(manifest.id, model, state.hold if state is not None else None, OPTIONS)
        require_overridable(made, overrides)
        say(f"storing {manifest.id} and the feature tables in {self._settings.store}")
        self._supplies.push(manifest)
        asked = order("rollout", actor, f"rollout of {manifest.id}", release=manifest.digest)
        if state is not None and not is_wanted(state, manifest.digest):
            self._rollouts.order(manifest.model, asked)
        objects = self._objects(manifest, config, image or "", made.slot)
        say(f"applying {len(objects)} objects in namespace {self._settings.namespace}")
        for document in objects:
            self._api.apply(self._settings.namespace, document)
        if state is None:
            self._rollouts.order(manifest.model, asked)  # there was no Rollout to leave it on
        for gate, reason in overrides.items():
            self._override(manifest.model, manifest.digest, gate, reason, actor)
        if state is not None and state.candidate == manifest.digest and not state.done:
            self._try_again(manifest.model, say)
        for line in made.describe():
            say(line)
        try:
            return self.standing(manifest.model)
        except NotFound:  # Argo Rollouts has not taken notice yet
            return Standing(manifest.model, rollout=RolloutView(manifest.id, RUNNING))

    def follow(self, model: str, id: str, say: Say) -> Standing:
        try:
            return self._follow(model, say)
        except KeyboardInterrupt:
            say("the rollout goes on without this command; the same command again follows it")
            raise

    def _follow(self, model: str, say: Say, pause_s: float = 1.0) -> Standing:
        """Raises Unavailable when the cluster stays silent; the rollout goes on."""
        before: Mapping[str, Any] | None = None
        said: list[str] = []
        switched, heard = False, time.monotonic()
        while True:
            try:
                now, phase, gates = self._rollouts.under_way(model), self._rollouts.phase(model), self._rollouts.measured(model)
            except (Unavailable, NotFound):
                if time.monotonic() - heard > PATIENCE_S:
                    raise
                time.sleep(pause_s)
                continue
            heard = time.monotonic()
            since = now if before is not None else replace(now, orders=())  # orders of earlier rollouts are no news
            events = [str(body["message"]) for _, _, body, _ in happened(before, since)]
            for message in [*(f"gate {gate}: {phase}" for gate, phase in gates.items()), *events]:
                if message not in said:
                    say(message)
                    said.append(message)
            before, switched = asdict(now), switched or now.switched
            if (status := settled(now, phase.name, phase.undecided, switched)) is not None:
                return self._standing(now, status, now.stopped or phase.message, gates)
            time.sleep(pause_s)

    def standing(self, model: str) -> Standing:
        now, phase = self._rollouts.under_way(model), self._rollouts.phase(model)
        status = settled(now, phase.name, phase.undecided, now.switched) or RUNNING
        return self._standing(now, status, now.stopped or phase.message, self._rollouts.measured(model))

    def overview(self, model: str, with_drift: bool) -> Standing:
        found, namespace = self.standing(model), self._settings.namespace
        pods = self._rollouts.pods(model)
        slots = tuple(SlotView(each.role, f"{model}@{each.release[:SHORT]}", each.ready, each.wanted) for each in pods)
        return replace(
            found,
            running=any(each.ready for each in pods),
            slots=slots,
            registry=self._rollouts.registry_due(model),
            drift_note="the cluster's monitor watches",
            place=f"namespace {namespace}",
            scaled_by=scaled_by(self._api, namespace, model),
            problem="; ".join(problems_on(self._api, model, datetime.now(UTC), self._times)),
        )

    def rollback_target(self, model: str, to: str | None) -> RollbackTarget:
        now = self._rollouts.under_way(model)
        going_back = not now.done and not now.stopped
        digest = now.previous if going_back else self._rollouts.earlier(model, _digest(to)).release
        return RollbackTarget(_named(model, now.live), _named(model, digest))

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None, say: Say) -> Standing:
        """By ending the rollout under way, else by starting the earlier release's pods again, or those of the one whose digest
        begins as `to` does. Can be repeated. Raises NotFound where the cluster keeps no such release, Conflict for `to` while a
        rollout is under way."""
        now = self._rollouts.under_way(model)
        if now.past_gates and not now.done and not now.stopped:
            say(f"going back to {_named(model, now.candidate)} was ordered before, and goes on")
            self._let_past(model, self._rollouts.wanted_pods(model))
            return self._follow(model, say)
        if not now.done and not now.stopped:
            if to:
                raise Conflict(
                    f"going back with model {model} to {_digest(to)}: a rollout is under way; "
                    "end it with 'tidegate rollout abort'"
                )
            self.abort(model, reason, actor)
            return self._follow(model, say)
        back: Earlier = self._rollouts.earlier(model, _digest(to))
        say(f"going back to {_named(model, back.release)}")
        self._rollouts.go_back(model, back, order("rollback", actor, reason, release=back.release))
        self._let_past(model, back.pods)
        return self._follow(model, say)

    def abort(self, model: str, reason: str, actor: Actor) -> Standing:
        """End the rollout under way; raises Conflict when there is none."""
        now = self._rollouts.under_way(model)
        if now.done or now.stopped:
            raise Conflict(f"aborting the rollout of model {model}: none is under way")
        self._rollouts.order(model, order("abort", actor, reason, release=now.candidate))
        self._rollouts.abort(model)
        return self.standing(model)

    def freeze(self, model: str, reason: str, actor: Actor) -> None:
        self._rollouts.order(model, order("freeze", actor, reason))
        self._rollouts.hold_deadlines(model)

    def unfreeze(self, model: str, reason: str, actor: Actor) -> Standing | None:
        """Raises Conflict when it is not frozen."""
        asked = order("unfreeze", actor, reason)
        if self._rollouts.under_way(model).hold is None:
            raise Conflict(f"unfreezing model {model}: it is not frozen")
        self._rollouts.let_deadlines_go(model)  # first: a deadline that is over ends what goes on
        self._rollouts.order(model, asked)
        return None

    def override(self, model: str, gate: str, reason: str, actor: Actor) -> Standing:
        now = self._rollouts.under_way(model)
        manifest, config = self._wanted(model, now.candidate)
        require_overridable(plan_on(now, model, manifest.digest, config, fresh=True), {gate: reason})
        self._override(model, now.candidate, gate, reason, actor)
        return self.standing(model)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _wanted(self, model: str, release: str | None) -> tuple[ReleaseManifest, RolloutConfig]:
        manifest, config = self._supplies.wanted(model, release)
        return manifest, replace(config, keep_previous_seconds=0.0)

    def _state(self, model: str) -> UnderWay | None:
        try:
            return self._rollouts.under_way(model)
        except NotFound:
            return None

    def _objects(self, manifest: ReleaseManifest, config: RolloutConfig, image: str, slot: Slot) -> list[dict[str, Any]]:
        values = chart_values(manifest, config, image, self._supplies.values(manifest.model)) | {"slot": str(slot)}
        file = self._settings.values / f"{manifest.model}.yaml"
        return render(self._settings.chart, manifest.model, self._settings.namespace, _existing(file), values)

    def _try_again(self, model: str, say: Say) -> None:
        if self._rollouts.phase(model).undecided:
            self._rollouts.abort(model)  # what ended undecided is judged anew, never let through
            self._until_stopped(model)
        if self._rollouts.under_way(model).stopped:
            say("it was given up before, and is tried again")
            self._rollouts.retry(model)

    def _until_stopped(self, model: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._rollouts.under_way(model).stopped:
            if time.monotonic() > deadline:
                raise Unavailable(f"Argo Rollouts did not give the release of model {model} up; is its controller running?")
            time.sleep(0.5)

    def _let_past(self, model: str, pods: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._rollouts.promote(model, pods):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"going back with model {model}: Argo Rollouts takes no notice; is its controller running? Then repeat it"
                )
            time.sleep(0.3)

    def _override(self, model: str, digest: str, gate: str, reason: str, actor: Actor) -> None:
        self._rollouts.order(model, order("override", actor, reason, release=digest, gate=gate))

    @staticmethod
    def _standing(now: UnderWay, status: str, reason: str, gates: Mapping[str, str]) -> Standing:
        release = f"{now.model}@{now.candidate[:SHORT]}"
        verdicts = {gate: _verdict(gate, release, phase) for gate, phase in gates.items()}
        words = {gate: overridden(gate, release, order, verdicts.get(gate)) for gate, order in now.overrides.items()}
        view = RolloutView(
            release,
            status,
            reason,
            slot=str(now.slot),
            previous=_named(now.model, now.previous),
            gates=tuple({**verdicts, **words}.values()),
            overrides=now.overrides,
        )
        hold = now.hold
        frozen = {"by": hold["actor"], "reason": hold["reason"], "at": hold.get("at", 0.0)} if hold else None
        slot = str(now.live_slot) if now.live_slot else None
        return Standing(now.model, _named(now.model, now.live), view, slot=slot, frozen=frozen)


def _verdict(gate: str, release: str, phase: str) -> dict[str, Any]:
    """What an analysis came to, as a verdict; the evidence is with the gate service."""
    said = to_json(GateResult(gate, release, Verdict.ERROR, Evidence(f"{phase}, by Argo Rollouts' analysis")))
    return {**said, "verdict": str(VERDICTS.get(phase, Verdict.ERROR)), "at": None}


def _named(model: str, digest: str | None) -> str | None:
    return f"{model}@{digest[:SHORT]}" if digest else None


def _digest(reference: str | None) -> str:
    """The digest, or its beginning, in `model@digest`; "" for none."""
    return (reference or "").rpartition("@")[2]


def _existing(file: Path) -> list[Path]:
    if not file.is_file():
        raise NotFound(f"values of the chart: there is no {file}; 'tidegate chart export' writes one to begin with")
    return [file]
