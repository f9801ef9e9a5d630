"""A project's rollouts on a cluster, as the command line orders and follows them: `--target kubernetes`.

The plan and the gates are the local target's. Here Argo Rollouts executes the plan, and asks the gate service for the verdicts;
what this process does is to say what is wanted, and to watch. Ending it ends nothing.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from tidegate.domain.release import SHORT, ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.ports.cluster_rollouts import UnderWay

if TYPE_CHECKING:
    from tidegate.adapters.kubernetes.api import KubernetesApi
    from tidegate.adapters.kubernetes.argo_rollouts import ArgoRollouts, Earlier, Pods
    from tidegate.apps.platform import Platform
    from tidegate.rollout.plan import Plan, RolloutConfig

Say = Callable[[str], None]
PATIENCE_S = 60.0  # a cluster that does not answer is asked again for this long
LATE_S = 30.0  # after a gate's deadline the gate service has answered ERROR; before, the cluster must not give up


@dataclass(frozen=True)
class Outcome:
    """How a rollout stands: DONE, ROLLED_BACK, ABORTED, FROZEN (an analysis ended undecided) or RUNNING."""

    model: str
    release: str
    status: str
    reason: str
    live: str | None
    gates: tuple[str, ...] = ()
    frozen: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ClusterStatus:
    """One model on the cluster at a glance. `pods` are those of each release; `scaled_by` says what decides how many."""

    model: str
    namespace: str
    rollout: Outcome
    pods: tuple[Pods, ...]
    scaled_by: str


class ClusterTarget:
    """One project on the cluster of its target `kubernetes`."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._settings = platform.project.targets.kubernetes

    @cached_property
    def _api(self) -> KubernetesApi:
        from tidegate.adapters.kubernetes.api import KubernetesApi

        return KubernetesApi.connect(self._settings.context or None)

    @cached_property
    def _rollouts(self) -> ArgoRollouts:
        from tidegate.adapters.kubernetes.argo_rollouts import ArgoRollouts

        return ArgoRollouts(self._api, self._settings.namespace)

    def plan(self, model: str, release: str | None) -> Plan:
        """What a rollout would do; changes nothing."""
        return self._plan(*self._wanted(model, release))

    def start(self, model: str, release: str | None, image: str, actor: str, overrides: Mapping[str, str], say: Say) -> Plan:
        """Say that a release is wanted, served by `image`; the plan that the cluster then executes.

        Stores the release and the present feature tables for the gate service first. Can be repeated: a release that is live or
        under way goes on, one that was given up is tried again. Raises Conflict where a person froze the model.
        """
        manifest, config = self._wanted(model, release)
        self._platform.admit(manifest)
        made = self._plan(manifest, config)
        state = self._state(manifest.model)
        if state is not None and state.hold is not None:
            raise Conflict(
                f"starting a rollout of {manifest.id}: model {model} is frozen by {state.hold['actor']} "
                f"({state.hold['reason']}); 'tidegate unfreeze {model} --target kubernetes --reason TEXT' lets it go"
            )
        for gate, reason in overrides.items():
            self._check_override(made, gate, reason)
        self._push(manifest, say)
        order = _order("rollout", actor, f"rollout of {manifest.id}", release=manifest.digest)
        if state is not None and not _is_wanted(state, manifest.digest):
            self._rollouts.order(manifest.model, order)
        objects = self._objects(manifest, config, image, made.slot)
        say(f"applying {len(objects)} objects in namespace {self._settings.namespace}")
        for document in objects:
            self._api.apply(self._settings.namespace, document)
        if state is None:
            self._rollouts.order(manifest.model, order)  # there was no Rollout to leave it on
        for gate, reason in overrides.items():
            self._override(manifest.model, manifest.digest, gate, reason, actor)
        if state is not None and state.candidate == manifest.digest and not state.done:
            self._try_again(manifest.model, say)
        return made

    def follow(self, model: str, say: Say, pause_s: float = 1.0) -> Outcome:
        """Say what happens until the rollout settles. Raises Unavailable when the cluster stays silent; the rollout goes on."""
        from tidegate.rollout.cluster.watch import happened

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
            for message in [*gates, *events]:
                if message not in said:
                    say(message)
                    said.append(message)
            before, switched = asdict(now), switched or now.switched
            if (status := _settled(now, phase.name, phase.undecided, switched)) is not None:
                return self._outcome(now, status, now.stopped or phase.message, gates)
            time.sleep(pause_s)

    def status(self, model: str) -> Outcome:
        """How the model stands now. Raises NotFound for one that the cluster has not."""
        now, phase = self._rollouts.under_way(model), self._rollouts.phase(model)
        status = _settled(now, phase.name, phase.undecided, now.switched) or "RUNNING"
        return self._outcome(now, status, now.stopped or phase.message, self._rollouts.measured(model))

    def overview(self, model: str) -> ClusterStatus:
        """Raises NotFound for a model that the cluster has not."""
        return ClusterStatus(
            model,
            self._settings.namespace,
            self.status(model),
            tuple(replace(pods, release=f"{model}@{pods.release[:SHORT]}") for pods in self._rollouts.pods(model)),
            self._scaled_by(model),
        )

    def earlier(self, model: str, to: str = "") -> str:
        """The id of the release that `rollback` would go back to."""
        now = self._rollouts.under_way(model)
        going_back = not now.done and not now.stopped
        digest = now.previous if going_back else self._rollouts.earlier(model, to).release
        return f"{model}@{(digest or '')[:SHORT]}"

    def rollback(self, model: str, reason: str, actor: str, say: Say, to: str = "") -> Outcome:
        """Go back to the release before, now and without gates: by ending the rollout under way, else by starting the earlier
        release's pods again, or those of the one whose digest begins with `to`. Can be repeated. Raises NotFound where the
        cluster keeps no such release, Conflict for `to` while a rollout is under way."""
        now = self._rollouts.under_way(model)
        if now.past_gates and not now.done and not now.stopped:
            say(f"going back to {model}@{now.candidate[:SHORT]} was ordered before, and goes on")
            self._let_past(model, self._rollouts.wanted_pods(model))
            return self.follow(model, say)
        if not now.done and not now.stopped:
            if to:
                raise Conflict(
                    f"going back with model {model} to {to}: a rollout is under way; end it with 'tidegate rollout abort'"
                )
            self.abort(model, reason, actor)
            return self.follow(model, say)
        back: Earlier = self._rollouts.earlier(model, to)
        say(f"going back to {model}@{back.release[:SHORT]}")
        self._rollouts.go_back(model, back, _order("rollback", actor, reason, release=back.release))
        self._let_past(model, back.pods)
        return self.follow(model, say)

    def abort(self, model: str, reason: str, actor: str) -> Outcome:
        """End the rollout under way; raises Conflict when there is none."""
        now = self._rollouts.under_way(model)
        if now.done or now.stopped:
            raise Conflict(f"aborting the rollout of model {model}: none is under way")
        self._rollouts.order(model, _order("abort", actor, reason, release=now.candidate))
        self._rollouts.abort(model)
        return self.status(model)

    def freeze(self, model: str, reason: str, actor: str) -> None:
        self._rollouts.order(model, _order("freeze", actor, reason))

    def unfreeze(self, model: str, reason: str, actor: str) -> None:
        """Raises Conflict when it is not frozen."""
        order = _order("unfreeze", actor, reason)
        if self._rollouts.under_way(model).hold is None:
            raise Conflict(f"unfreezing model {model}: it is not frozen")
        self._rollouts.order(model, order)

    def override(self, model: str, gate: str, reason: str, actor: str) -> None:
        """Let the release under way past a gate on a person's word."""
        now = self._rollouts.under_way(model)
        manifest, config = self._wanted(model, now.candidate)
        self._check_override(self._plan(manifest, config, fresh=True), gate, reason)
        self._override(model, now.candidate, gate, reason, actor)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _wanted(self, model: str, release: str | None) -> tuple[ReleaseManifest, RolloutConfig]:
        manifest, config = self._platform.to_roll_out(model, release)
        return manifest, replace(config, keep_previous_seconds=0.0)

    def _plan(self, manifest: ReleaseManifest, config: RolloutConfig, fresh: bool = False) -> Plan:
        from tidegate.rollout.plan import plan

        state = self._state(manifest.model)
        desired = Desired(manifest.model)
        if state is not None and state.live is not None:
            slot = state.live_slot or Slot.BLUE
            live = None if fresh and state.live == manifest.digest else state.live
            digest = live or "another"
            blue, green = (digest, None) if slot is Slot.BLUE else (None, digest)
            desired = Desired(manifest.model, blue, green, active=slot)
        return plan(manifest.model, manifest.digest, desired, config)

    def _state(self, model: str) -> UnderWay | None:
        try:
            return self._rollouts.under_way(model)
        except NotFound:
            return None

    def _push(self, manifest: ReleaseManifest, say: Say) -> None:
        from tidegate.adapters.mlflow.artifacts import MlflowArtifacts

        store = MlflowArtifacts(self._settings.store)
        say(f"storing {manifest.id} and the feature tables in {self._settings.store}")
        store.push_release(self._platform.releases.folder(manifest.digest))
        store.push_tables(manifest.model, self._platform.feature_folder(manifest.model).tables)

    def _objects(self, manifest: ReleaseManifest, config: RolloutConfig, image: str, slot: Slot) -> list[dict[str, Any]]:
        """With the gates of the release's plan, whatever the values file says, and the keys that this project trusts."""
        from tidegate.adapters.kubernetes.helm_chart import render
        from tidegate.apps.trust import trusted_keys

        values: dict[str, Any] = {"model": manifest.model, "release": manifest.digest, "image": image, "slot": str(slot)}
        values["gates"] = gate_values(config)
        values["trustedKeys"] = [str(key) for key in trusted_keys(self._platform.project)]
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

    def _scaled_by(self, model: str) -> str:
        from tidegate.adapters.kubernetes.api import namespaced

        try:
            found = self._api.get(namespaced("keda.sh/v1alpha1", self._settings.namespace, "scaledobjects", model))
        except NotFound:
            return "nobody: the chart's number of replicas"
        spec = found["spec"]
        bounds = f"{spec.get('minReplicaCount')} to {spec.get('maxReplicaCount')}"
        conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", ())}
        wrong = [
            str(conditions[kind].get("message") or kind)
            for kind, bad in (("Ready", "False"), ("Fallback", "True"))
            if conditions.get(kind, {}).get("status") == bad
        ]
        return f"KEDA, {bounds}" + (f"; {'; '.join(wrong)}" if wrong else "")

    def _check_override(self, made: Plan, gate: str, reason: str) -> None:
        from tidegate.rollout.plan import Check

        gates = [stage.gate for stage in made.stages if isinstance(stage, Check)]
        if gate not in gates:
            raise InvalidInput(f"gate '{gate}' cannot be overridden, allowed are {', '.join(sorted(gates)) or 'none here'}")
        _check_reason(reason)

    def _override(self, model: str, digest: str, gate: str, reason: str, actor: str) -> None:
        self._rollouts.order(model, _order("override", actor, reason, release=digest, gate=gate))

    @staticmethod
    def _outcome(now: UnderWay, status: str, reason: str, gates: list[str]) -> Outcome:
        live = f"{now.model}@{now.live[:SHORT]}" if now.live else None
        return Outcome(now.model, f"{now.model}@{now.candidate[:SHORT]}", status, reason, live, tuple(gates), now.hold)


def gate_values(config: RolloutConfig) -> dict[str, Any]:
    """What the model's chart asks the gate service for: all gates of the plan, each for as long as its stage may last."""
    longest = max([check.deadline_seconds for check in config.checks] + ([config.bake.deadline_seconds] if config.bake else []))
    deadline = math.ceil(longest + LATE_S)
    before, after = list(config.gates_before), list(config.gates_after)
    return {"prePromotion": before, "postPromotion": after, "deadlineSeconds": deadline}


def _settled(now: UnderWay, phase: str, undecided: bool, switched: bool) -> str | None:
    """The end that a rollout has come to, None while it goes on."""
    if now.stopped:
        return "ROLLED_BACK" if switched and not now.switched else None if now.switched else "ABORTED"
    if undecided:
        return "FROZEN"
    return "DONE" if now.done and phase == "Healthy" else None


def _is_wanted(now: UnderWay, digest: str) -> bool:
    """Whether a person ordered that release, and it is live or under way."""
    ordered = any(order.get("release") == digest for order in now.orders)
    return ordered and now.candidate == digest and not now.stopped


def _order(kind: str, actor: str, reason: str, **about: str) -> dict[str, Any]:
    _check_reason(reason)
    return {"id": uuid.uuid4().hex, "order": kind, "actor": actor, "reason": reason, "at": time.time(), **about}


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise InvalidInput("this order needs a reason, which the ledger keeps; give one with --reason")


def _existing(file: Path) -> list[Path]:
    if not file.is_file():
        raise NotFound(f"values of the chart: there is no {file}; write one, charts/model/values.yaml says what it may have")
    return [file]
