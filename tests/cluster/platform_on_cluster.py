"""The whole platform on a cluster, by its own charts and images: Redis, MLflow, gate service, gateway, a model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.images import build
from infra.one_node import images
from tests.cluster.access import Kubernetes

MODEL = "demand"
CHART = "tidegate"  # the name that the platform's chart is installed under
CLAIMS = ("tidegate-ledger", "data-tidegate-mlflow-0", "data-tidegate-redis-0")
SMALL = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1500Mi"}}


@dataclass(frozen=True)
class Images:
    """By digest."""

    envoy: str
    redis: str
    mlflow: str
    platform: str


@dataclass(frozen=True)
class OnCluster:
    """`home` is the platform's namespace, `models` that of the models; `state` a folder with releases and feature tables."""

    kubernetes: Kubernetes
    images: Images
    home: str
    models: str
    state: Path

    def volumes(self, folder: Path) -> None:
        """A cluster of our own has no storage provisioner: a folder of this machine for each claim."""
        for claim in CLAIMS:
            path = folder / self.home / claim
            path.mkdir(parents=True)
            path.chmod(0o777)
            spec = {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": self.home, "name": claim},
                "hostPath": {"path": str(path)},
            }
            document = {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{self.home}-{claim}"},
                "spec": spec,
            }
            self.kubernetes.kubectl("apply", "-f", "-", given=json.dumps(document))

    def install(self) -> None:
        small = {"resources": SMALL}
        values = {
            "gateway": {"image": self.images.envoy, "models": [{"name": MODEL, "namespace": self.models}], **small},
            "gates": {"image": self.images.platform, "namespace": self.models, **small},
            "monitor": {"enabled": False},
            "redis": {"enabled": True, "image": self.images.redis, "args": REDIS, "storage": {"size": "1Gi"}, **small},
            "mlflow": {
                "enabled": True,
                "image": self.images.mlflow,
                "args": MLFLOW,
                "env": NO_JOBS,
                "storage": {"size": "1Gi"},
                **small,
            },
            "networkPolicy": {"modelNamespaces": [self.models]},
        }
        rendered = self.kubernetes.helm_template(CHART, CHART, self.home, values)
        self.kubernetes.apply(rendered, self.home)
        for workload in (
            "statefulset/tidegate-redis",
            "statefulset/tidegate-mlflow",
            "deployment/tidegate-gates",
            "deployment/tidegate-gateway",
        ):
            self.kubernetes.kubectl("rollout", "status", workload, "-n", self.home, "--timeout=240s")

    def model_values(self) -> dict[str, Any]:
        redis = f"redis://tidegate-redis.{self.home}.svc:6379/0"
        return {
            "onlineStore": redis,
            "records": redis,
            "gates": {
                "address": f"http://tidegate-gates.{self.home}.svc:8080",
                "serviceAccount": {"name": "tidegate-gates", "namespace": self.home},
                "intervalSeconds": 2,
                "attempts": 120,
                "unreachableAttempts": 20,
            },
            "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "700Mi"}},
        }


REDIS = ["--bind", "* -::*", "--protected-mode", "no", "--dir", "/data", "--save", "", "--maxmemory", "512mb"]
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # half a gigabyte for what nothing here uses
MLFLOW = [
    *("server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--allowed-hosts", "*"),
    *("--backend-store-uri", "sqlite:////var/lib/mlflow/mlflow.db"),
    *("--serve-artifacts", "--artifacts-destination", "/var/lib/mlflow/artifacts"),
]


def build_images(kubernetes: Kubernetes, say: Callable[[str], None]) -> Images:
    """Build and load what the platform runs from."""
    assert kubernetes.own is not None
    redis = images.build("redis", images.with_libraries(Path("/usr/bin/redis-server"), "/redis-server"), ["/redis-server"], say)
    made = [redis, build.mlflow(say), build.platform(say)]
    for image in made:
        images.load(kubernetes.own, image)
    return Images(kubernetes.envoy, *(image.pinned for image in made))


@contextmanager
def forwarded(kubernetes: Kubernetes, namespace: str, target: str, port: int) -> Any:
    """An address on this side (of the cluster's network namespace, where it is our own) that leads to a port of the cluster."""
    command = ["kubectl", "port-forward", "-n", namespace, target, f":{port}"]
    inside = kubernetes.own.inside(*command) if kubernetes.own else command
    process = subprocess.Popen(inside, env=dict(kubernetes.environment), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Forwarding from 127.0.0.1:"), line
        yield f"127.0.0.1:{line.split(':')[1].split()[0]}"
    finally:
        process.terminate()
        process.wait(10)
