"""A real Prometheus in the cluster, which finds what to scrape by DNS, and labels it with its namespace as a PodMonitor would.

Debian's Prometheus cannot ask Kubernetes for pods, and the operator that reads PodMonitors does not run in these tests.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.one_node import images
from tests.cluster.access import Kubernetes, await_true
from tests.cluster.objects import pod

NAMESPACE, NAME = "monitoring", "prometheus-operated"  # where the charts' defaults look for it
PORT = 9090


@dataclass(frozen=True)
class Scraped:
    """All addresses of a Service."""

    service: str
    namespace: str
    port: int
    labels: dict[str, str] = field(default_factory=dict)

    def job(self) -> dict[str, Any]:
        labels = {"namespace": self.namespace} | self.labels
        host = f"{self.service}.{self.namespace}.svc.cluster.local"
        return {
            "job_name": f"{self.namespace}/{self.service}",
            "scrape_interval": "5s",
            "scrape_timeout": "5s",
            "dns_sd_configs": [{"names": [host], "type": "A", "port": self.port, "refresh_interval": "2s"}],
            "relabel_configs": [{"target_label": name, "replacement": value} for name, value in labels.items()],
        }


def install(kubernetes: Kubernetes, scraped: list[Scraped], rules: Any, say: Callable[[str], None]) -> None:
    """With `rules` (the `spec` of a PrometheusRule), as the operator would load them."""
    image = images.build("prometheus", images.with_libraries(Path("/usr/bin/prometheus"), "/prometheus"), ["/prometheus"], say)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kubernetes.kubectl("apply", "-f", "-", given=_json("v1", "Namespace", NAMESPACE, metadata={"labels": labels}))
    config = {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "scrape_configs": [each.job() for each in scraped],
        "rule_files": ["/etc/prometheus/rules.json"],
    }
    files = {"config.json": json.dumps(config), "rules.json": json.dumps(rules)}
    document = pod(NAME, kubernetes.publish(image), ["--config.file=/etc/prometheus/config.json", "--storage.tsdb.path=/data"])
    spec, container = document["spec"], document["spec"]["containers"][0]
    spec["securityContext"] |= {"fsGroup": 65532}
    spec["volumes"] = [{"name": "config", "configMap": {"name": NAME}}, {"name": "data", "emptyDir": {}}]
    container["resources"] = {"limits": {"memory": "512Mi"}}
    container["volumeMounts"] = [
        {"name": "config", "mountPath": "/etc/prometheus"},
        {"name": "data", "mountPath": "/data"},
    ]
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    for given in (
        _json("v1", "ConfigMap", NAME, data=files),
        json.dumps(document),
        _json("v1", "Service", NAME, spec={"selector": {"app": NAME}, "ports": ports}),
    ):
        kubernetes.apply(given, NAMESPACE)
    ready = lambda: kubernetes.ask(NAMESPACE, NAME, "/-/ready") != ""  # noqa: E731
    await_true(ready, 60, lambda: kubernetes.kubectl("logs", NAME, "-n", NAMESPACE, check=False)[-2000:])


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
