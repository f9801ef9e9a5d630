"""The whole platform on a cluster, by its own charts and images: Redis, MLflow, gate service, gateway, a model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from infra.images import build
from tests.cluster.access import ROOT, Kubernetes
from tests.cluster.one_node import images
from tests.cluster.train import OUTPUT

MODEL = "demand"
CHART = "tidegate"  # the name that the platform's chart is installed under
CLAIMS = ("tidegate-ledger", "data-tidegate-mlflow-0", "data-tidegate-redis-0")
SMALL = {"requests": {"cpu": "30m", "memory": "64Mi"}, "limits": {"memory": "1500Mi"}}  # more than other tests' pods have
JUDGING = {"requests": {"cpu": "150m", "memory": "256Mi"}, "limits": {"memory": "1500Mi"}}  # a rollout waits for it
TRAINING = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "4Gi"}}


@dataclass(frozen=True)
class Images:
    """By digest."""

    envoy: str
    redis: str
    mlflow: str
    platform: str


@dataclass(frozen=True)
class OnCluster:
    """`home` is the platform's namespace, `models` that of the models, `clients` one of programs that ask them; `state` a
    folder with releases and feature tables."""

    kubernetes: Kubernetes
    images: Images
    home: str
    models: str
    clients: str
    state: Path

    def prepare(self, *others: str) -> None:
        """The namespaces but for those that others make, and storage. What an interrupted run left in our cluster goes."""
        names = [self.home, self.models, self.clients]
        if there := self.kubernetes.kubectl("get", "namespace", *names, "--ignore-not-found", "-o", "name").split():
            assert self.kubernetes.own, f"{', '.join(there)} exist in the cluster that was given; these tests would remove them"
            self.remove()
        for name in (name for name in names if name not in others):
            labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
            document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
            self.kubernetes.kubectl("apply", "-f", "-", given=json.dumps(document))
        provide_volumes(self.kubernetes, self.home, CLAIMS)

    def remove(self) -> None:
        """Away with it all, so that the cluster can be used again."""
        for name in (self.clients, self.models, self.home):
            self.kubernetes.kubectl("delete", "namespace", name, "--timeout=120s", check=False)
        remove_volumes(self.kubernetes, self.home, CLAIMS)

    def install(self) -> None:
        small = {"resources": SMALL}
        values = {
            "gateway": {"image": self.images.envoy, "models": [{"name": MODEL, "namespace": self.models}], **small},
            "gates": {
                "image": self.images.platform,
                "namespace": self.models,
                "trustedKeys": self.trusted_keys(),
                "resources": JUDGING,
            },
            "monitor": {"image": self.images.platform, "everySeconds": 30, **small},
            "training": {"enabled": True, "image": self.images.platform, "pollingSeconds": 2, "resources": TRAINING},
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
            "deployment/tidegate-monitor",
            "deployment/tidegate-gateway",
        ):
            self.kubernetes.kubectl("rollout", "status", workload, "-n", self.home, "--timeout=240s")

    def trusted_keys(self) -> list[str]:
        return (self.state / "keys" / "release.pub").read_text().split()

    def model_values(self) -> dict[str, Any]:
        redis = f"redis://tidegate-redis.{self.home}.svc:6379/0"
        return {
            "onlineStore": redis,
            "records": redis,
            "trustedKeys": self.trusted_keys(),
            "gates": {
                "address": f"http://tidegate-gates.{self.home}.svc:8080",
                "serviceAccount": {"name": "tidegate-gates", "namespace": self.home},
                "intervalSeconds": 2,
                "unreachableAttempts": 20,
            },
            "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "700Mi"}},
        }


REDIS_IN_MEMORY = ["--bind", "* -::*", "--protected-mode", "no", "--save", ""]
REDIS = [*REDIS_IN_MEMORY, "--dir", "/data", "--maxmemory", "512mb"]
NO_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # half a gigabyte for what nothing here uses
MLFLOW = [
    *("server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", "--allowed-hosts", "*"),
    *("--backend-store-uri", "sqlite:////var/lib/mlflow/mlflow.db"),
    *("--serve-artifacts", "--artifacts-destination", "/var/lib/mlflow/artifacts"),
]


def build_images(kubernetes: Kubernetes, say: Callable[[str], None]) -> Images:
    """Build and load what the platform runs from."""
    ours = (build.mlflow(say), build.platform(say))
    return Images(kubernetes.envoy, publish_redis(kubernetes, say), *(kubernetes.publish(image) for image in ours))


def publish_redis(kubernetes: Kubernetes, say: Callable[[str], None]) -> str:
    program = images.with_libraries(Path("/usr/bin/redis-server"), "/redis-server")
    return kubernetes.publish(images.build("redis", program, ["/redis-server"], say))


def provide_volumes(kubernetes: Kubernetes, namespace: str, claims: Sequence[str]) -> None:
    """A folder of this machine for each claim of a namespace: a cluster of our own has no storage provisioner."""
    if kubernetes.own is None:
        return
    folder = kubernetes.own.folder / "volumes" / namespace
    shutil.rmtree(folder, ignore_errors=True)
    for claim in claims:
        path = folder / claim
        path.mkdir(parents=True)
        path.chmod(0o777)
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": namespace, "name": claim},
            "hostPath": {"path": str(path)},
        }
        meta = {"name": f"{namespace}-{claim}"}
        document = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec}
        kubernetes.kubectl("apply", "-f", "-", given=json.dumps(document))


def remove_volumes(kubernetes: Kubernetes, namespace: str, claims: Sequence[str]) -> None:
    for claim in claims if kubernetes.own else ():
        kubernetes.kubectl("delete", "persistentvolume", f"{namespace}-{claim}", "--wait=false", check=False)


@contextmanager
def forwarded(kubernetes: Kubernetes, namespace: str, target: str, port: int) -> Iterator[str]:
    """HOST:PORT on this side (of the cluster's network namespace, where it is our own) that leads to a port of the cluster."""
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


def python(kubernetes: Kubernetes, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run our Python where the cluster can be reached: before pods of the same machine, as it would on a machine of its own."""
    command = [sys.executable, *arguments]
    inside = kubernetes.own.inside("nice", "-n", "-10", *command) if kubernetes.own else command
    variables = dict(kubernetes.environment) | {"PYTHONPATH": str(ROOT / "platform")} | environment
    return subprocess.run(inside, env=variables, capture_output=True, text=True, check=False, timeout=600)


MATERIALIZE = """
import sys
from datetime import datetime
from pathlib import Path
from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.files.feature_folder import feature_folder
repo, state, online, until = sys.argv[1:]
store = FeastFeatureStore(Path(repo), feature_folder(Path(state), "demand"), online)
store.apply()
print(store.materialize(datetime.fromisoformat(until)))
"""


def materialize(kubernetes: Kubernetes, trained: Path, work: Path, redis: str, until: datetime) -> None:
    """Put the features of `trained` into the online store at `redis`; `work` is a folder for it."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(trained / "features", work / "features")
    done = python(kubernetes, "-c", MATERIALIZE, str(ROOT / "features"), str(work), f"redis://{redis}/0", until.isoformat())
    assert done.returncode == 0, done.stderr


REGISTER = """
import json, sys
from pathlib import Path
from tidegate.adapters.mlflow.registry import MlflowModelRegistry
address, folder, output, version = sys.argv[1:]
registry = MlflowModelRegistry(Path(folder), address)
while version and int(registry.register("demand", Path(output), {}, {}).version) < int(version):
    pass
print(json.dumps({alias: each.version for each in registry.versions("demand") for alias in each.aliases}))
"""


@dataclass(frozen=True)
class Commands:
    """The command line of a project whose target `kubernetes` is this cluster."""

    on: OnCluster
    project: Path  # folder of its tidegate.yaml
    built: dict[str, Future[str]] = field(default_factory=dict)  # images by release
    builder: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def write(self, store: str) -> None:
        """The repository's own project, with its paths made absolute."""
        text = yaml.safe_load((ROOT / "tidegate.yaml").read_text())
        model = text["models"][MODEL]
        for key in ("pipeline", "serving", "monitor"):
            model[key] = str(ROOT / model[key])
        for dataset in (text["datasets"][name] for name in model["datasets"]):
            dataset["definition"] = str(ROOT / dataset["definition"])
            dataset["sources"] = [str(ROOT / source) for source in dataset["sources"]]
        model["features"]["repo"] = str(ROOT / model["features"]["repo"])
        text["models"] = {MODEL: model}
        text["datasets"] = {name: text["datasets"][name] for name in model["datasets"]}
        text["stateDir"] = str(self.on.state)
        (self.project / "values").mkdir(parents=True, exist_ok=True)
        (self.project / "values" / f"{MODEL}.yaml").write_text(yaml.safe_dump(self.on.model_values()))
        cluster = {"namespace": self.on.models, "chart": str(ROOT / "charts/model"), "values": str(self.project / "values")}
        text["targets"]["kubernetes"] = cluster | {"store": f"http://{store}"}
        (self.project / "tidegate.yaml").write_text(yaml.safe_dump(text))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return python(self.on.kubernetes, "-m", "tidegate.cli.main", "-C", str(self.project), *arguments)

    def rollout(self, digest: str, *options: str) -> subprocess.CompletedProcess[str]:
        """`tidegate rollout` of a release, from an image that is built for it."""
        with forwarded(self.on.kubernetes, self.on.home, "svc/tidegate-mlflow", 5000) as store:
            self.write(store)
            image = self.image(digest)
            wanted = ["--release", f"{MODEL}@{digest[:12]}", "--image", image]
            return self.run("rollout", MODEL, "--target", "kubernetes", *wanted, *options)

    def aliases(self, registered: str = "") -> dict[str, str]:
        """Versions by alias, as the cluster's registry has them; the training output of `second` becomes its versions up to
        number `registered` first."""
        with forwarded(self.on.kubernetes, self.on.home, "svc/tidegate-mlflow", 5000) as address:
            about = [f"http://{address}", str(self.project / "registry"), str(self.on.state / OUTPUT), registered]
            done = python(self.on.kubernetes, "-c", REGISTER, *about)
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        return found

    def image(self, digest: str) -> str:
        """Built when it is first asked for."""
        self.build(digest)
        return self.built[digest].result()

    def build(self, *digests: str) -> None:
        """Begin to build images, one after the other."""

        def make(digest: str) -> str:
            image = build.release(self.on.state / "releases" / digest, lambda _: None)
            return self.on.kubernetes.publish(image)

        for digest in digests:
            if digest not in self.built:
                self.built[digest] = self.builder.submit(make, digest)

    def materialize(self, until: datetime) -> None:
        with forwarded(self.on.kubernetes, self.on.home, "svc/tidegate-redis", 6379) as redis:
            materialize(self.on.kubernetes, self.on.state, self.project / "online", redis, until)
