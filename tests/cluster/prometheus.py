"""A real Prometheus in the cluster, run by its operator, which reads the charts' PodMonitors and PrometheusRules."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.cluster.access import Kubernetes, await_true

NAME = "prometheus-operated"  # the operator's Service for it
PORT = 9090
VERSION = "v3.10.0"  # of what tests/cluster/one_node/sources pins
SECURITY = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}


@dataclass(frozen=True)
class Prometheus:
    """In a namespace of its own, which by default is where the charts look for it."""

    kubernetes: Kubernetes
    namespace: str = "monitoring"

    @property
    def address(self) -> str:
        return f"http://{NAME}.{self.namespace}.svc:{PORT}"

    def install(self, watched: Sequence[str]) -> None:
        """`watched` are the namespaces whose pods, PodMonitors and PrometheusRules it looks at."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.kubernetes.kubectl("apply", "-f", "-", given=_json("v1", "Namespace", self.namespace, metadata={"labels": labels}))
        self.kubernetes.apply(_json("v1", "ServiceAccount", "prometheus"), self.namespace)
        for namespace in watched:
            self._allow(namespace)
        here = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(watched)}]}
        spec = {
            "image": self.kubernetes.prometheus,
            "version": VERSION,
            "replicas": 1,
            "portName": "http",
            "serviceAccountName": "prometheus",
            "podMonitorSelector": {},
            "podMonitorNamespaceSelector": here,
            "ruleSelector": {},
            "ruleNamespaceSelector": here,
            "scrapeInterval": "5s",
            "scrapeTimeout": "5s",
            "evaluationInterval": "5s",
            "retention": "1d",
            "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
            "securityContext": SECURITY,
        }
        self.kubernetes.apply(_json("monitoring.coreos.com/v1", "Prometheus", "tests", spec=spec), self.namespace)
        ready = lambda: self.kubernetes.ask(self.namespace, NAME, "/-/ready") != ""  # noqa: E731
        await_true(ready, 120, self._problem)

    def _allow(self, namespace: str) -> None:
        """It may look for pods there, and do nothing else."""
        group, name = "rbac.authorization.k8s.io", self.namespace
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
        account = {"kind": "ServiceAccount", "name": "prometheus", "namespace": self.namespace}
        role = {"apiGroup": group, "kind": "Role", "name": name}
        self.kubernetes.apply(_json(f"{group}/v1", "Role", name, rules=rules), namespace)
        self.kubernetes.apply(_json(f"{group}/v1", "RoleBinding", name, roleRef=role, subjects=[account]), namespace)

    def _problem(self) -> str:
        kubectl = self.kubernetes.kubectl
        operator = kubectl("logs", "deployment/prometheus-operator", "-n", "prometheus-operator", "--tail=5", check=False)
        return operator + kubectl("describe", "pods", "-n", self.namespace, check=False)[-2000:]

    def remove(self) -> None:
        self.kubernetes.kubectl("delete", "namespace", self.namespace, "--timeout=60s", check=False)

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of an instant query."""
        found = self._asked(f"query?{urllib.parse.urlencode({'query': expression})}").get("result", [])
        return [(each["metric"], float(each["value"][1])) for each in found]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule that it evaluates, with the health of its last evaluation."""
        return [rule for group in self._asked("rules").get("groups", []) for rule in group["rules"]]

    def targets(self) -> dict[str, set[str]]:
        """The health of the pods that each PodMonitor (`namespace/name`) leads to."""
        found: dict[str, set[str]] = {}
        for each in self._asked("targets?state=active").get("activeTargets", []):
            found.setdefault(each["scrapePool"].removeprefix("podMonitor/").removesuffix("/0"), set()).add(each["health"])
        return found

    def _asked(self, path: str) -> dict[str, Any]:
        answer = json.loads(self.kubernetes.ask(self.namespace, NAME, f"/api/v1/{path}") or "{}")
        data: dict[str, Any] = answer.get("data", {})
        return data


def _json(version: str, kind: str, name: str, **fields: Any) -> str:
    metadata = {"name": name} | fields.pop("metadata", {})
    return json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata} | fields)
