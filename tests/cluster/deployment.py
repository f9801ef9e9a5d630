"""A model in a namespace of its own, installed by the charts, with a gate service whose verdicts a test sets."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.cluster.access import Kubernetes, await_true
from tests.cluster.objects import pod, service

A, B = "a" * 64, "b" * 64
MODEL = "demand"


@dataclass(frozen=True)
class Load:
    """What a client inside the cluster counted. `releases` has how many answers each release gave, second by second."""

    sent: int
    lost: int
    errors: dict[str, int]
    releases: list[dict[str, int]]

    @property
    def answered(self) -> Counter[str]:
        return sum((Counter(second) for second in self.releases), Counter())

    def without_end(self) -> list[dict[str, int]]:
        """Second by second until the last in which anything was answered, which may have been a part of one."""
        last = max(i for i, second in enumerate(self.releases) if second)
        return self.releases[:last]


@dataclass(frozen=True)
class Deployed:
    """`release` applies a release of the model; Argo Rollouts and the gates decide what becomes of it. The gateway has a
    namespace of its own, `home`, in which nothing is allowed that its chart does not name."""

    kubernetes: Kubernetes
    namespace: str
    home: str

    def start_gates(self) -> None:
        self.kubernetes.apply(pod("gates", self.kubernetes.responder, ["gates"]), self.namespace)
        self.kubernetes.apply(service("gates"), self.namespace)

    def kill_gates(self) -> None:
        self.kubernetes.kubectl("delete", "pod", "gates", "-n", self.namespace, "--wait=true")

    def verdict(self, gate: str, mode: str) -> None:
        self.kubernetes.ask(self.namespace, "gates", f"/verdicts/{gate}/{mode}", post="{}")

    def release(self, digest: str, **gates: Any) -> None:
        self.kubernetes.apply(self.rendered(digest, gates), self.namespace)

    def rendered(self, digest: str, gates: Mapping[str, Any], **values: Any) -> str:
        """The model's chart, for a release."""
        settings = {
            "address": f"http://gates.{self.namespace}.svc",
            "intervalSeconds": 1,
            "prePromotion": ["parity", "shadow", "drift"],
            "postPromotion": ["bake"],
            "deadlineSeconds": 3,
            "unreachableAttempts": 1,
        }
        common = {
            "model": MODEL,
            "release": digest,
            "image": self.kubernetes.responder,
            "onlineStore": "redis://none:6379/0",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "gates": settings | gates,
            "terminationGraceSeconds": 30,
            "networkPolicy": {"gateway": {"namespace": self.home}},
        }
        return self.kubernetes.helm_template("model", MODEL, self.namespace, common | values)

    def gateway(self, monitoring: str = "monitoring") -> str:
        """Install the gateway of the platform's chart for this model alone; the model's address through it. `monitoring` is the
        namespace of the Prometheus that may see its numbers."""
        values = {
            "gateway": {
                "image": self.kubernetes.envoy,
                "models": [{"name": MODEL, "namespace": self.namespace}],
                "resources": {"requests": {"cpu": "30m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            },
            "gates": {"enabled": False},
            "monitor": {"enabled": False},
            "networkPolicy": {"modelNamespaces": [self.namespace], "monitoring": {"namespace": monitoring}},
        }
        self.kubernetes.apply(self.kubernetes.helm_template("tidegate", "tidegate", self.home, values), self.home)
        self.kubernetes.kubectl("rollout", "status", "deployment/tidegate-gateway", "-n", self.home, "--timeout=120s")
        return f"http://tidegate-gateway.{self.home}.svc.cluster.local/models/{MODEL}/"

    def rollout(self) -> dict[str, Any]:
        return self.kubernetes.get("rollout", MODEL, self.namespace)

    def phase(self) -> str:
        """Argo Rollouts' own word for the state of the object that was last applied; empty while it has not looked at it."""
        found = self.rollout()
        status = found.get("status", {})
        if str(status.get("observedGeneration")) != str(found.get("metadata", {}).get("generation")):
            return ""
        phase: str = status.get("phase", "")
        return phase

    def live(self) -> str:
        """The release that answers clients of the active Service."""
        answer = self.kubernetes.ask(self.namespace, f"{MODEL}-active", "/")
        release: str = json.loads(answer)["release"] if answer else ""
        return release

    def pods(self, digest: str) -> list[str]:
        """Names of the pods that serve a release."""
        return [
            found["metadata"]["name"]
            for found in self.kubernetes.list("pod", self.namespace)
            if found["metadata"].get("annotations", {}).get("tidegate/release") == digest
        ]

    def analyses(self) -> dict[str, str]:
        """Phase of the newest AnalysisRun of each stage."""
        runs = sorted(self.kubernetes.list("analysisrun", self.namespace), key=lambda r: r["metadata"]["creationTimestamp"])
        return {run["metadata"]["labels"]["rollout-type"]: run.get("status", {}).get("phase", "") for run in runs}

    def describe(self) -> str:
        status = self.rollout().get("status", {})
        return f"{status.get('phase')}: {status.get('message')}; live {self.live()[:4]}; analyses {self.analyses()}"

    def until(self, check: Callable[[], bool], timeout_s: float = 90) -> None:
        await_true(check, timeout_s, self.describe)

    def until_healthy(self, digest: str) -> None:
        self.until(lambda: self.phase() == "Healthy" and self.live() == digest)

    def until_clients_reach(self, digest: str) -> None:
        """Until all of the gateway answers with that release: it follows the active Service as names in DNS do, in seconds."""
        path = f"/models/{MODEL}/predict"

        def all_answer() -> bool:
            answers = [self.kubernetes.ask(self.home, "tidegate-gateway", path, post="{}") for _ in range(8)]
            return all(answer and json.loads(answer)["release"] == digest for answer in answers)

        self.until(all_answer)

    def start_load(self, url: str, rate: str = "-1", body: str = "{}", name: str = "load") -> Callable[..., Load]:
        """Send `body` from inside the cluster, at a rate that the responder describes; returns once that is answered. What is
        returned ends it after `more` seconds, and says what was counted."""
        client = pod(name, self.kubernetes.responder, ["load", url, "900", rate, body], restartPolicy="Never")
        self.kubernetes.kubectl("delete", "pod", name, "-n", self.namespace, "--ignore-not-found")
        self.kubernetes.apply(client, self.namespace)
        phase = lambda: self.kubernetes.get("pod", name, self.namespace).get("status", {}).get("phase")  # noqa: E731
        says = f"/api/v1/namespaces/{self.namespace}/pods/{name}:8080/proxy"
        await_true(lambda: self.kubernetes.raw(f"{says}/started") == "yes", 90, lambda: f"the load's pod is {phase()}")

        def counted(more: float = 3) -> Load:
            time.sleep(more)
            self.kubernetes.raw(f"{says}/stop")
            await_true(lambda: phase() == "Succeeded", 60, lambda: f"the load's pod is {phase()}")
            return Load(**json.loads(self.kubernetes.kubectl("logs", name, "-n", self.namespace)))

        return counted


@contextmanager
def namespaces(kubernetes: Kubernetes) -> Iterator[Callable[..., str]]:
    """Makes namespaces with Pod Security `restricted` enforced, and removes them afterwards."""
    made: list[str] = []

    def make(prefix: str = "t") -> str:
        name = f"{prefix}-{os.urandom(4).hex()}"
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        kubernetes.kubectl("create", "-f", "-", given=json.dumps(document))
        made.append(name)
        return name

    yield make
    for name in made:
        kubernetes.kubectl("delete", "namespace", name, "--wait=false", check=False)


def deploy(kubernetes: Kubernetes, new_namespace: Callable[..., str]) -> Deployed:
    """Release A is live, and every gate passes."""
    model = Deployed(kubernetes, new_namespace("model"), new_namespace("gateway"))
    model.start_gates()
    model.release(A)
    model.until_healthy(A)
    model.until(lambda: kubernetes.ask(model.namespace, "gates", "/readyz") != "")
    return model
