"""Runs the tests as on a cluster that somebody gives: by KUBECONFIG and a registry alone, though the cluster is one of ours.

python -m tests.cluster.given [PYTEST'S ARGUMENTS]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.access import ROOT, Kubernetes, own_environment
from tests.cluster.one_node import lifecycle
from tests.cluster.one_node.addons import NAMES
from tests.cluster.one_node.layout import Cluster, cluster
from tests.cluster.platform_on_cluster import CLAIMS, provide_volumes

ADDRESS = "127.0.0.1:5055"  # of the cluster's own network namespace
CLAIMED = ("tidegate", "bikes")  # namespaces in which tests install the platform


@contextmanager
def registry(target: Cluster, folder: Path, address: str = ADDRESS) -> Iterator[None]:
    """Debian's registry, where the cluster's containerd reaches it."""
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": address},
        "log": {"level": "error"},
    }
    (folder / "config.yml").write_text(json.dumps(settings))
    command = target.inside("docker-registry", "serve", str(folder / "config.yml"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            yield
        else:
            raise AssertionError(f"docker-registry has ended with {process.returncode}")
    finally:
        process.terminate()
        process.wait(10)


def main() -> int:
    target = cluster(f"given{os.getpid()}")
    say = lambda message: print(f"  {message}", file=sys.stderr)  # noqa: E731
    try:
        lifecycle.up(target, lifecycle.Wanted(addons=NAMES), say)
        # instead of a default StorageClass
        for namespace in CLAIMED:
            provide_volumes(Kubernetes(target, own_environment(target), Path()), namespace, CLAIMS)
        with tempfile.TemporaryDirectory() as folder, registry(target, Path(folder)):
            for image in ("platform", "mlflow", "serving"):  # large: pushed while nothing else runs
                pushed = [sys.executable, "-m", "infra.images", image, "--push", f"{ADDRESS}/team", "--insecure"]
                subprocess.run(target.inside(*pushed), cwd=ROOT, check=True)
            given = {"KUBECONFIG": str(target.kubeconfig), "CLUSTER_TEST_REGISTRY": f"{ADDRESS}/team"}
            command = [sys.executable, "-m", "pytest", "tests/cluster", "-m", "cluster and not pulumi", "-q", *sys.argv[1:]]
            variables = dict(os.environ) | given | {"CLUSTER_TEST_INSECURE": "1"}
            return subprocess.run(target.inside(*command), cwd=ROOT, env=variables, check=False).returncode
    finally:
        if target.folder.exists():
            lifecycle.down(target, say)


if __name__ == "__main__":
    sys.exit(main())
