"""Images pushed to a registry by our command, and pulled by digest: what a cluster of several nodes does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.access import ROOT, Kubernetes, await_true
from tests.cluster.given import ADDRESS
from tests.cluster.given import registry as serving
from tests.cluster.objects import pod
from tests.cluster.one_node.layout import Cluster

from serving_builders import build_release


def images(registry: Cluster, *arguments: str, **environment: str) -> str:
    """What our command prints: the image's name, size and archive."""
    command = registry.inside(sys.executable, "-m", "infra.images", *arguments)
    variables = dict(os.environ) | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def layers(archive: Path) -> list[str]:
    """Digests of the layers of an OCI archive's image."""
    with tarfile.open(archive) as tar:

        def read(name: str) -> Any:
            found = tar.extractfile(name)
            assert found is not None
            return json.load(found)

        (about,) = read("index.json")["manifests"]
        return [layer["digest"] for layer in read(f"blobs/{about['digest'].replace(':', '/')}")["layers"]]


@pytest.fixture
def registry(kubernetes: Kubernetes, tmp_path: Path) -> Iterator[Cluster]:
    """Debian's registry, where the cluster's containerd reaches it."""
    if kubernetes.own is None:
        pytest.skip("a cluster that was given pulls all of these tests' images from its registry")
    with serving(kubernetes.own, tmp_path):
        yield kubernetes.own


def test_an_image_is_pushed_and_pulled_by_digest(
    kubernetes: Kubernetes, registry: Cluster, new_namespace: Callable[..., str]
) -> None:
    name = images(registry, "base", "--push", f"{ADDRESS}/team", "--insecure").split()[0]
    assert name.startswith(f"{ADDRESS}/team/base@sha256:")
    namespace = new_namespace()
    document = pod("pulled", name, ["-c", "print('it runs')"], restartPolicy="Never")
    document["spec"]["containers"][0] |= {"command": ["/usr/bin/python3"], "imagePullPolicy": "Always"}
    kubernetes.apply(document, namespace)
    phase = lambda: kubernetes.get("pod", "pulled", namespace).get("status", {}).get("phase")  # noqa: E731
    events = lambda: kubernetes.kubectl("get", "events", "-n", namespace, check=False)  # noqa: E731
    await_true(lambda: phase() == "Succeeded", 90, lambda: f"the pod is {phase()}: {events()}")
    assert kubernetes.kubectl("logs", "pulled", "-n", namespace).strip() == "it runs"


def test_a_base_image_is_pulled_where_it_is_given(kubernetes: Kubernetes, registry: Cluster, tmp_path: Path) -> None:
    name = images(registry, "base", "--push", f"{ADDRESS}/team", "--insecure").split()[0]
    (tmp_path / "registries.conf").write_text(f'[[registry]]\nlocation = "{ADDRESS}"\ninsecure = true\n')
    release = build_release(tmp_path / "releases")
    storage = {"CONTAINERS_REGISTRIES_CONF": str(tmp_path / "registries.conf"), "TIDEGATE_CACHE": str(tmp_path / "cache")}
    built = images(registry, "triton", str(release), "--base", name, **storage)
    assert len(layers(Path(built.split()[-1]))) == 1 + 1  # the base's, and the model's
