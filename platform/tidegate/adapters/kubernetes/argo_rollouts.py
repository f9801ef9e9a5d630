"""Rollouts of models by Argo Rollouts: what is under way, orders left on the Rollout, and mirroring to the preview's pods.

A pod template names its release and slot in annotations; Argo Rollouts names ReplicaSets by the hash of their template. Orders
of people are annotations of the Rollout (`rollout_orders`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidegate.adapters.kubernetes.api import Forbidden, KubernetesApi, namespaced
from tidegate.adapters.kubernetes.frozen_deadlines import hold_deadlines, let_deadlines_go
from tidegate.adapters.kubernetes.gate_analyses import asked_gates
from tidegate.adapters.kubernetes.rollout_orders import (
    HOLD,
    ORDERS,
    OVERRIDE,
    REVISION,
    annotations_of,
    hold,
    orders,
    overrides,
    past_gates,
    revision,
    with_order,
)
from tidegate.domain.errors import Conflict, InvalidInput, NotFound
from tidegate.domain.slots import Slot
from tidegate.ports.cluster_rollouts import UnderWay

GROUP = "argoproj.io/v1alpha1"
HASH = "rollouts-pod-template-hash"
RELEASE, SLOT = "tidegate/release", "tidegate/slot"
REGISTRY = "tidegate/registry"  # what the registry does not have
TRUSTED_KEYS = "TIDEGATE_TRUSTED_KEYS"  # of the pods' environment
ATTEMPTS = 20  # at a change of an object that others change, too
EPHEMERAL = "rollout.argoproj.io/ephemeral-metadata"
ROLE = "tidegate/role"
NOBODY = {ROLE: "nobody"}  # no selector at all would leave the endpoints of the last one as they are
RUNNING = ("Pending", "Running")
Json = dict[str, Any]


@dataclass(frozen=True)
class Phase:
    """`name` is Argo Rollouts' phase, empty while it has not looked at what was applied; `undecided`: an analysis ended so."""

    name: str
    message: str
    undecided: bool


@dataclass(frozen=True)
class Earlier:
    """A release that was live before and passed everything; `pods` is the hash of its template, which it is started from."""

    release: str
    pods: str
    template: Json


@dataclass(frozen=True)
class Pods:
    """The pods of one release: how many are ready of how many that are wanted, and what they are to clients."""

    release: str
    role: str  # active, preview or none
    ready: int
    wanted: int


class ArgoRollouts:
    """`ClusterRollouts` of one namespace."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api, self._namespace = api, namespace

    def under_way(self, model: str) -> UnderWay:
        try:
            rollout = self._api.get(self._path(model))
        except (NotFound, Forbidden) as error:  # the model's chart brings the right to look at it, too
            raise NotFound(
                f"namespace {self._namespace} shows no Rollout of model '{model}'; install it with the model's chart ({error})"
            ) from error
        return under_way(model, rollout, self._sets(model), self._analysis(rollout))

    def mirror(self, model: str, on: bool) -> None:
        path = namespaced("v1", self._namespace, "services", f"{model}-shadow")
        wanted = dict(NOBODY)
        if on:
            pods = self._api.get(self._path(model)).get("status", {}).get("currentPodHash")
            # the role ends with the promotion, so that what nobody turns off ends by itself
            wanted = {HASH: pods, ROLE: "preview"}
        present = self._api.get(path)["spec"].get("selector") or {}
        if present != wanted:
            self._api.merge(path, {"spec": {"selector": dict.fromkeys(present) | wanted}})

    def show_registry(self, model: str, due: Mapping[str, Any] | None) -> None:
        """An annotation of the model's mirror Service, which the gate service may change."""
        path = namespaced("v1", self._namespace, "services", f"{model}-shadow")
        wanted = json.dumps(due) if due is not None else None
        if annotations_of(self._api.get(path)).get(REGISTRY) != wanted:
            self._api.merge(path, {"metadata": {"annotations": {REGISTRY: wanted}}})

    def registry_due(self, model: str) -> Json | None:
        """What the gate service has shown, None for nothing."""
        said = annotations_of(self._api.get(namespaced("v1", self._namespace, "services", f"{model}-shadow"))).get(REGISTRY)
        unknown = {
            "release": "",
            "version": "",
            "at": 0.0,
            "reason": f"annotation {REGISTRY} of Service {model}-shadow is damaged",
        }
        try:
            return {**unknown, **json.loads(said)} if said else None
        except (ValueError, TypeError):
            return unknown

    def phase(self, model: str) -> Phase:
        """Argo Rollouts' own word for the state of the Rollout that was applied last."""
        return phase(self._api.get(self._path(model)))

    def measured(self, model: str) -> dict[str, str]:
        """What the analyses of the release under way have come to: the phase of each gate that is not running."""
        rollout = self._api.get(self._path(model))
        candidate = annotations_of(rollout["spec"]["template"]).get(RELEASE)
        found: dict[str, str] = {}
        for stage in ("prePromotionAnalysisRunStatus", "postPromotionAnalysisRunStatus"):
            if name := (rollout.get("status", {}).get("blueGreen", {}).get(stage) or {}).get("name"):
                run = self._api.get(namespaced(GROUP, self._namespace, "analysisruns", str(name)))
                ours = _judged(run) == candidate  # until Argo Rollouts has looked, these are those of the release before
                results = run.get("status", {}).get("metricResults", ()) if ours else ()
                found |= {each["name"]: each["phase"] for each in results if each.get("phase", RUNNING[0]) not in RUNNING}
        return found

    def order(self, model: str, order: Mapping[str, Any]) -> None:
        """Leave an order on the Rollout, after those that are there, and what it sets in force or ends."""

        def leave(rollout: Json) -> None:
            given = {**order, "revision": revision(rollout)}
            changed: dict[str, str | None] = {ORDERS: with_order(rollout, given)}
            match order["order"]:
                case "freeze":
                    changed[HOLD] = json.dumps(given)
                case "unfreeze":
                    changed[HOLD] = None
                case "override":
                    changed[f"{OVERRIDE}{order['gate']}"] = json.dumps(given)
            unchanged = {"resourceVersion": rollout["metadata"]["resourceVersion"]}
            self._api.merge(self._path(model), {"metadata": {**unchanged, "annotations": changed}})

        self._change(model, leave)

    def hold_deadlines(self, model: str) -> None:
        hold_deadlines(self._api, self._namespace, model)

    def let_deadlines_go(self, model: str) -> None:
        let_deadlines_go(self._api, self._namespace, model)

    def abort(self, model: str) -> None:
        """Traffic stays with, or goes back to, what passed everything last."""
        self._api.merge(f"{self._path(model)}/status", {"status": {"abort": True}})

    def retry(self, model: str) -> None:
        """Let a release that was given up try again, with analyses of its own."""
        self._api.merge(f"{self._path(model)}/status", {"status": {"abort": None, "abortedAt": None}})

    def pods(self, model: str) -> list[Pods]:
        """Of each release that has any, or should have."""
        state = self._api.get(self._path(model)).get("status", {}).get("blueGreen", {})
        roles = {state.get("previewSelector"): "preview", state.get("activeSelector"): "active"}
        found = []
        for each in self._sets(model):
            wanted, ready = int(each["spec"].get("replicas", 0)), int(each.get("status", {}).get("readyReplicas", 0))
            if wanted or ready:
                role = roles.get(each["metadata"]["labels"].get(HASH), "none")
                found.append(Pods(annotations_of(each["spec"]["template"]).get(RELEASE, ""), role, ready, wanted))
        return sorted(found, key=lambda pods: pods.role)

    def earlier(self, model: str, to: str = "") -> Earlier:
        """What was live before the release that clients reach now, or the one whose digest begins with `to`. Raises NotFound
        where the cluster keeps nothing of it."""
        rollout = self._api.get(self._path(model))
        runs = self._api.get(namespaced(GROUP, self._namespace, "analysisruns"))["items"]
        found = earlier(rollout, self._sets(model), runs, to)
        if found is None and to:
            raise NotFound(
                f"going back with model {model}: the cluster keeps no release {to} that was live before and passed everything"
            )
        if found is None:
            raise NotFound(
                f"going back with model {model}: the cluster keeps no earlier release that passed everything and was not "
                f"gone back from; roll one out with "
                f"'tidegate rollout {model} --target kubernetes --image IMAGE --release ID'"
            )
        return found

    def go_back(self, model: str, to: Earlier, order: Mapping[str, Any]) -> None:
        """Wish for an earlier release, from the very template that its pods had; `promote` then lets it past the gates."""

        def wish(rollout: Json) -> None:
            given = {**order, "revision": revision(rollout)}
            operations: list[Json] = [
                {"op": "replace", "path": "/metadata/resourceVersion", "value": rollout["metadata"]["resourceVersion"]},
                {"op": "replace", "path": "/spec/template", "value": to.template},
                {"op": "add", "path": _annotation(RELEASE), "value": to.release},
                {"op": "add", "path": _annotation(ORDERS), "value": with_order(rollout, given)},
            ]
            for stage in ("prePromotionAnalysis", "postPromotionAnalysis"):
                if stage in rollout["spec"]["strategy"]["blueGreen"]:
                    arguments = [{"name": "release", "value": to.release}]
                    operations.append({"op": "replace", "path": f"/spec/strategy/blueGreen/{stage}/args", "value": arguments})
            self._api.edit(self._path(model), operations)

        self._change(model, wish)

    def wanted_pods(self, model: str) -> str:
        """Hash of the template that Argo Rollouts rolls out now."""
        return str(self._api.get(self._path(model)).get("status", {}).get("currentPodHash", ""))

    def promote(self, model: str, pods: str) -> bool:
        """Let the release with these pods become live without analyses, as soon as it is ready; False while Argo Rollouts has
        not taken notice of it yet."""
        rollout = self._api.get(self._path(model))
        status = rollout.get("status", {})
        if str(status.get("observedGeneration")) != str(rollout["metadata"].get("generation")):
            return False
        if status.get("currentPodHash") != pods:
            return False
        if status.get("stableRS") != pods:
            self._api.merge(f"{self._path(model)}/status", {"status": {"promoteFull": True}})
        return True

    def _change(self, model: str, change: Callable[[Json], None]) -> None:
        """Raises Conflict where somebody else changes the Rollout each time."""
        for left in reversed(range(ATTEMPTS)):
            try:
                return change(self._api.get(self._path(model)))
            except Conflict:
                if not left:
                    raise
                time.sleep(0.1)

    def _sets(self, model: str) -> list[Json]:
        selector = f"app.kubernetes.io/name=model,app.kubernetes.io/instance={model}"
        sets = self._api.get(namespaced("apps/v1", self._namespace, "replicasets"), labelSelector=selector)["items"]
        return list(sets)

    def _analysis(self, rollout: Json) -> Json | None:
        name = _analysis_name(rollout.get("status", {}))
        return self._api.get(namespaced(GROUP, self._namespace, "analysisruns", name)) if name else None

    def _path(self, model: str) -> str:
        return namespaced(GROUP, self._namespace, "rollouts", model)


def under_way(model: str, rollout: Json, replica_sets: list[Json], analysis: Json | None) -> UnderWay:
    """What the objects say. Raises InvalidInput for a Rollout that the model's chart did not make."""
    status = rollout.get("status", {})
    notes = annotations_of(rollout["spec"]["template"])
    if RELEASE not in notes:
        raise InvalidInput(f"Rollout {model}: its pods have no annotation {RELEASE}; install it with the model's chart")
    releases = {each["metadata"]["labels"].get(HASH): annotations_of(each["spec"]["template"]) for each in replica_sets}
    live = releases.get(status.get("blueGreen", {}).get("activeSelector"), {})
    stable = releases.get(status.get("stableRS"), {})
    settled = str(status.get("observedGeneration")) == str(rollout["metadata"].get("generation"))
    candidate = notes[RELEASE]
    stopped = str(status.get("message") or "the rollout was aborted") if status.get("abort") and settled else ""
    return UnderWay(
        model=model,
        candidate=candidate,
        slot=_slot(notes) or Slot.BLUE,
        live=live.get(RELEASE),
        live_slot=_slot(live),
        previous=stable.get(RELEASE),
        judged_since=_began(analysis, candidate) if settled and not stopped else None,
        asked=asked_gates(analysis["spec"], model) if analysis else (),
        stopped=stopped,
        hold=hold(rollout),
        overrides=overrides(rollout, candidate),
        orders=orders(rollout),
        past_gates=past_gates(rollout, candidate),
        trusted_keys=_trusted_keys(rollout["spec"]["template"]),
    )


def earlier(rollout: Json, replica_sets: list[Json], analyses: list[Json], to: str = "") -> Earlier | None:
    """The newest release before the live one whose bake passed, or that was the first of all and so had none.

    A bake that was ended early, by the next release say, is called successful by Argo Rollouts, and passed nothing. What a
    person went back from, and nobody rolled out since, is passed over (the order names the revision that was live then),
    unless `to` is how its digest begins.
    """
    status = rollout.get("status", {})
    others = {status.get("blueGreen", {}).get("activeSelector"), status.get("currentPodHash")}
    passed = {
        run["metadata"].get("labels", {}).get(HASH)
        for run in analyses
        if run["metadata"].get("labels", {}).get("rollout-type") == "PostPromotion"
        and run.get("status", {}).get("phase") == "Successful"
        and not run.get("spec", {}).get("terminate")
    }
    gone_back_from = {order.get("revision") for order in orders(rollout) if order["order"] == "rollback"}
    found: dict[int, Earlier] = {}
    for each in replica_sets:
        pods, notes = each["metadata"]["labels"].get(HASH, ""), annotations_of(each)
        history = {
            int(n) for n in (*notes.get("rollout.argoproj.io/revision-history", "").split(","), notes.get(REVISION, "")) if n
        }
        release = annotations_of(each["spec"]["template"]).get(RELEASE)
        latest = max(history, default=0)
        wanted = release.startswith(to) if release and to else latest not in gone_back_from
        if release and wanted and pods not in others and (pods in passed or 1 in history):
            found[latest] = Earlier(release, pods, _template(each))
    return found[max(found)] if found else None


def _annotation(name: str) -> str:
    """As JSON Pointer has it."""
    return "/metadata/annotations/" + name.replace("~", "~0").replace("/", "~1")


def _template(replica_set: Json) -> Json:
    """The pod template as the Rollout had it: without what Argo Rollouts adds for its ReplicaSets."""
    template: Json = json.loads(json.dumps(replica_set["spec"]["template"]))
    added = json.loads(annotations_of(replica_set).get(EPHEMERAL) or "{}")
    metadata = template["metadata"]
    for name in (HASH, *(added.get("labels") or {})):
        metadata.get("labels", {}).pop(name, None)
    metadata.pop("creationTimestamp", None)
    return template


def phase(rollout: Json) -> Phase:
    status = rollout.get("status", {})
    if str(status.get("observedGeneration")) != str(rollout["metadata"].get("generation")):
        return Phase("", "", False)
    reasons = [str(pause.get("reason", "")) for pause in status.get("pauseConditions") or ()]
    return Phase(str(status.get("phase", "")), str(status.get("message") or ""), any("Inconclusive" in r for r in reasons))


def _analysis_name(status: Mapping[str, Any]) -> str:
    """The AnalysisRun that asks for verdicts now: after the switch the one of the bake."""
    state = status.get("blueGreen", {})
    switched = status.get("currentPodHash") and state.get("activeSelector") == status.get("currentPodHash")
    run = state.get("postPromotionAnalysisRunStatus" if switched else "prePromotionAnalysisRunStatus") or {}
    return str(run.get("name", "")) if run.get("status") in RUNNING else ""


def _began(analysis: Json | None, candidate: str) -> float | None:
    if analysis is None:
        return None
    if _judged(analysis) != candidate:
        return None  # it judges what was wanted before
    return datetime.fromisoformat(analysis["metadata"]["creationTimestamp"].replace("Z", "+00:00")).timestamp()


def _judged(analysis: Json) -> str | None:
    """The release that an AnalysisRun asks about."""
    given = {argument["name"]: argument.get("value") for argument in analysis["spec"].get("args", ())}
    return given.get("release")


def _trusted_keys(template: Json) -> tuple[str, ...]:
    containers = template.get("spec", {}).get("containers", ())
    given = [each for container in containers for each in container.get("env", ()) if each.get("name") == TRUSTED_KEYS]
    return tuple(key for each in given for key in str(each.get("value", "")).split())


def _slot(notes: Mapping[str, str]) -> Slot | None:
    name = notes.get(SLOT)
    return Slot(name) if name in set(Slot) else None
