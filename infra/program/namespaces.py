"""Namespaces with Pod Security, a quota, defaults for limits, and NetworkPolicies that deny what is not named here.

Pure: `documents` gives Kubernetes objects. Who may talk to whom is the table ROLES.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .settings import Settings, Store

Document = dict[str, Any]


@dataclass(frozen=True)
class Role:
    """`reaches` are the roles whose pods its pods may call; `api` is for pods that talk with the API server."""

    name: str
    reaches: tuple[str, ...] = ()
    api: bool = False
    outside: bool = False  # reaches the stores outside of the cluster


ROLES = (
    Role("tidegate", ("models", "monitoring", "stores")),
    Role("models", ("tidegate", "stores")),
    Role("stores", outside=True),
    Role("rollouts", ("tidegate", "monitoring"), api=True),
    Role("keda", ("monitoring", "tidegate"), api=True),
    Role("monitoring", ("tidegate", "models", "stores", "rollouts", "keda", "kafka", "pipelines"), api=True),
    Role("kafka", api=True),
    Role("pipelines", ("stores",), api=True, outside=True),
)


def namespace(stack: str, role: str) -> str:
    return f"{stack}-{role}"


def documents(settings: Settings) -> Iterator[Document]:
    for role in ROLES:
        name = namespace(settings.stack, role.name)
        yield _namespace(settings, name)
        yield _quota(settings, name)
        yield _limits(name)
        yield from _policies(settings, role, name)


def _document(kind: str, version: str, name: str, at: str, spec: Document) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": at}, "spec": spec}


def _namespace(settings: Settings, name: str) -> Document:
    security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    labels = {"tidegate/stack": settings.stack, "tidegate/region": settings.region} | security
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _quota(settings: Settings, name: str) -> Document:
    quota = settings.quota
    hard = {
        "requests.cpu": quota["cpu"],
        "limits.memory": quota["memory"],
        "pods": quota["pods"],
        "requests.nvidia.com/gpu": quota["gpus"] if name == namespace(settings.stack, "models") else "0",
    }
    return _document("ResourceQuota", "v1", "quota", name, {"hard": hard})


def _limits(name: str) -> Document:
    default = {"default": {"memory": "512Mi"}, "defaultRequest": {"cpu": "100m", "memory": "128Mi"}, "type": "Container"}
    return _document("LimitRange", "v1", "limits", name, {"limits": [default]})


def _peer(stack: str, role: str) -> Document:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace(stack, role)}}}


def _store(store: Store) -> Document:
    return {"to": [{"ipBlock": {"cidr": store.cidr}}], "ports": [{"protocol": "TCP", "port": store.port}]}


def _policies(settings: Settings, role: Role, name: str) -> Iterator[Document]:
    def policy(title: str, **rules: Any) -> Document:
        types = [kind for kind in ("Ingress", "Egress") if kind.lower() in rules] or ["Ingress", "Egress"]
        spec = {"podSelector": {}, "policyTypes": types} | rules
        return _document("NetworkPolicy", "networking.k8s.io/v1", title, name, spec)

    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    ports = [{"protocol": protocol, "port": port} for protocol in ("UDP", "TCP") for port in (53, 1053)]
    callers = [other.name for other in ROLES if role.name in other.reaches]
    yield policy("default-deny")
    yield policy("dns", egress=[{"to": [dns], "ports": ports}])
    yield policy("within", ingress=[{"from": [{"podSelector": {}}]}], egress=[{"to": [{"podSelector": {}}]}])
    # the charts of Tidegate and of models say themselves, pod by pod, who may call
    if callers and role.name not in ("tidegate", "models"):
        yield policy("callers", ingress=[{"from": [_peer(settings.stack, caller) for caller in callers]}])
    if role.reaches:
        yield policy("reaches", egress=[{"to": [_peer(settings.stack, other) for other in role.reaches]}])
    if role.api:  # it is called, and calls back webhooks and aggregated APIs
        block = {"ipBlock": {"cidr": settings.api_server}}
        yield policy("api-server", ingress=[{"from": [block]}], egress=[{"to": [block]}])
    if role.outside:
        yield policy("outside", egress=[_store(settings.postgres), _store(settings.object_store)])
