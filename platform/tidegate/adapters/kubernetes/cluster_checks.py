"""What can be missing or wrong in a cluster, looked up object by object: each check says what it saw and how to mend it.

A check that cannot look (no right, no answer) has found something wrong: nothing here passes unseen.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from tidegate.adapters.kubernetes.api import KubernetesApi, namespaced
from tidegate.adapters.kubernetes.argo_rollouts import GROUP, RELEASE
from tidegate.adapters.kubernetes.gate_analyses import asked_gates
from tidegate.domain.errors import NotFound, TidegateError
from tidegate.domain.local import BODY_LIMIT
from tidegate.domain.project import MEGABYTE

Json = dict[str, Any]
GatesOf = Callable[[str, str], tuple[tuple[str, ...], tuple[str, ...]]]
SINCE = (1, 30)  # pods wait before they end by a `sleep` that older clusters refuse
KINDS = {
    GROUP: ("Rollout", "install Argo Rollouts 1.8 or later"),
    "monitoring.coreos.com/v1": ("PodMonitor", "install the Prometheus operator, or set monitoring.enabled: false"),
    "keda.sh/v1alpha1": ("ScaledObject", "install KEDA, or set autoscaling.enabled: false"),
}


@dataclass(frozen=True)
class Check:
    """`fix` is what to do where it is not `ok`."""

    subject: str
    ok: bool
    observed: str
    fix: str = ""


@dataclass(frozen=True)
class Installed:
    """Where things should be: the models' namespace and, by model, the values that its chart is installed with. `gates` gives
    those of a release's plan, by model and digest: before the switch, and after it. `body_limits` are the largest bodies of
    requests in bytes, by model, as the project file has them."""

    namespace: str
    values: Mapping[str, Json]
    gates: GatesOf
    body_limits: Mapping[str, int]


def examine(api: KubernetesApi, installed: Installed) -> Iterator[Check]:
    """All checks, most basic ones first; ends early where the API server does not answer."""
    try:
        version = api.get("/version")
    except TidegateError as error:
        yield Check("API server", False, str(error), "check KUBECONFIG and targets.kubernetes.context")
        return
    found = int(version["major"]), int("".join(c for c in version["minor"] if c.isdigit()))
    needed = ".".join(map(str, SINCE))
    yield Check("API server", found >= SINCE, f"Kubernetes {found[0]}.{found[1]}", f"upgrade the cluster to {needed} or later")
    yield _seen("namespace " + installed.namespace, partial(_namespace, api, installed.namespace))
    yield _seen("network policies", partial(_policies, api, installed.namespace))
    for group, (kind, fix) in KINDS.items():
        if any(_wants(group, values) for values in installed.values.values()):
            yield _seen(f"kind {kind}", partial(_kind, api, group, kind, fix))
    yield _seen("Argo Rollouts", partial(_controller, api))
    for model, values in installed.values.items():
        for name, check in (
            ("gate service", _gates),
            ("rollout", _rollout),
            ("analyses", partial(_analyses, installed.gates)),
            ("largest body", partial(_body, installed.body_limits[model])),
            ("autoscaling", _scaling),
        ):
            yield _seen(f"{name} of {model}", partial(check, api, installed.namespace, model, values))


Judged = tuple[bool, str, str]  # whether it is right, what was seen, what to do


def _seen(subject: str, look: Callable[[], Judged]) -> Check:
    try:
        ok, observed, fix = look()
    except NotFound as error:
        return Check(subject, False, str(error), "install what is missing: docs/kubernetes.md says how")
    except TidegateError as error:
        return Check(
            subject, False, f"it could not be looked at: {error}", "run it as somebody who may, once the cluster answers"
        )
    return Check(subject, ok, observed, "" if ok else fix)


def _wants(group: str, values: Json) -> bool:
    switches = {"monitoring.coreos.com/v1": "monitoring", "keda.sh/v1alpha1": "autoscaling"}
    return group not in switches or bool(values[switches[group]]["enabled"])


def _namespace(api: KubernetesApi, name: str) -> Judged:
    labels = api.get(f"/api/v1/namespaces/{name}")["metadata"].get("labels") or {}
    level = labels.get("pod-security.kubernetes.io/enforce", "nothing")
    fix = f"kubectl label namespace {name} pod-security.kubernetes.io/enforce=restricted"
    return level == "restricted", f"Pod Security enforces {level}", fix


def _policies(api: KubernetesApi, namespace: str) -> Judged:
    found = api.get(namespaced("networking.k8s.io/v1", namespace, "networkpolicies"))["items"]
    fix = f"apply the chart of a model in {namespace}; its policies deny by default"
    return bool(found), f"{len(found)} in {namespace}; whether the network enforces them cannot be seen from here", fix


def _kind(api: KubernetesApi, group: str, kind: str, fix: str) -> Judged:
    try:
        served = {each["kind"] for each in api.get(f"/apis/{group}")["resources"]}
    except NotFound:
        served = set()
    return kind in served, f"the cluster {'serves' if kind in served else 'does not know'} {group}", fix


def _controller(api: KubernetesApi) -> Judged:
    found = api.get("/apis/apps/v1/deployments", labelSelector="app.kubernetes.io/name=argo-rollouts")["items"]
    ready = sum(int(each.get("status", {}).get("readyReplicas", 0)) for each in found)
    places = ", ".join(sorted(each["metadata"]["namespace"] for each in found)) or "nowhere"
    return ready > 0, f"{ready} of its controllers ready, in {places}", "start Argo Rollouts: nothing moves without it"


def _gates(api: KubernetesApi, _: str, model: str, values: Json) -> Judged:
    name, namespace = _gate_service(values)
    fix = f"install charts/tidegate in {namespace}, or correct gates.address in the values of {model}"
    slices = api.get(
        namespaced("discovery.k8s.io/v1", namespace, "endpointslices"), labelSelector=f"kubernetes.io/service-name={name}"
    )
    ready = [e for each in slices["items"] for e in each.get("endpoints") or () if e.get("conditions", {}).get("ready")]
    seen = f"{len(ready)} ready behind Service {name} in {namespace}"
    return bool(ready), seen, f"{fix}; its pods' readiness says what is in the way"


def _gate_service(values: Json) -> tuple[str, str]:
    """Its Service's name and namespace, which is that of the platform's chart."""
    name, _, rest = (urllib.parse.urlsplit(values["gates"]["address"]).hostname or "").partition(".")
    return name, rest.partition(".")[0]


def _body(wanted: int, api: KubernetesApi, namespace: str, model: str, values: Json) -> Judged:
    """Whether gateway and pods take what the project file says; the smallest of them decides."""
    name, home = _gate_service(values)
    gateway = f"{name.removesuffix('-gates')}-gateway"
    said = api.get(f"/api/v1/namespaces/{home}/configmaps/{gateway}")["data"]["rds.json"]
    limits = {"the gateway": set(_limits(json.loads(said), model))}
    containers = api.get(namespaced(GROUP, namespace, "rollouts", model))["spec"]["template"]["spec"]["containers"]
    if (arguments := containers[0].get("args") or [])[:1] != ["tritonserver"]:
        given = [int(each.partition("=")[2]) for each in arguments if each.startswith("--body-limit=")]
        limits["its pods"] = set(given[-1:] or [BODY_LIMIT])
    different = {place: found for place, found in limits.items() if found != {wanted}}
    if not different:
        return True, f"{wanted // MEGABYTE} MiB, as the project file says, at {' and '.join(limits)}", ""
    told = ", ".join(f"{place} {_megabytes(found)}" for place, found in different.items())
    fix = (
        f"'tidegate chart export' and install the platform's chart in {home} with values/platform.yaml; roll {model} out again"
    )
    return False, f"the project file says {wanted // MEGABYTE} MiB, {told}; the smallest decides, with 413", fix


def _limits(part: Any, model: str) -> Iterator[int]:
    """Of the model's routes in the gateway's table."""
    if isinstance(part, list):
        for each in part:
            yield from _limits(each, model)
    elif isinstance(part, dict):
        about = part.get("metadata", {}).get("filter_metadata", {}).get("tidegate", {})
        if about.get("model") == model:
            filters = part.get("typed_per_filter_config", {})
            yield from (int(each["buffer"]["max_request_bytes"]) for each in filters.values() if "buffer" in each)
        else:
            for each in part.values():
                yield from _limits(each, model)


def _megabytes(limits: set[int]) -> str:
    return " and ".join(f"{limit / MEGABYTE:g} MiB" for limit in sorted(limits)) or "does not know the model"


def _rollout(api: KubernetesApi, namespace: str, model: str, _: Json) -> Judged:
    found = api.get(namespaced(GROUP, namespace, "rollouts", model))
    status, strategy = found.get("status", {}), found["spec"].get("strategy", {}).get("blueGreen", {})
    if "scaleDownDelaySeconds" in strategy:
        return False, "it sets scaleDownDelaySeconds, which ends a bake that is still running", "remove it from the Rollout"
    if missing := [each for each in ("prePromotionAnalysis", "postPromotionAnalysis") if not strategy.get(each)]:
        return False, f"it has no {' and no '.join(missing)}: everything would be promoted", f"apply the chart of {model} again"
    phase, ready = status.get("phase", "unknown"), int(status.get("availableReplicas") or 0)
    seen = f"{phase}, {ready} pods available" + (f": {status['message']}" if status.get("message") else "")
    fix = f"tidegate status {model} --target kubernetes; kubectl describe rollout {model} -n {namespace}"
    return phase in ("Healthy", "Progressing", "Paused") and ready > 0, seen, fix


def _analyses(gates: GatesOf, api: KubernetesApi, namespace: str, model: str, _: Json) -> Judged:
    """Whether all gates of the wanted release's plan are asked for, and so that only a PASS lets anything through."""
    fix = f"apply the chart of {model} with all gates, as 'tidegate rollout {model} --target kubernetes' does"
    rollout = api.get(namespaced(GROUP, namespace, "rollouts", model))
    release = str((rollout["spec"].get("template", {}).get("metadata", {}).get("annotations") or {}).get(RELEASE, ""))
    asked: list[str] = []
    missing: list[str] = []
    for stage, wanted in zip(("pre-promotion", "post-promotion"), gates(model, release), strict=True):
        spec = api.get(namespaced(GROUP, namespace, "analysistemplates", f"{model}-{stage}"))["spec"]
        found = asked_gates(spec, model)
        asked += found
        missing += [gate for gate in wanted if gate not in found]
    if missing:
        said = f"the plan of release {release[:12]} has {', '.join(missing)}, which nothing asks for so that only a PASS opens"
        return False, said, fix
    return True, f"{', '.join(asked)} are asked for, as the plan of release {release[:12]} wants", ""


def _scaling(api: KubernetesApi, namespace: str, model: str, values: Json) -> Judged:
    if not values["autoscaling"]["enabled"]:
        return True, f"off: {values['replicas']} replicas", ""
    found = api.get(namespaced("keda.sh/v1alpha1", namespace, "scaledobjects", model))
    conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", ())}
    fix = f"check that {values['autoscaling']['prometheus']} answers, and scrapes the gateway"
    if conditions.get("Fallback", {}).get("status") == "True":
        return False, "KEDA gets no numbers, and keeps the most replicas", fix
    ready = conditions.get("Ready", {}).get("status") == "True"
    return ready, str(conditions.get("Ready", {}).get("message") or "KEDA has not looked at it"), fix
