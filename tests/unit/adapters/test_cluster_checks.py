"""What `tidegate doctor` finds in a cluster; each thing taken away or broken is found, by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.adapters.kubernetes.cluster_checks import Check, Installed, examine
from tidegate.adapters.kubernetes.gate_analyses import FAILURE, SUCCESS
from tidegate.domain.errors import NotFound, Unavailable

Json = dict[str, Any]
ARGO = "/apis/argoproj.io/v1alpha1"
MODELS = "namespaces/models"
ROLLOUT = f"{ARGO}/{MODELS}/rollouts/demand"
BEFORE = f"{ARGO}/{MODELS}/analysistemplates/demand-pre-promotion"
RELEASE = "3f" * 32
SCALED = f"/apis/keda.sh/v1alpha1/{MODELS}/scaledobjects/demand"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/tidegate/endpointslices"
VALUES: Json = {
    "replicas": 2,
    "gates": {"address": "http://tidegate-gates.tidegate.svc:8080"},
    "monitoring": {"enabled": True},
    "autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"},
}


def metric(gate: str) -> Json:
    address = "http://gates/v1/models/demand/releases/{{args.release}}/gates/" + gate
    closed = {"successCondition": SUCCESS, "failureCondition": FAILURE, "consecutiveSuccessLimit": 1, "failureLimit": 0}
    return {"name": gate, **closed, "provider": {"prometheus": {"address": address}}}


def plan(model: str, digest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if (model, digest) != ("demand", RELEASE):
        raise NotFound(f"release {digest} is not here")
    return ("parity", "drift"), ("bake",)


def healthy() -> dict[str, Json]:
    template = {"metadata": {"annotations": {"tidegate/release": RELEASE}}}
    analyses = {"prePromotionAnalysis": {"templates": []}, "postPromotionAnalysis": {"templates": []}}
    analyses = {stage: {"templates": [{"templateName": "x"}]} for stage in analyses}
    return {
        "/version": {"major": "1", "minor": "34+"},
        "/api/v1/namespaces/models": {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
        f"/apis/networking.k8s.io/v1/{MODELS}/networkpolicies": {"items": [{}]},
        ARGO: {"resources": [{"kind": "Rollout"}]},
        "/apis/monitoring.coreos.com/v1": {"resources": [{"kind": "PodMonitor"}]},
        "/apis/keda.sh/v1alpha1": {"resources": [{"kind": "ScaledObject"}]},
        "/apis/apps/v1/deployments": {"items": [{"metadata": {"namespace": "argo-rollouts"}, "status": {"readyReplicas": 1}}]},
        SLICES: {"items": [{"endpoints": [{"conditions": {"ready": True}}]}]},
        ROLLOUT: {
            "spec": {"strategy": {"blueGreen": analyses}, "template": template},
            "status": {"phase": "Healthy", "availableReplicas": 2},
        },
        BEFORE: {"spec": {"metrics": [metric("parity"), metric("drift")]}},
        f"{ARGO}/{MODELS}/analysistemplates/demand-post-promotion": {"spec": {"metrics": [metric("bake")]}},
        SCALED: {"status": {"conditions": [{"type": "Ready", "status": "True", "message": "ready"}]}},
    }


class Api:
    def __init__(self, objects: dict[str, Json]) -> None:
        self.objects = objects

    def get(self, path: str, **_: str) -> Json:
        if path not in self.objects:
            raise NotFound(f"Kubernetes: GET {path}: not found")
        return self.objects[path]


def wrong(objects: dict[str, Json], values: Json = VALUES) -> list[Check]:
    checks = list(examine(Api(objects), Installed("models", {"demand": values}, plan)))  # type: ignore[arg-type]
    assert all(check.fix for check in checks if not check.ok), "what is wrong has to be said with how to mend it"
    return [check for check in checks if not check.ok]


def test_nothing_is_wrong_with_a_healthy_cluster() -> None:
    assert wrong(healthy()) == []


def _set(path: str, *keys: str, to: Any) -> Callable[[dict[str, Json]], None]:
    def change(objects: dict[str, Json]) -> None:
        found = objects[path]
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = to

    return change


def _gone(path: str) -> Callable[[dict[str, Json]], None]:
    return lambda objects: objects.pop(path) and None


@pytest.mark.parametrize(
    ("change", "subject", "said"),
    [
        (_set("/version", "minor", to="29"), "API server", "1.29"),
        (_set("/api/v1/namespaces/models", "metadata", "labels", to=None), "namespace models", "enforces nothing"),
        (_gone("/api/v1/namespaces/models"), "namespace models", "not found"),
        (_set(f"/apis/networking.k8s.io/v1/{MODELS}/networkpolicies", "items", to=[]), "network policies", "0 in models"),
        (_gone(ARGO), "kind Rollout", "does not know"),
        (_gone("/apis/keda.sh/v1alpha1"), "kind ScaledObject", "does not know"),
        (_set("/apis/apps/v1/deployments", "items", to=[]), "Argo Rollouts", "0 of its controllers"),
        (_set(SLICES, "items", to=[{"endpoints": [{"conditions": {"ready": False}}]}]), "gate service of demand", "0 ready"),
        (_set(SLICES, "items", to=[{"endpoints": None}]), "gate service of demand", "tidegate-gates in tidegate"),
        (_set(ROLLOUT, "status", "phase", to="Degraded"), "rollout of demand", "Degraded"),
        (_set(ROLLOUT, "status", "availableReplicas", to=0), "rollout of demand", "0 pods"),
        (_set(ROLLOUT, "spec", "strategy", "blueGreen", "scaleDownDelaySeconds", to=30), "rollout of demand", "ends a bake"),
        (_set(ROLLOUT, "spec", "strategy", "blueGreen", to={}), "rollout of demand", "everything would be promoted"),
        (_set(BEFORE, "spec", "metrics", to=[metric("parity")]), "analyses of demand", "has drift"),
        (_set(BEFORE, "spec", "metrics", to=None), "analyses of demand", "has parity, drift"),
        (_set(BEFORE, "spec", "dryRun", to=[{"metricName": "drift"}]), "analyses of demand", "has parity, drift"),
        (
            _set(ROLLOUT, "spec", "template", "metadata", "annotations", "tidegate/release", to="0"),
            "analyses of demand",
            "not here",
        ),
        (_gone(BEFORE), "analyses of demand", "not found"),
        (_set(SCALED, "status", to={}), "autoscaling of demand", "has not looked"),
        (
            _set(
                SCALED, "status", "conditions", to=[{"type": "Ready", "status": "True"}, {"type": "Fallback", "status": "True"}]
            ),
            "autoscaling of demand",
            "no numbers",
        ),
    ],
)
def test_what_is_broken_is_found(change: Callable[[dict[str, Json]], None], subject: str, said: str) -> None:
    objects = healthy()
    change(objects)
    found = wrong(objects)
    assert [check.subject for check in found] == [subject]
    assert said in found[0].observed


def test_a_model_that_is_not_installed_is_neither_rolled_out_nor_judged() -> None:
    objects = healthy()
    del objects[ROLLOUT]
    found = wrong(objects)
    assert [check.subject for check in found] == ["rollout of demand", "analyses of demand"]
    assert all("not found" in check.observed for check in found)


def test_a_cluster_that_does_not_answer_is_the_one_thing_to_say() -> None:
    class Silent:
        def get(self, path: str, **_: str) -> Json:
            raise Unavailable("no answer")

    (only,) = examine(Silent(), Installed("models", {"demand": VALUES}, plan))  # type: ignore[arg-type]
    assert (only.ok, only.subject) == (False, "API server")


def test_what_the_values_do_not_ask_for_is_not_missed() -> None:
    objects = healthy()
    del objects["/apis/keda.sh/v1alpha1"], objects["/apis/monitoring.coreos.com/v1"], objects[SCALED]
    values = VALUES | {"monitoring": {"enabled": False}, "autoscaling": {"enabled": False}}
    assert wrong(objects, values) == []
