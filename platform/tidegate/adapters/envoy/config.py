"""Envoy's configuration as plain values: bootstrap, clusters and endpoints of every model.

The listener is in `envoy_listener`, the routes in `envoy_table`. Invariants:
- A slot has two clusters over the same replicas, `<model>-<slot>` for live and `<model>-<slot>-shadow` for mirrored
  requests, so that the proxy's counters tell them apart.
- The listener does not share its port: with SO_REUSEPORT a second gateway would silently take half of the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidegate.adapters.envoy.admin import admin_address, admin_cluster, shown_listener
from tidegate.adapters.envoy.listener import METADATA, Json, address, listener, typed
from tidegate.adapters.envoy.table import ROUTES, cluster_name, route_configuration
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
        # histograms are merged at each flush, and gates look twice a second
        "stats_flush_interval": "0.25s",
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
    requests = 256 if shadow else 1024  # a slow candidate must not pile up mirrored requests
    options = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": "30s"},
        explicit_http_config={"http_protocol_options": {}},
    )
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="EDS",
        connect_timeout="1s",
        lb_policy="LEAST_REQUEST",
        eds_cluster_config={"eds_config": _file(endpoints_file(xds, name))},
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        circuit_breakers={
            "thresholds": [
                {
                    "max_connections": 1024,
                    "max_pending_requests": requests,
                    "max_requests": requests,
                    "retry_budget": {"budget_percent": {"value": 50.0}, "min_retry_concurrency": 16},
                }
            ]
        },
        # only replicas that cannot be reached are set aside; what they answer is judged by the gates
        outlier_detection={
            "interval": "0.5s",
            "base_ejection_time": "1s",
            "max_ejection_time": "5s",
            "max_ejection_percent": 50,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
        },
    )


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
