"""Puts a stack together: reads settings, judges residency, then registers objects and Helm releases with Pulumi."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from . import namespaces, residency, settings, stores
from .namespaces import Document, namespace
from .node_pools import NodePool, node_pool

CHARTS = Path(__file__).resolve().parents[2] / "charts"
_CLASSES: dict[str, Any] = {
    "Namespace": kubernetes.core.v1.Namespace,
    "ResourceQuota": kubernetes.core.v1.ResourceQuota,
    "LimitRange": kubernetes.core.v1.LimitRange,
    "Secret": kubernetes.core.v1.Secret,
    "Service": kubernetes.core.v1.Service,
    "Deployment": kubernetes.apps.v1.Deployment,
    "NetworkPolicy": kubernetes.networking.v1.NetworkPolicy,
}
_ARGUMENTS = {"metadata": "metadata", "spec": "spec", "stringData": "string_data"}


def deploy() -> None:
    """Registers all of the current stack. Raises SettingError or ResidencyViolation before anything is registered."""
    wanted = settings.read(pulumi.get_stack(), pulumi.Config("tidegate"))
    pools = {name: node_pool(wanted.stack, name, given) for name, given in wanted.node_pools.items()}
    places = {f"node pool {name}": pool.region for name, pool in pools.items()}
    places |= {"the stack": wanted.region, "postgres": wanted.postgres.region, "object store": wanted.object_store.region}
    residency.check(wanted.stack, wanted.allowed_regions, places)
    fences = list(_fences(wanted))
    after = pulumi.ResourceOptions(depends_on=fences)
    for document in stores.documents(wanted, pools["cpu"]):
        register(document, after)
    operators = [_operator(wanted, name, operator, after) for name, operator in wanted.operators.items()]
    _platform(wanted, pools["cpu"], pulumi.ResourceOptions(depends_on=[*fences, *operators]))
    pulumi.export("modelPlacement", {name: _placement(pool) for name, pool in pools.items()})


def _fences(wanted: settings.Settings) -> Iterator[pulumi.Resource]:
    """The namespaces, and what lies in each of them after it: the engine makes side by side what does not depend."""
    made: dict[str, pulumi.Resource] = {}
    for document in namespaces.documents(wanted):
        home = made.get(document["metadata"].get("namespace"))
        resource = register(document, pulumi.ResourceOptions(depends_on=[home]) if home else None)
        made |= {document["metadata"]["name"]: resource} if document["kind"] == "Namespace" else {}
        yield resource


def register(document: Document, options: pulumi.ResourceOptions | None = None) -> pulumi.Resource:
    about = document["metadata"]
    name = "/".join(filter(None, (about.get("namespace"), document["kind"].lower(), about["name"])))
    arguments = {_ARGUMENTS[key]: value for key, value in document.items() if key in _ARGUMENTS}
    made: pulumi.Resource = _CLASSES[document["kind"]](name, opts=options, **arguments)
    return made


def _placement(pool: NodePool) -> dict[str, Any]:
    return {"nodeSelector": pool.node_selector(), "tolerations": pool.tolerations()}


def _operator(
    wanted: settings.Settings, name: str, operator: settings.Operator, options: pulumi.ResourceOptions
) -> pulumi.Resource:
    return kubernetes.helm.v3.Release(
        f"{wanted.stack}-{name}",
        name=name,
        namespace=namespace(wanted.stack, name),
        chart=operator.chart,
        version=operator.version,
        repository_opts={"repo": operator.repository} if operator.repository else None,
        values=dict(operator.values),
        atomic=True,
        opts=options,
    )


def _platform(wanted: settings.Settings, pool: NodePool, options: pulumi.ResourceOptions) -> pulumi.Resource:
    values = {
        **{name: {"image": wanted.images[name]} for name in ("gateway", "gates", "monitor")},
        # gates' image has the pipelines, too
        "training": {"enabled": True, "image": wanted.images["gates"], "registry": stores.address(wanted)},
        "redis": {"enabled": True, "image": wanted.images["redis"]},
        "networkPolicy": {
            "modelNamespaces": [namespace(wanted.stack, "models")],
            "monitoring": {
                "namespace": namespace(wanted.stack, "monitoring"),
                "podLabels": {"app.kubernetes.io/name": "prometheus"},
            },
            "keda": {"namespace": namespace(wanted.stack, "keda"), "podLabels": {"app": "keda-operator"}},
        },
        **_placement(pool),
    }
    values["gates"] |= {
        "namespace": namespace(wanted.stack, "models"),
        "store": stores.address(wanted),
        "registry": stores.address(wanted),
        "allowedNamespaces": [namespace(wanted.stack, "rollouts")],
    }
    return kubernetes.helm.v3.Release(
        f"{wanted.stack}-tidegate",
        name="tidegate",
        namespace=namespace(wanted.stack, "tidegate"),
        chart=str(CHARTS / "tidegate"),
        values=_merged(wanted.platform, values),
        atomic=True,
        opts=options,
    )


def _merged(under: Any, over: Any) -> Any:
    """Values of a chart; those of `over` where both have some."""
    if not (isinstance(under, Mapping) and isinstance(over, Mapping)):
        return over
    return {**under, **{key: _merged(under.get(key), value) for key, value in over.items()}}
