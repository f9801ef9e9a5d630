"""Envoy's configuration as plain values: bootstrap, routes, clusters and endpoints of every model.

Invariants:
- A request sees one route table from its first byte to its last; switching replaces the table, never a part of it.
- A slot has two clusters over the same replicas, `<model>-<slot>` for live and `<model>-<slot>-shadow` for mirrored
  requests, so that the proxy's counters tell them apart.
- Retries are for requests that got no answer at all (predictions are reads, so asking again is safe). Answers of 5xx are
  never retried: they are what the gates must see.
- The listener does not share its port: with SO_REUSEPORT a second gateway would silently take half of the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate.domain.local import LOOPBACK, LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

TYPES = "type.googleapis.com/"
ROUTES = "gateway"
METADATA = "tidegate"
SHADOW_HEADER = "x-tidegate-shadow"
SLOT_HEADER = "x-tidegate-slot"
Json = dict[str, Any]


def cluster_name(model: str, slot: Slot, shadow: bool = False) -> str:
    return f"{model}-{slot}-shadow" if shadow else f"{model}-{slot}"


def typed(kind: str, **fields: Any) -> Json:
    return {"@type": TYPES + kind, **fields}


def bootstrap(config: LocalConfig, xds: Path, access_log: Path) -> Json:
    """The static part: admin on loopback, one listener whose routes come from `xds/rds.json`, clusters from `xds/cds.json`."""
    return {
        "node": {"id": "tidegate", "cluster": "tidegate"},
        "admin": {"address": _address(config.admin_port)},
        # histograms are merged at each flush, and gates look twice a second
        "stats_flush_interval": "0.25s",
        "dynamic_resources": {"cds_config": _file(xds / "cds.json")},
        "static_resources": {"listeners": [listener(config, access_log, {"rds": _rds(xds)})]},
    }


def _rds(xds: Path) -> Json:
    return {"route_config_name": ROUTES, "config_source": _file(xds / "rds.json")}


def _file(path: Path) -> Json:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3", "initial_fetch_timeout": "5s"}


def _address(port: int) -> Json:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}


def listener(config: LocalConfig, access_log: Path, routes: Json) -> Json:
    """The gateway's listener; `routes` is `{"rds": ...}` or, to validate all at once, `{"route_config": ...}`."""
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        **routes,
        access_log=[_access_log(access_log)],
        use_remote_address=True,
        internal_address_config={"unix_sockets": False},
        generate_request_id=True,
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        request_id_extension={
            "typed_config": typed("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", pack_trace_reason=False)
        },
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout="10s",
        request_timeout=_seconds(config.request_timeout_seconds + 15),
        stream_idle_timeout=_seconds(config.request_timeout_seconds + 15),
        common_http_protocol_options={"idle_timeout": "300s"},
        local_reply_config={"body_format": {"json_format": _local_reply()}},
        http_filters=[
            {
                # whole requests only: a slow sender costs the slots nothing, and a retry has the body
                "name": "envoy.filters.http.buffer",
                "typed_config": typed(
                    "envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=config.max_request_bytes
                ),
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
            },
        ],
    )
    return {
        "name": "gateway",
        "address": _address(config.gateway_port),
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    }


def _local_reply() -> Json:
    return {"error": "%LOCAL_REPLY_BODY%", "status": "%RESPONSE_CODE%", "request_id": "%REQ(X-REQUEST-ID)%"}


def _access_log(path: Path) -> Json:
    """One JSON object a request; `at` is a string of seconds since the epoch (Envoy knows no numeric time)."""
    fields = {
        "at": "%START_TIME(%s.%6f)%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "model": f"%METADATA(ROUTE:{METADATA}:model)%",
        "slot": f"%METADATA(ROUTE:{METADATA}:slot)%",
        "release": "%RESP(X-TIDEGATE-RELEASE)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "upstream": "%UPSTREAM_HOST%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes": "%BYTES_SENT%",
    }
    kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed(kind, path=str(path), log_format={"json_format": fields}),
    }


def route_configuration(config: LocalConfig, models: Sequence[ModelRoutes]) -> Json:
    """`/models/<model>/...` for each model, then the default model at `/`; what has no active slot answers 503."""
    routes: list[Json] = []
    for model in models:
        prefix = f"/models/{model.model}/"
        routes.append(_route(config, model, f"{model.model}", {"prefix": prefix}, rewrite=True))
    routes.append(_direct("unknown", {"prefix": "/models/"}, 404, "no such model at this gateway"))
    default = next((m for m in models if m.model == config.default_model), models[0] if models else None)
    if default is not None:
        routes.append(_route(config, default, "default", {"prefix": "/"}, rewrite=False))
    else:
        routes.append(_direct("empty", {"prefix": "/"}, 503, "no model is released at this gateway yet"))
    return typed(
        "envoy.config.route.v3.RouteConfiguration",
        name=ROUTES,
        virtual_hosts=[{"name": "gateway", "domains": ["*"], "routes": routes}],
        request_headers_to_remove=[SHADOW_HEADER],  # only the gateway says what is a mirrored request
    )


def _direct(name: str, match: Json, status: int, text: str) -> Json:
    return {"name": name, "match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _route(config: LocalConfig, model: ModelRoutes, name: str, match: Json, rewrite: bool) -> Json:
    if model.active is None:
        return _direct(name, match, 503, f"model {model.model} has no active release")
    action: Json = {
        "cluster": cluster_name(model.model, model.active),
        # Envoy appends `-shadow` to the host of what it mirrors, by which slots know it: no client may choose the host
        "host_rewrite_literal": f"{model.model}.tidegate",
        "timeout": _seconds(config.request_timeout_seconds),
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request,reset",
            "num_retries": 3,
            "per_try_timeout": _seconds(config.request_timeout_seconds / 2),
            "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
                }
            ],
            "host_selection_retry_max_attempts": 5,
        },
    }
    if rewrite:
        action["prefix_rewrite"] = "/"
    if model.mirror:
        action["request_mirror_policies"] = [
            {
                "cluster": cluster_name(model.model, model.active.other, shadow=True),
                "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
                "request_headers_mutations": [{"append": {"header": {"key": SHADOW_HEADER, "value": "1"}}}],
            }
        ]
    return {
        "name": name,
        "match": match,
        "route": action,
        "metadata": {"filter_metadata": {METADATA: {"model": model.model, "slot": str(model.active)}}},
        "response_headers_to_add": [
            {"header": {"key": SLOT_HEADER, "value": str(model.active)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


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
        endpoints=[{"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in ports]}] if ports else [],
    )


def ports_of(endpoints: Json) -> tuple[int, ...]:
    """The ports in a file of endpoints, as `load_assignment` wrote them."""
    localities = [locality for assignment in endpoints["resources"] for locality in assignment.get("endpoints", ())]
    addresses = [each["endpoint"]["address"] for locality in localities for each in locality["lb_endpoints"]]
    return tuple(int(address["socket_address"]["port_value"]) for address in addresses)


def _seconds(value: float) -> str:
    return f"{value:.3f}s"
