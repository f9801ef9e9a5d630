"""A real Prometheus in the cluster, which scrapes what the charts' PodMonitors say.

The Prometheus operator would write its configuration from them; here the few fields that the charts use are translated.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infra.one_node import images
from tests.cluster.access import Kubernetes
from tests.cluster.objects import pod

NAMESPACE, NAME = "monitoring", "prometheus-operated"  # where the charts' defaults look for it
PORT = 9090
Json = dict[str, Any]


def install(kubernetes: Kubernetes, namespaces: list[str], say: Callable[[str], None]) -> None:
    """Scrape what is monitored in these namespaces by now."""
    assert kubernetes.own is not None
    image = images.build("prometheus", images.with_libraries(Path("/usr/bin/prometheus"), "/prometheus"), ["/prometheus"], say)
    images.load(kubernetes.own, image)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.kubectl("apply", "-f", "-", given=_json("v1", "Namespace", NAMESPACE, metadata={"labels": labels}))
    jobs = [job for namespace in namespaces for each in kubernetes.list("podmonitors", namespace) for job in _jobs(each)]
    text = json.dumps({"global": {"scrape_interval": "5s", "evaluation_interval": "5s"}, "scrape_configs": jobs})
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME}
    subjects = [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]
    document = pod(NAME, image.pinned, ["--config.file=/etc/prometheus/config.json", "--storage.tsdb.path=/data"])
    document["metadata"]["labels"] |= {"app.kubernetes.io/name": "prometheus"}
    spec, container = document["spec"], document["spec"]["containers"][0]
    spec |= {"serviceAccountName": NAME, "automountServiceAccountToken": True}
    spec["securityContext"] |= {"fsGroup": 65532}
    spec["volumes"] = [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}]
    container["resources"] = {"limits": {"memory": "512Mi"}}
    container["volumeMounts"] = [
        {"name": "config", "mountPath": "/etc/prometheus"},
        {"name": "data", "mountPath": "/data"},
    ]
    container["readinessProbe"] = {"httpGet": {"path": "/-/ready", "port": PORT}, "periodSeconds": 1}
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    for given in (
        _json("v1", "ServiceAccount", NAME),
        _json("rbac.authorization.k8s.io/v1", "ClusterRole", NAME, rules=rules),
        _json("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", NAME, roleRef=role, subjects=subjects),
        _json("v1", "ConfigMap", NAME, data={"config.json": text}),
        json.dumps(document),
        _json("v1", "Service", NAME, spec={"selector": {"app": NAME}, "ports": ports}),
    ):
        kubernetes.apply(given, NAMESPACE)
    kubernetes.kubectl("wait", "pod", NAME, "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s")


def remove(kubernetes: Kubernetes) -> None:
    kubernetes.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", check=False)


def query(kubernetes: Kubernetes, expression: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each sample of an instant query."""
    path = f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    answer = json.loads(kubernetes.ask(NAMESPACE, NAME, path) or "{}")
    found = answer.get("data", {}).get("result", [])
    return [(each["metric"], float(each["value"][1])) for each in found]


def _json(version: str, kind: str, name: str, **fields: Any) -> str:
    metadata = {"name": name} | fields.pop("metadata", {})
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata} | fields)


def _jobs(monitor: Json) -> list[Json]:
    """A scrape job for each endpoint of a PodMonitor."""
    namespace, spec = monitor["metadata"]["namespace"], monitor["spec"]
    meta = "__meta_kubernetes_pod_"
    label = lambda name: re.sub(r"\W", "_", name)  # noqa: E731
    relabel: list[Json] = [
        {"source_labels": [f"{meta}label_{label(name)}"], "regex": re.escape(value), "action": "keep"}
        for name, value in spec["selector"]["matchLabels"].items()
    ]
    relabel += [
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{meta}name"], "target_label": "pod"},
        {"source_labels": [f"{meta}phase"], "regex": "(Failed|Succeeded)", "action": "drop"},
        *({"source_labels": [f"{meta}label_{label(n)}"], "target_label": label(n)} for n in spec.get("podTargetLabels", ())),
    ]
    return [
        {
            "job_name": f"{namespace}/{monitor['metadata']['name']}/{i}",
            "metrics_path": endpoint["path"],
            "scrape_interval": endpoint["interval"],
            "scrape_timeout": endpoint["interval"],
            "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
            "relabel_configs": [
                *relabel,
                {"source_labels": [f"{meta}container_port_name"], "regex": endpoint["port"], "action": "keep"},
            ],
        }
        for i, endpoint in enumerate(spec["podMetricsEndpoints"])
    ]
