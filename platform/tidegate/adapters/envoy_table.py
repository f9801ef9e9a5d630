"""The gateway's table of routes: which requests reach a model, counted as what, retried when.

Invariants:
- A request sees one table from its first byte to its last; switching replaces the table, never a part of it.
- Three kinds of requests reach a slot, each counted under `<model>/<slot>/<kind>`: `predict` and `infer` (a POST that may
  predict) and `other` (probes and documents, by an allow-list). All else is refused here and counted nowhere. Both slots'
  counters are in every table, so that they go on counting over switches. (Envoy takes a counter's prefix for one label as
  long as no dot is in it.)
- Only what may predict is mirrored. What got no answer because its replica went away is asked once more, of another replica
  (predictions are reads); what is not answered in time, and answers of 5xx, never are: the first would take one replica after
  the other, the second are what the gates must see. Other kinds are asked again only when no byte had reached a replica.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tidegate.adapters.envoy_listener import CLIENT_ID, METADATA, Json, seconds, typed
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

ROUTES = "gateway"
SHADOW_HEADER = "x-tidegate-shadow"
SLOT_HEADER = "x-tidegate-slot"
PREDICT, INFER, OTHER = "predict", "infer", "other"
PREDICTING = (PREDICT, INFER)
DOCUMENTS = r"livez|readyz|openapi\.json|docs\.json"
INFERENCE = r"v2/models/[^/]+(/versions/[^/]+)?/infer/?"
UNREACHED = "connect-failure,refused-stream,reset-before-request"
RETRY_ON = {PREDICT: f"{UNREACHED},reset", INFER: f"{UNREACHED},reset", OTHER: UNREACHED}


def cluster_name(model: str, slot: Slot, shadow: bool = False) -> str:
    return f"{model}-{slot}-shadow" if shadow else f"{model}-{slot}"


def stat_prefix(model: str, slot: Slot, kind: str) -> str:
    """Under which Envoy counts: `vhost.gateway.route.<this>.upstream_rq_...`."""
    return f"{model}/{slot}/{kind}"


def route_configuration(config: LocalConfig, models: Sequence[ModelRoutes]) -> Json:
    """`/models/<model>/...` for each model, then the default model at `/`; what has no active slot answers 503."""
    routes: list[Json] = []
    for model in models:
        routes += _model_routes(config, model, model.model, f"/models/{model.model}")
    routes.append(_direct("unknown", {"prefix": "/models/"}, 404, "no such model at this gateway"))
    default = next((m for m in models if m.model == config.default_model), models[0] if models else None)
    if default is not None:
        routes += _model_routes(config, default, "default", "")
    else:
        routes.append(_direct("empty", {"prefix": "/"}, 503, "no model is released at this gateway yet"))
    client_id = {"key": CLIENT_ID, "value": f"%REQ({CLIENT_ID.upper()})%"}
    return typed(
        "envoy.config.route.v3.RouteConfiguration",
        name=ROUTES,
        virtual_hosts=[{"name": "gateway", "domains": ["*"], "routes": routes}],
        response_headers_to_add=[{"header": client_id, "append_action": "ADD_IF_ABSENT"}],
    )


def _direct(name: str, match: Json, status: int, text: str) -> Json:
    return {"name": name, "match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _method(*methods: str) -> Json:
    return {"headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(methods)}}}]}


def _model_routes(config: LocalConfig, model: ModelRoutes, name: str, base: str) -> list[Json]:
    """The routes of one model below `base`, most specific first. The one called `name` says to which slot it goes."""
    below = {"prefix": base + "/"}
    if model.active is None:
        return [_direct(name, below, 503, f"model {model.model} has no active release")]

    def exact(paths: str) -> Json:
        return {"safe_regex": {"regex": f"{re.escape(base)}/({paths})"}}

    def route(kind: str, match: Json, of: Slot) -> Json:
        return _route(config, model, kind, of, match, base)

    active = model.active
    idle = below | {"headers": [*_method("GET")["headers"], *_method("POST")["headers"]]}  # no request has two methods
    known = rf"({DOCUMENTS}|metrics|schema\.json|v2(/.*)?)?/?"
    return [
        {"name": f"{name}/{INFER}"} | route(INFER, exact(INFERENCE) | _method("POST"), active),
        _direct(
            f"{name}/not-post", exact(known) | _method("POST"), 405, "nothing is predicted at this path: POST is not allowed"
        ),
        {"name": name} | route(PREDICT, below | _method("POST"), active),
        {"name": f"{name}/{OTHER}"} | route(OTHER, exact(rf"({DOCUMENTS}|v2(/.*)?)/?") | _method("GET", "HEAD"), active),
        *(
            {"name": f"{name}/{kind}/counters-of-{active.other}"} | route(kind, idle, active.other)
            for kind in (*PREDICTING, OTHER)
        ),
        _direct(f"{name}/nothing", below, 404, f"the gateway has nothing at this path of model {model.model}"),
    ]


def _route(config: LocalConfig, model: ModelRoutes, kind: str, slot: Slot, match: Json, base: str) -> Json:
    action: Json = {
        "cluster": cluster_name(model.model, slot),
        # Envoy appends `-shadow` to the host of what it mirrors, by which slots know it: no client may choose the host
        "host_rewrite_literal": f"{model.model}.tidegate",
        "timeout": seconds(config.request_timeout_seconds),
        "retry_policy": retry_policy(kind),
    }
    if base:
        action["regex_rewrite"] = {"pattern": {"regex": f"^{re.escape(base)}/"}, "substitution": "/"}
    if model.mirror and kind in PREDICTING:
        action["request_mirror_policies"] = [
            {
                "cluster": cluster_name(model.model, slot.other, shadow=True),
                "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
                "request_headers_mutations": [{"append": {"header": {"key": SHADOW_HEADER, "value": "1"}}}],
            }
        ]
    return {
        "stat_prefix": stat_prefix(model.model, slot, kind),
        "match": match,
        "route": action,
        "metadata": {"filter_metadata": {METADATA: {"model": model.model, "slot": str(slot), "kind": kind}}},
        "response_headers_to_add": [
            {"header": {"key": SLOT_HEADER, "value": str(slot)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


def retry_policy(kind: str) -> Json:
    others = typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    return {
        "retry_on": RETRY_ON[kind],
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
        "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": others}],
        # of two hosts the balancer prefers the idle one, which is the one that just died: it has to draw often enough
        "host_selection_retry_max_attempts": 64,
    }
