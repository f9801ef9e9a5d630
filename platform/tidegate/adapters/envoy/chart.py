"""The chart's gateway, rendered from what the local one is made of: `python -m tidegate.adapters.envoy.chart FOLDER`.

Writes `bootstrap.json` (what is done with a request before its routes), `routes.json` (the routes of one model, of the model
at `/`, and what ends the table) and `clusters.json` (of one model). The chart puts in what stands between `@`. On a cluster a
model has no slots at the gateway: what is live is one cluster, counted under `<model>/<kind>`, and what is mirrored goes to
whoever the shadow Service selects.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tidegate.adapters.envoy.listener import FLUSH, Json, address, connection_manager, listening, typed
from tidegate.adapters.envoy.table import (
    NO_GRPC,
    ROUTES,
    UNKNOWN,
    Backend,
    configuration,
    direct,
    grpc_routes,
    model_routes,
    nobody_at_root,
    protocol_routes,
)
from tidegate.adapters.envoy.upstream import upstream
from tidegate.domain.local import LocalConfig

MODEL, OBJECT, RELEASE, NAMESPACE, TIMEOUT, MODELS = "@MODEL@", "@OBJECT@", "@RELEASE@", "@NAMESPACE@", "@TIMEOUT@", "@MODELS@"
PORT, GRPC_PORT, BODY_LIMIT = "@PORT@", "@GRPC_PORT@", "@BODY_LIMIT@"  # the chart takes their quotes away
PATIENCE_SECONDS = 615.0  # longer than any time-out of a model that the chart takes
FOLDER = "/etc/envoy"  # where the ConfigMap lies
ANYWHERE, CLIENTS_PORT, SHOWN_PORT, ADMIN_PORT = "0.0.0.0", 8080, 8082, 9901
ACTIVE, SHADOW = f"{RELEASE}-{MODEL}-active", f"{RELEASE}-{MODEL}-shadow"
ACTIVE_GRPC = f"{ACTIVE}-grpc"


def files() -> dict[str, Json]:
    backend = Backend(MODEL, ACTIVE, MODEL, f"{TIMEOUT}s", SHADOW, body_limit=BODY_LIMIT)
    grpc = Backend(MODEL, ACTIVE_GRPC, MODEL, f"{TIMEOUT}s", body_limit=BODY_LIMIT)
    return {
        "bootstrap.json": bootstrap(),
        "routes.json": {
            "model": [*model_routes(backend, MODEL, f"/models/{MODEL}"), *protocol_routes(backend, f"{MODEL}/v2")],
            "model_grpc": grpc_routes(grpc, MODEL, named=True),
            "unknown": [UNKNOWN],
            "default_grpc": grpc_routes(grpc, "default", named=False),
            "default": [NO_GRPC, *model_routes(backend, "default", "")],
            "several": [nobody_at_root([MODELS], "gateway.defaultModel")],
            "empty": [direct("empty", {"prefix": "/"}, 503, "no model is released at this gateway yet")],
            "table": configuration([]),
        },
        "clusters.json": {
            "model": [
                upstream(ACTIVE, discovery(ACTIVE, "active", PORT)),
                upstream(SHADOW, discovery(SHADOW, "shadow", PORT), shadow=True),
            ],
            "model_grpc": [upstream(ACTIVE_GRPC, discovery(ACTIVE_GRPC, "active", GRPC_PORT), http2=True)],
        },
    }


def bootstrap() -> Json:
    """The static part: routes and clusters come from files that Envoy watches."""
    manager = connection_manager(PATIENCE_SECONDS, LocalConfig.arrival_seconds, LocalConfig.max_request_bytes, "/dev/stdout")
    rds = {"rds": {"route_config_name": ROUTES, "config_source": _file("rds.json")}}
    admin = address(ADMIN_PORT)
    endpoints = {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": admin}}]}]}
    return {
        "node": {"id": "gateway", "cluster": "tidegate"},
        "admin": {"address": admin},
        "stats_flush_interval": FLUSH,
        "dynamic_resources": {"cds_config": _file("cds.json")},
        "static_resources": {
            "listeners": [listening("gateway", address(CLIENTS_PORT, ANYWHERE), manager | rds), shown()],
            "clusters": [{"name": "admin", "type": "STATIC", "load_assignment": endpoints}],
        },
    }


def shown() -> Json:
    """Probes and Prometheus read two pages of the administration, which itself listens on loopback alone."""
    routes: list[Json] = [
        {"match": {"path": "/ready"}, "route": {"cluster": "admin"}},
        {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"}},
    ]
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="probes",
        route_config={"virtual_hosts": [{"name": "admin", "domains": ["*"], "routes": routes}]},
        http_filters=[{"name": "router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")}],
    )
    return listening("probes", address(SHOWN_PORT, ANYWHERE), manager)


def discovery(cluster: str, role: str, port: str) -> Json:
    """The pods behind a headless Service, looked up each second; one that went away is left once its requests are answered."""
    socket = {"address": f"{OBJECT}-{role}.{NAMESPACE}.svc.cluster.local", "port_value": port}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": socket}}}]}]
    return {
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "dns_refresh_rate": "1s",
        "load_assignment": {"cluster_name": cluster, "endpoints": endpoints},
    }


def _file(name: str) -> Json:
    source = {"path": f"{FOLDER}/{name}", "watched_directory": {"path": FOLDER}}
    return {"path_config_source": source, "resource_api_version": "V3"}


def texts() -> dict[str, str]:
    return {name: json.dumps(content, indent=2) + "\n" for name, content in files().items()}


def write(folder: Path) -> None:
    for name, text in texts().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
