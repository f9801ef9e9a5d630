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

NAME = "prometheus-operated"  # of the operator's Service
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


@dataclass(frozen=True)
class Prometheus:
    """In a namespace of its own, which by default is where the charts look for it."""

    kubernetes: Kubernetes
    namespace: str = "monitoring"

    @property
    def address(self) -> str:
        return f"http://{NAME}.{self.namespace}.svc:{PORT}"

    def install(self, scraped: list[Scraped], rules: Any, say: Callable[[str], None]) -> None:
        """With `rules` (the `spec` of a PrometheusRule), as the operator would load them."""
        program = images.with_libraries(Path("/usr/bin/prometheus"), "/prometheus")
        image = self.kubernetes.publish(images.build("prometheus", program, ["/prometheus"], say))
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.kubernetes.kubectl("apply", "-f", "-", given=_json("v1", "Namespace", self.namespace, metadata={"labels": labels}))
        config = {
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "scrape_configs": [each.job() for each in scraped],
            "rule_files": ["/etc/prometheus/rules.json"],
        }
        files = {"config.json": json.dumps(config), "rules.json": json.dumps(rules)}
        document = pod(NAME, image, ["--config.file=/etc/prometheus/config.json", "--storage.tsdb.path=/data"])
        document["metadata"]["labels"] |= {"app.kubernetes.io/name": "prometheus"}  # by which NetworkPolicies know it
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
            self.kubernetes.apply(given, self.namespace)
        ready = lambda: self.kubernetes.ask(self.namespace, NAME, "/-/ready") != ""  # noqa: E731
        await_true(ready, 60, lambda: self.kubernetes.kubectl("logs", NAME, "-n", self.namespace, check=False)[-2000:])

    def remove(self) -> None:
        self.kubernetes.kubectl("delete", "namespace", self.namespace, "--timeout=60s", check=False)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of an instant query."""
        path = f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        answer = json.loads(self.kubernetes.ask(self.namespace, NAME, path) or "{}")
        found = answer.get("data", {}).get("result", [])
        return [(each["metric"], float(each["value"][1])) for each in found]


def _json(version: str, kind: str, name: str, **fields: Any) -> str:
    metadata = {"name": name} | fields.pop("metadata", {})
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata} | fields)
