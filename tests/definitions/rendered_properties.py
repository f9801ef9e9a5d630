"""What has to hold of every rendered Kubernetes object: each property is a function from an object to its problems.

`PROPERTIES` is applied to all golden renderings; a mutation test shows of each that it can fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Object = Mapping[str, Any]
Property = Callable[[Object], list[str]]
_PINNED = re.compile(r".+@sha256:[0-9a-f]{64}")


def pod_spec(document: Object) -> Object | None:
    if document["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job", "Rollout"}:
        found: Object = document["spec"]["template"]["spec"]
        return found
    if document["kind"] == "ScaledJob":
        return document["spec"]["jobTargetRef"]["template"]["spec"]  # type: ignore[no-any-return]
    if document["kind"] == "CronJob":
        return document["spec"]["jobTemplate"]["spec"]["template"]["spec"]  # type: ignore[no-any-return]
    return document["spec"] if document["kind"] == "Pod" else None


def containers(document: Object) -> Iterator[Object]:
    spec = pod_spec(document) or {}
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field, [])


def images_by_digest(document: Object) -> list[str]:
    return [f"{c['name']}: image {c['image']}" for c in containers(document) if not _PINNED.fullmatch(c["image"])]


def limits_given(document: Object) -> list[str]:
    return [c["name"] for c in containers(document) if "memory" not in c.get("resources", {}).get("limits", {})]


def root_read_only(document: Object) -> list[str]:
    return [c["name"] for c in containers(document) if c.get("securityContext", {}).get("readOnlyRootFilesystem") is not True]


def restricted(document: Object) -> list[str]:
    """Pod Security's `restricted`, as far as these charts could break it; the API server's own check is the judge."""
    spec = pod_spec(document)
    if spec is None:
        return []
    pod = spec.get("securityContext", {})
    problems = []
    if pod.get("runAsNonRoot") is not True or pod.get("runAsUser", 1) == 0:
        problems.append("runs as root")
    if pod.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        problems.append("no seccomp profile")
    problems += [f"{field} of the host" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    problems += [f"volume {v['name']} of the host" for v in spec.get("volumes", []) if "hostPath" in v]
    for container in containers(document):
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            problems.append(f"{container['name']}: may gain privileges")
        if "ALL" not in context.get("capabilities", {}).get("drop", []) or context.get("capabilities", {}).get("add"):
            problems.append(f"{container['name']}: keeps capabilities")
    return problems


def no_token(document: Object) -> list[str]:
    if document["kind"] == "ServiceAccount":
        return [] if document.get("automountServiceAccountToken") is False else ["mounts its token"]
    spec = pod_spec(document)
    if document["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "gates":
        return []  # it asks Kubernetes' API what is under way
    return ["mounts a token"] if spec is not None and spec.get("automountServiceAccountToken") is not False else []


def no_wildcard_rights(document: Object) -> list[str]:
    if document["kind"] not in {"Role", "ClusterRole"}:
        return []
    return [str(rule) for rule in document.get("rules", []) if any("*" in values for values in rule.values())]


def no_plain_secret(document: Object) -> list[str]:
    if document["kind"] == "Secret":
        return ["a Secret in a chart is a secret in plain text"]
    suspicious = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
    return [
        f"{c['name']}: {entry['name']}"
        for c in containers(document)
        for entry in c.get("env", [])
        if "value" in entry and suspicious.search(entry["name"])
    ]


def analyses_closed(document: Object) -> list[str]:
    """Argo Rollouts takes what has no condition, and what was only inconclusive within its limits, for a success."""
    if document["kind"] not in {"AnalysisTemplate", "ClusterAnalysisTemplate"}:
        return []
    problems = []
    for metric in document["spec"]["metrics"]:
        if not metric.get("successCondition") or not metric.get("failureCondition"):
            problems.append(f"{metric['name']}: needs a success and a failure condition")
        if int(metric.get("consecutiveSuccessLimit", 0)) < 1 or "count" not in metric:
            problems.append(f"{metric['name']}: could succeed, or run on, without one success")
        if int(metric.get("failureLimit", 0)) != 0:
            problems.append(f"{metric['name']}: tolerates a FAIL")
        if "web" in metric["provider"]:
            problems.append(f"{metric['name']}: a web metric takes a body that is not JSON for a success")
    return problems or ([] if document["spec"]["metrics"] else ["no metric"])


def rollouts_gated(document: Object) -> list[str]:
    if document["kind"] != "Rollout":
        return []
    strategy = document["spec"]["strategy"]["blueGreen"]
    problems = [f"no {stage}" for stage in ("prePromotionAnalysis", "postPromotionAnalysis") if not strategy.get(stage)]
    if "scaleDownDelaySeconds" in strategy:
        problems.append("scaleDownDelaySeconds ends a post-promotion analysis that still runs")
    if document["spec"].get("progressDeadlineAbort") is not True:
        problems.append("a release whose pods never become ready is not aborted")
    return problems


def selectors_select(document: Object) -> list[str]:
    if document["kind"] not in {"Service", "PodMonitor", "PodDisruptionBudget"}:
        return []
    selector = document["spec"].get("selector") or {}
    if "tidegate/role" in document["metadata"].get("labels", {}):  # active and preview: Argo Rollouts' to select
        return ["applying it again would take the selector from Argo Rollouts"] if selector else []
    return [] if selector.get("matchLabels", selector) else ["selects everything"]


PROPERTIES: tuple[Property, ...] = (
    images_by_digest,
    limits_given,
    root_read_only,
    restricted,
    no_token,
    no_wildcard_rights,
    no_plain_secret,
    analyses_closed,
    rollouts_gated,
    selectors_select,
)
