"""The programs that Debian has not, built once by the ordinary Go client and kept by content.

`sources/programs` is one Go module with a complete go.mod and go.sum: versions and checksums are pinned, so a build needs no
resolution and gives the same program again; and what several programs are made of has one version, and is compiled once.
Built programs lie in `tools/<recipe>-<key>/` of the cache, where the key is a digest of all that goes into them; a folder
appears there only when it is complete (it is renamed into place).

To change a version, edit the go.mod and run `go mod tidy` beside it. Its `replace` lines hold what the programs share at
versions that all of them compile with; Kubernetes' own libraries are of the Kubernetes that is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.images.errors import Unavailable
from infra.images.kept import cache_folder, made_once

FOLDER = Path(__file__).parent / "sources"
_HELM = "helm.sh/helm/v3/pkg/chartutil"  # what templates see as the cluster's version when they ask none
_KUBERNETES = "k8s.io/component-base/version"
_PULUMI = "github.com/pulumi/pulumi/sdk/v3/go/common/version"


@dataclass(frozen=True)
class Recipe:
    """What to build: packages of programs, by their path, and `manifests`: pairs of a name in the cache and a path inside
    `module`, custom resources say. `source` is the folder of the Go module that pins their versions."""

    name: str
    module: str
    packages: tuple[str, ...] = ()
    manifests: tuple[tuple[str, str], ...] = ()
    linker_flags: str = ""
    source: str = "programs"
    tags: str = ""  # of the build, by comma

    @property
    def folder(self) -> Path:
        return FOLDER / self.source

    @property
    def binaries(self) -> tuple[str, ...]:
        return tuple(package.rpartition("/")[2] for package in self.packages)

    def key(self) -> str:
        """Digest of the sources' versions and of how they are built."""
        digest = hashlib.sha256()
        for file in (self.folder / "go.mod", self.folder / "go.sum", *sorted(self.folder.rglob("*.go"))):
            digest.update(file.read_bytes())
        about = [self.module, self.packages, self.manifests, self.linker_flags, self.tags, os.uname().machine]
        digest.update(json.dumps(about, sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def output(self) -> Path:
        return cache_folder() / "tools" / f"{self.name}-{self.key()}"

    def built(self) -> bool:
        return self.output().is_dir()


_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
KUBERNETES = Recipe(
    "kubernetes",
    "k8s.io/kubernetes",
    tuple(f"k8s.io/kubernetes/cmd/{program}" for program in _CONTROL_PLANE),
    linker_flags=f"-X {_KUBERNETES}.gitVersion=v1.34.5 -X {_KUBERNETES}.gitMajor=1 -X {_KUBERNETES}.gitMinor=34",
)
COREDNS = Recipe("coredns", "github.com/coredns/coredns", ("github.com/coredns/coredns",))
ROLLOUTS = Recipe(
    "rollouts",
    "github.com/argoproj/argo-rollouts",
    ("github.com/argoproj/argo-rollouts/cmd/rollouts-controller",),
    (("manifests", "manifests"),),
)
KUBE_ROUTER = Recipe(
    "kube-router", "github.com/cloudnativelabs/kube-router/v2", ("github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",)
)
KEDA = Recipe(
    "keda",
    "github.com/kedacore/keda/v2",
    ("github.com/kedacore/keda/v2/cmd/operator", "github.com/kedacore/keda/v2/cmd/adapter"),
    (("config", "config"),),
)
HELM = Recipe(
    "helm",
    "helm.sh/helm/v3",
    ("helm.sh/helm/v3/cmd/helm",),
    linker_flags=f"-X {_HELM}.k8sVersionMajor=1 -X {_HELM}.k8sVersionMinor=34",
)
_OPERATOR = "github.com/prometheus-operator/prometheus-operator"
PROMETHEUS_OPERATOR = Recipe(
    "prometheus-operator",
    _OPERATOR,
    (f"{_OPERATOR}/cmd/operator", f"{_OPERATOR}/cmd/prometheus-config-reloader"),
    (("crds", "example/prometheus-operator-crd"), ("rbac", "example/rbac/prometheus-operator")),
)
# What the operator runs; Debian's cannot ask Kubernetes for pods.
PROMETHEUS = Recipe(
    "prometheus",
    "github.com/prometheus/prometheus",
    ("github.com/prometheus/prometheus/cmd/prometheus",),
    tags="remove_all_sd,enable_kubernetes_sd",  # the clouds' service discoveries take minutes to compile
)
# all that a cluster needs
RECIPES = (KUBERNETES, KUBE_ROUTER, COREDNS, HELM, ROLLOUTS, KEDA, PROMETHEUS_OPERATOR, PROMETHEUS)

PULUMI = Recipe(
    "pulumi",
    "github.com/pulumi/pulumi/pkg/v3",
    ("github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",),
    linker_flags=f"-X {_PULUMI}.Version=v3.274.1",
    source="pulumi",
)
PULUMI_KUBERNETES = Recipe(
    "pulumi-kubernetes",
    "github.com/pulumi/pulumi-kubernetes/provider/v4",
    ("./pulumi-resource-kubernetes",),  # a main package of our own, which says why
    (("schema", "cmd/pulumi-resource-kubernetes"),),
    source="pulumi-kubernetes",
)
ON_DEMAND = (PULUMI, PULUMI_KUBERNETES)  # built when they are asked for by name: no cluster needs them


def binary(recipe: Recipe, name: str) -> Path:
    return recipe.output() / "bin" / name


def build(recipe: Recipe, say: Callable[[str], None]) -> Path:
    """The folder with the recipe's programs and manifests, built unless the cache has it. Raises Unavailable."""

    def make(into: Path) -> None:
        say(f"build {recipe.name} (once; some minutes)")
        _compile(recipe, into)
        _copy_manifests(recipe, into)

    return made_once(recipe.output(), make)


def _compile(recipe: Recipe, into: Path) -> None:
    if recipe.packages:
        flags = f"-s -w {recipe.linker_flags}".strip()
        compiler = "-gcflags=all=-dwarf=false"  # what debuggers read takes a tenth of the time, and -s leaves it out
        options = ["-mod=readonly", "-trimpath", compiler, "-tags", recipe.tags, "-ldflags", flags, "-o", f"{into / 'bin'}/"]
        _go(recipe, "build", *options, *recipe.packages)
        missing = [name for name in recipe.binaries if not (into / "bin" / name).is_file()]
        if missing:
            raise Unavailable(f"build of {recipe.name}: go built no {', '.join(missing)}; compare {recipe.folder / 'go.mod'}")


def _copy_manifests(recipe: Recipe, into: Path) -> None:
    if not recipe.manifests:
        return
    _go(recipe, "mod", "download", recipe.module)
    module = Path(_go(recipe, "list", "-m", "-f", "{{.Dir}}", recipe.module).strip())
    for name, path in recipe.manifests:
        # Files in the module cache are read-only; a copy that cannot be deleted would break `down` and tests.
        shutil.copytree(module / path, into / name, copy_function=shutil.copyfile)
        for folder, _, _ in os.walk(into / name):
            Path(folder).chmod(0o755)


def _go(recipe: Recipe, *arguments: str) -> str:
    # static, since they run in images from scratch; and alike for all, or what they share would be compiled again
    environment = dict(os.environ) | {"GOFLAGS": "-buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0", "GOGC": "400"}
    if shutil.which("go") is None:
        raise Unavailable(f"build of {recipe.name}: no 'go' on PATH; install Go 1.26.1 or later")
    command = ["nice", "-n", "19", "go", *arguments]  # a build of minutes must not slow down what else runs
    done = subprocess.run(command, cwd=recipe.folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"build of {recipe.name}: `go {arguments[0]}` in {recipe.folder} failed: {last}")
    return done.stdout
