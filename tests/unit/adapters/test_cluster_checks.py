"""What `tidegate doctor` finds in a cluster; each thing taken away or broken is found, by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.adapters.kubernetes.cluster_checks import Check, Installed, examine
from tidegate.adapters.kubernetes.gate_analyses import FAILURE, SUCCESS
from tidegate.domain.errors import NotFound, Unavailable
from tidegate.domain.project import MEGABYTE

Json = dict[str, Any]
ARGO = "/apis/argoproj.io/v1alpha1"
MODELS = "namespaces/models"
ROLLOUT = f"{ARGO}/{MODELS}/rollouts/demand"
BEFORE = f"{ARGO}/{MODELS}/analysistemplates/demand-pre-promotion"
RELEASE = "3f" * 32
SCALED = f"/apis/keda.sh/v1alpha1/{MODELS}/scaledobjects/demand"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/tidegate/endpointslices"
GATEWAY = "/api/v1/namespaces/tidegate/configmaps/tidegate-gateway"
VALUES: Json = {
    "replicas": 2,
    "gates": {"address": "http://tidegate-gates.tidegate.svc:8080"},
    "monitoring": {"enabled": True},
    "autoscaling": {"enabled": True, "prometheus": "http://prometheus:9090"},
}


def route(model: str, limit: int) -> Json:
    filters = {"envoy.filters.http.buffer": {"buffer": {"max_request_bytes": limit}}, "other": {}}
    return {"metadata": {"filter_metadata": {"tidegate": {"model": model}}}, "typed_per_filter_config": filters}


def metric(gate: str) -> Json:
    address = "http://gates/v1/models/demand/releases/{{args.release}}/gates/" + gate
    closed = {"successCondition": SUCCESS, "failureCondition": FAILURE, "consecutiveSuccessLimit": 1, "failureLimit": 0}
    return {"name": gate, **closed, "provider": {"prometheus": {"address": address}}}


def plan(model: str, digest: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if (model, digest) != ("demand", RELEASE):
        raise NotFound(f"release {digest} is not here")
    return ("parity", "drift"), ("bake",)


def healthy() -> dict[str, Json]:
    template = {"metadata": {"annotations": {"tidegate/release": RELEASE}}, "spec": {"containers": [{"args": []}]}}
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
        GATEWAY: {"data": {"rds.json": json.dumps([route("demand", MEGABYTE), route("returns", 4 * MEGABYTE)])}},
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


def wrong(objects: dict[str, Json], values: Json = VALUES, limit: int = MEGABYTE) -> list[Check]:
    limits = {"demand": limit}
    checks = list(examine(Api(objects), Installed("models", {"demand": values}, plan, limits)))  # type: ignore[arg-type]
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
    assert [check.subject for check in found] == ["rollout of demand", "analyses of demand", "largest body of demand"]
    assert all("not found" in check.observed for check in found)


def test_a_cluster_that_does_not_answer_is_the_one_thing_to_say() -> None:
    class Silent:
        def get(self, path: str, **_: str) -> Json:
            raise Unavailable("no answer")

    (only,) = examine(Silent(), Installed("models", {"demand": VALUES}, plan, {"demand": MEGABYTE}))  # type: ignore[arg-type]
    assert (only.ok, only.subject) == (False, "API server")


def test_what_the_values_do_not_ask_for_is_not_missed() -> None:
    objects = healthy()
    del objects["/apis/keda.sh/v1alpha1"], objects["/apis/monitoring.coreos.com/v1"], objects[SCALED]
    values = VALUES | {"monitoring": {"enabled": False}, "autoscaling": {"enabled": False}}
    assert wrong(objects, values) == []


def test_the_largest_body_is_the_project_files_at_the_gateway_and_in_pods() -> None:
    (found,) = wrong(healthy(), limit=4 * MEGABYTE)
    assert found.subject == "largest body of demand"
    said = "the project file says 4 MiB, the gateway 1 MiB, its pods 1 MiB; the smallest decides, with 413"
    assert found.observed == said
    assert "chart export" in found.fix
    objects = healthy()
    objects[ROLLOUT]["spec"]["template"]["spec"]["containers"][0]["args"] = ["--port=8080", f"--body-limit={4 * MEGABYTE}"]
    (found,) = wrong(objects, limit=4 * MEGABYTE)
    assert "the gateway 1 MiB;" in found.observed
    objects[GATEWAY]["data"]["rds.json"] = json.dumps({"routes": [route("demand", 4 * MEGABYTE)]})
    assert wrong(objects, limit=4 * MEGABYTE) == []
    objects[GATEWAY]["data"]["rds.json"] = "[]"
    (found,) = wrong(objects, limit=4 * MEGABYTE)
    assert "the gateway does not know the model" in found.observed


def test_triton_has_no_largest_body_of_its_own() -> None:
    objects = healthy()
    objects[ROLLOUT]["spec"]["template"]["spec"]["containers"][0]["args"] = ["tritonserver", "--model-repository=/x"]
    assert wrong(objects) == []
