"""The cluster itself: a node that is Ready, pods that run, a Service and a name that lead to them, rules that are enforced."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cluster.access import Kubernetes, await_true
from tests.cluster.objects import pod, service


def phase(kubernetes: Kubernetes, name: str, namespace: str) -> str:
    found: str = kubernetes.get("pod", name, namespace).get("status", {}).get("phase", "absent")
    return found


def test_the_node_is_ready(kubernetes: Kubernetes) -> None:
    nodes = json.loads(kubernetes.kubectl("get", "nodes", "-o", "json"))["items"]
    conditions = {c["type"]: c["status"] for c in nodes[0]["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    if kubernetes.own:
        assert nodes[0]["status"]["nodeInfo"]["kubeletVersion"] == "v1.34.5"
        assert nodes[0]["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")


def test_a_pod_answers_through_its_service_by_name(kubernetes: Kubernetes, new_namespace: Callable[..., str]) -> None:
    """CNI, kube-proxy and CoreDNS in one: a pod asks the other by the Service's name."""
    namespace = new_namespace()
    server = pod("server", kubernetes.responder, [])
    server["spec"]["containers"][0]["env"] = [{"name": "TIDEGATE_RELEASE", "value": "r1"}]
    kubernetes.apply(server, namespace)
    kubernetes.apply(service("server"), namespace)
    url = f"http://server.{namespace}.svc.cluster.local/"
    kubernetes.apply(pod("client", kubernetes.responder, ["get", url], restartPolicy="Never"), namespace)
    await_true(
        lambda: phase(kubernetes, "client", namespace) in {"Succeeded", "Failed"},
        90,
        lambda: phase(kubernetes, "client", namespace),
    )
    answer = kubernetes.kubectl("logs", "client", "-n", namespace)
    assert json.loads(answer) == {"release": "r1"}
    assert phase(kubernetes, "client", namespace) == "Succeeded"


def test_pod_security_refuses_a_pod_that_runs_as_root(kubernetes: Kubernetes, new_namespace: Callable[..., str]) -> None:
    rooted = pod("rooted", kubernetes.responder, [])
    rooted["spec"]["securityContext"]["runAsNonRoot"] = False
    message = kubernetes.refused("apply", "-n", new_namespace(), "-f", "-", given=json.dumps(rooted))
    assert "violates PodSecurity" in message
