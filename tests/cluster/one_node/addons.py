"""What is applied once the node is ready, in containers built here: CoreDNS, Argo Rollouts, KEDA, Prometheus' operator.

Upstream's own manifests are used, out of the modules that the programs were built from; only their images are replaced, by
digest. Applying is server-side, so doing it again changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.images.errors import InvalidInput, Unavailable
from infra.images.image import Image
from tests.cluster.one_node import images, recipes
from tests.cluster.one_node.layout import DNS_SERVICE, Cluster
from tests.cluster.one_node.recipes import COREDNS, HELM, KEDA, KUBERNETES, PROMETHEUS, PROMETHEUS_OPERATOR, ROLLOUTS, Recipe

Say = Callable[[str], None]
FOLDER = Path(__file__).parent / "manifests"
FIELD_MANAGER = "tidegate-one-node"


@dataclass(frozen=True)
class Addon:
    """`needs` are the recipes to build; `deployments` are waited for (namespace/name)."""

    needs: tuple[Recipe, ...]
    apply: Callable[[Cluster, Say], None]
    deployments: tuple[str, ...] = ()


def environment(cluster: Cluster) -> dict[str, str]:
    """The environment in which kubectl and helm find this cluster, and themselves."""
    programs = [str(recipe.output() / "bin") for recipe in (KUBERNETES, HELM) if recipe.built()]
    path = os.pathsep.join([*programs, os.environ.get("PATH", "")])
    return dict(os.environ) | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": path}


def kubectl(
    cluster: Cluster, *arguments: str, given: str | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run kubectl as the cluster's admin. With `check`, raises Unavailable with kubectl's own message."""
    command = cluster.inside(str(recipes.binary(KUBERNETES, "kubectl")), f"--kubeconfig={cluster.kubeconfig}", *arguments)
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if check and done.returncode:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"cluster '{cluster.name}': `kubectl {' '.join(arguments[:3])}` failed: {message}")
    return done


def install(cluster: Cluster, name: str, say: Say) -> None:
    """Apply an add-on. Raises Unavailable."""
    _ADDONS[name].apply(cluster, say)


def await_available(cluster: Cluster, names: tuple[str, ...]) -> None:
    """Wait for the deployments of these add-ons. Raises Unavailable."""
    for deployment in (deployment for name in names for deployment in _ADDONS[name].deployments):
        namespace, _, workload = deployment.partition("/")
        kubectl(cluster, "rollout", "status", f"deployment/{workload}", f"--namespace={namespace}", "--timeout=180s")


def recipes_of(names: tuple[str, ...]) -> list[Recipe]:
    """The recipes that these add-ons need, each once."""
    return list(dict.fromkeys(recipe for name in names for recipe in _ADDONS[name].needs))


def parse(text: str) -> tuple[str, ...]:
    """Add-ons from a comma-separated list, `all` or `none`, in the order of installation. Raises InvalidInput."""
    if text == "none":
        return ()
    wanted = set(NAMES) if text == "all" else {"dns", *filter(None, text.split(","))}
    if unknown := sorted(wanted - set(NAMES)):
        raise InvalidInput(f"no add-on '{unknown[0]}'; there are: {', '.join(NAMES)}, all, none")
    return tuple(name for name in NAMES if name in wanted)


def apply(cluster: Cluster, *arguments: str, given: str | None = None) -> None:
    """Server-side apply, as a field manager of our own."""
    kubectl(cluster, "apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", *arguments, given=given)


def _dns(cluster: Cluster, say: Say) -> None:
    image = images.build("coredns", {"/coredns": recipes.binary(COREDNS, "coredns")}, ["/coredns"], say)
    images.load(cluster, image)
    text = (FOLDER / "coredns.yaml").read_text()
    apply(cluster, "-f", "-", given=text.replace("@IMAGE@", image.pinned).replace("@ADDRESS@", DNS_SERVICE))


def _rollouts(cluster: Cluster, say: Say) -> None:
    program = recipes.binary(ROLLOUTS, "rollouts-controller")
    image = images.build("argo-rollouts", {"/bin/rollouts-controller": program}, ["/bin/rollouts-controller"], say)
    images.load(cluster, image)
    namespace = "argo-rollouts"
    document = {
        "namespace": namespace,
        "resources": ["cluster-install"],
        "images": [_replaced("quay.io/argoproj/argo-rollouts", image)],
        "patches": [_PULL_IF_ABSENT, _REQUEST],
    }
    _namespace(cluster, namespace)
    _kustomize(cluster, ROLLOUTS.output() / "manifests", document)


def _keda(cluster: Cluster, say: Say) -> None:
    replaced = []
    for upstream, program, at in (("keda", "operator", "/keda"), ("keda-metrics-apiserver", "adapter", "/keda-adapter")):
        image = images.build(upstream, {at: recipes.binary(KEDA, program)}, [at], say)
        images.load(cluster, image)
        replaced.append(_replaced(f"ghcr.io/kedacore/{upstream}", image))
    # Without its admission webhooks: they only refuse what the charts' schema refuses before.
    parts = ["general", "crd", "rbac", "manager", "service_account", "metrics-server"]
    document = {"resources": parts, "images": replaced, "patches": [_PULL_IF_ABSENT, _ASK_SOON, _REQUEST]}
    _kustomize(cluster, KEDA.output() / "config", document)


# Upstream pulls always; here the image is the one with that digest, and it is there.
_PULL_IF_ABSENT = {
    "target": {"kind": "Deployment"},
    "patch": '[{"op": "replace", "path": "/spec/template/spec/containers/0/imagePullPolicy", "value": "IfNotPresent"}]',
}
# Upstream requests nothing, and would get nothing beside pods that are busy, or so much that others find no place on two cores.
# Its limits go, too.
_REQUEST = {
    "target": {"kind": "Deployment"},
    "patch": '[{"op": "add", "path": "/spec/template/spec/containers/0/resources", "value": {"requests": {"cpu": "50m"}}}]',
}
# Upstream waits 20 seconds before it asks for the first time.
_ASK_SOON = {
    "target": {"kind": "Deployment"},
    "patch": '[{"op": "replace", "path": "/spec/template/spec/containers/0/readinessProbe/initialDelaySeconds", "value": 1}]',
}


def _prometheus_operator(cluster: Cluster, say: Say) -> None:
    """With the custom resources without which it runs no Prometheus; those of Alertmanager and Thanos are not there."""
    kinds = ("podmonitors", "probes", "prometheuses", "prometheusrules", "servicemonitors")
    crds = PROMETHEUS_OPERATOR.output() / "crds"
    apply(cluster, *(f"--filename={crds / f'monitoring.coreos.com_{kind}.yaml'}" for kind in kinds))
    built = {}
    for name, program in (("prometheus-operator", "operator"), ("prometheus-config-reloader", "prometheus-config-reloader")):
        at = f"/bin/{name}"
        built[name] = images.build(name, {at: recipes.binary(PROMETHEUS_OPERATOR, program)}, [at], say)
        images.load(cluster, built[name])
    arguments = [f"--prometheus-config-reloader={built['prometheus-config-reloader'].pinned}"]
    change = [{"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": arguments}]
    parts = ("deployment", "cluster-role", "cluster-role-binding", "service-account")
    namespace = "prometheus-operator"
    document = {
        "namespace": namespace,
        "resources": [f"prometheus-operator-{part}.yaml" for part in parts],
        "images": [_replaced("quay.io/prometheus-operator/prometheus-operator", built["prometheus-operator"])],
        "patches": [{"target": {"kind": "Deployment"}, "patch": json.dumps(change)}, _REQUEST],
    }
    _namespace(cluster, namespace)
    _kustomize(cluster, PROMETHEUS_OPERATOR.output() / "rbac", document)


def _replaced(upstream: str, image: Image) -> Mapping[str, str]:
    return {"name": upstream, "newName": image.repository, "digest": image.digest}


def _namespace(cluster: Cluster, name: str) -> None:
    apply(cluster, "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))


def _kustomize(cluster: Cluster, folder: Path, document: Mapping[str, object]) -> None:
    """Apply a kustomization, written into a copy of upstream's folder: kustomize reads nothing outside of its own."""
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "upstream"
        shutil.copytree(folder, copy)
        (copy / "kustomization.yaml").write_text(json.dumps(document))
        rendered = kubectl(cluster, "kustomize", "--load-restrictor=LoadRestrictionsNone", str(copy)).stdout
    apply(cluster, "-f", "-", given=rendered)


_ADDONS: Mapping[str, Addon] = {
    "dns": Addon((COREDNS,), _dns, ("kube-system/coredns",)),
    "rollouts": Addon((ROLLOUTS,), _rollouts, ("argo-rollouts/argo-rollouts",)),
    "keda": Addon((KEDA,), _keda, ("keda/keda-operator", "keda/keda-metrics-apiserver")),
    "prometheus": Addon((PROMETHEUS_OPERATOR, PROMETHEUS), _prometheus_operator, ("prometheus-operator/prometheus-operator",)),
    "helm": Addon((HELM,), lambda cluster, say: None),
}
NAMES = tuple(_ADDONS)
