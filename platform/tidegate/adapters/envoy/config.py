"""Envoy's configuration as plain values: bootstrap, clusters and endpoints of every model.

The listener is in `listener`, the routes in `table`, what is the same of clusters everywhere in `upstream`. Invariants:
- A slot has two clusters over the same replicas, `<model>-<slot>` for live and `<model>-<slot>-shadow` for mirrored
  requests, so that the proxy's counters tell them apart.
- The listener does not share its port: with SO_REUSEPORT a second gateway would silently take half of the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidegate.adapters.envoy.admin import admin_address, admin_cluster, shown_listener
from tidegate.adapters.envoy.listener import FLUSH, METADATA, Json, address, listener, typed
from tidegate.adapters.envoy.table import ROUTES, cluster_name, route_configuration
from tidegate.adapters.envoy.upstream import upstream
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

__all__ = [
    "METADATA",
    "bootstrap",
    "cluster",
    "cluster_name",
    "clusters",
    "endpoints_file",
    "listener",
    "load_assignment",
    "ports_of",
    "route_configuration",
]


def bootstrap(config: LocalConfig, xds: Path, access_log: Path) -> Json:
    """The static part: admin on a socket, the listener whose routes come from `xds/rds.json`, clusters from `xds/cds.json`."""
    return {
        "node": {"id": "tidegate", "cluster": "tidegate"},
        "admin": {"address": admin_address()},
        "stats_flush_interval": FLUSH,
        "dynamic_resources": {"cds_config": _file(xds / "cds.json")},
        "static_resources": {
            "listeners": [listener(config, access_log, {"rds": _rds(xds)}), shown_listener(address(config.admin_port))],
            "clusters": [admin_cluster()],
        },
    }


def _rds(xds: Path) -> Json:
    return {"route_config_name": ROUTES, "config_source": _file(xds / "rds.json")}


def _file(path: Path) -> Json:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3", "initial_fetch_timeout": "5s"}


def clusters(models: Sequence[ModelRoutes], xds: Path) -> list[Json]:
    return [
        cluster(cluster_name(model.model, slot, shadow), shadow, xds)
        for model in models
        for slot in Slot
        for shadow in (False, True)
    ]


def cluster(name: str, shadow: bool, xds: Path) -> Json:
    """A slot's server speaks HTTP/1.1."""
    discovery = {"type": "EDS", "eds_cluster_config": {"eds_config": _file(endpoints_file(xds, name))}}
    return upstream(name, discovery, shadow=shadow)


def endpoints_file(xds: Path, cluster: str) -> Path:
    return xds / f"eds-{cluster}.json"


def load_assignment(cluster: str, ports: Sequence[int]) -> Json:
    return typed(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=cluster,
        endpoints=[{"lb_endpoints": [{"endpoint": {"address": address(port)}} for port in ports]}] if ports else [],
    )


def ports_of(endpoints: Json) -> tuple[int, ...]:
    """The ports in a file of endpoints, as `load_assignment` wrote them."""
    localities = [locality for assignment in endpoints["resources"] for locality in assignment.get("endpoints", ())]
    addresses = [each["endpoint"]["address"] for locality in localities for each in locality["lb_endpoints"]]
    return tuple(int(address["socket_address"]["port_value"]) for address in addresses)
