"""How the gateway treats the replicas of a model, wherever they are found: limits, retries' budget, who is set aside.

A target adds to it where the replicas are: files of endpoints on one machine, a headless Service on a cluster.
"""

from __future__ import annotations

from tidegate.adapters.envoy.listener import Json, typed

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def upstream(name: str, discovery: Json, *, shadow: bool = False, http2: bool = False) -> Json:
    """A cluster. `shadow`: its requests are copies; `http2`: its servers speak HTTP/2, as gRPC needs it, and nothing else."""
    requests = 256 if shadow else 1024  # a slow candidate must not pile up mirrored requests
    options = typed(
        OPTIONS,
        common_http_protocol_options={"idle_timeout": "30s"},
        explicit_http_config={"http2_protocol_options" if http2 else "http_protocol_options": {}},
    )
    fixed = typed(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        connect_timeout="1s",
        lb_policy="LEAST_REQUEST",  # a replica that is behind, or has just come, gets what it can do
        typed_extension_protocol_options={OPTIONS: options},
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
    return fixed | discovery
