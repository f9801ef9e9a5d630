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

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.adapters.envoy.listener import CLIENT_ID, METADATA, Json, seconds, typed
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


@dataclass(frozen=True)
class Backend:
    """Where a model's requests go, as routes say it: `counters` is what their counters' names begin with (Envoy counts under
    `vhost.gateway.route.<counters>/<kind>.upstream_rq_...`), `shadow` the cluster that gets a copy of each prediction."""

    model: str
    cluster: str
    counters: str
    timeout: str
    shadow: str = ""
    slot: str = ""


def route_configuration(config: LocalConfig, models: Sequence[ModelRoutes]) -> Json:
    """`/models/<model>/...` for each model, then the default model at `/`; what has no active slot answers 503."""
    routes: list[Json] = []
    for model in models:
        routes += _slot_routes(config, model, model.model, f"/models/{model.model}")
    routes.append(direct("unknown", {"prefix": "/models/"}, 404, "no such model at this gateway"))
    default = next((m for m in models if m.model == config.default_model), models[0] if models else None)
    if default is not None:
        routes += _slot_routes(config, default, "default", "")
    else:
        routes.append(direct("empty", {"prefix": "/"}, 503, "no model is released at this gateway yet"))
    return configuration(routes)


def configuration(routes: list[Json]) -> Json:
    """The whole table. A client's id comes back also from a server that does not know of it."""
    given = {"key": CLIENT_ID, "value": f"%REQ({CLIENT_ID.upper()})%"}
    return typed(
        "envoy.config.route.v3.RouteConfiguration",
        name=ROUTES,
        virtual_hosts=[{"name": "gateway", "domains": ["*"], "routes": routes}],
        response_headers_to_add=[{"header": given, "append_action": "ADD_IF_ABSENT"}],
    )


def direct(name: str, match: Json, status: int, text: str) -> Json:
    return {"name": name, "match": match, "direct_response": {"status": status, "body": {"inline_string": text}}}


def _method(*methods: str) -> Json:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(methods)}}}


def _slot_routes(config: LocalConfig, model: ModelRoutes, name: str, base: str) -> list[Json]:
    """The routes of one model below `base`. The one called `name` says to which slot the model goes."""
    if model.active is None:
        return [direct(name, {"prefix": base + "/"}, 503, f"model {model.model} has no active release")]
    active, idle = (
        Backend(
            model.model,
            cluster_name(model.model, slot),
            f"{model.model}/{slot}",
            seconds(config.request_timeout_seconds),
            cluster_name(model.model, slot.other, shadow=True) if model.mirror else "",
            str(slot),
        )
        for slot in (model.active, model.active.other)
    )
    never = {"prefix": base + "/", "headers": [_method("GET"), _method("POST")]}  # no request has two methods
    counted = [{"name": f"{name}/{kind}/counters-of-{idle.slot}"} | _route(idle, kind, never) for kind in (*PREDICTING, OTHER)]
    return [*counted, *model_routes(active, name, base)]


def model_routes(backend: Backend, name: str, base: str) -> list[Json]:
    """Everything below `base` that reaches a model, most specific first, and the refusals of all else."""
    below: Json = {"prefix": base + "/"}
    rewrite = {"pattern": {"regex": f"^{base}/"}, "substitution": "/"} if base else None

    def exact(paths: str, *methods: str) -> Json:
        return {"safe_regex": {"regex": f"{base}/({paths})"}, "headers": [_method(*methods)]}

    known = rf"({DOCUMENTS}|metrics|schema\.json|v2(/.*)?)?/?"
    return [
        {"name": f"{name}/{INFER}"} | _route(backend, INFER, exact(INFERENCE, "POST"), rewrite),
        direct(f"{name}/not-post", exact(known, "POST"), 405, "POST is not allowed at this path"),
        {"name": name} | _route(backend, PREDICT, below | {"headers": [_method("POST")]}, rewrite),
        {"name": f"{name}/{OTHER}"} | _route(backend, OTHER, exact(rf"({DOCUMENTS}|v2(/.*)?)/?", "GET", "HEAD"), rewrite),
        direct(f"{name}/nothing", below, 404, f"the gateway has nothing at this path of model {backend.model}"),
    ]


def protocol_routes(backend: Backend, name: str) -> list[Json]:
    """The Open Inference Protocol's own paths of a model, `/v2/models/<model>/...`, which need no prefix to say which it is."""

    def exact(paths: str, *methods: str) -> Json:
        return {"safe_regex": {"regex": f"/v2/models/{backend.model}{paths}"}, "headers": [_method(*methods)]}

    return [
        {"name": f"{name}/{INFER}"} | _route(backend, INFER, exact("(/versions/[^/]+)?/infer/?", "POST")),
        {"name": f"{name}/{OTHER}"} | _route(backend, OTHER, exact("(/.*)?", "GET", "HEAD")),
    ]


def _route(backend: Backend, kind: str, match: Json, rewrite: Json | None = None) -> Json:
    action: Json = {
        "cluster": backend.cluster,
        # Envoy appends `-shadow` to the host of what it mirrors, by which slots know it: no client may choose the host
        "host_rewrite_literal": f"{backend.model}.tidegate",
        "timeout": backend.timeout,
        "retry_policy": retry_policy(kind),
    }
    if rewrite:
        action["regex_rewrite"] = rewrite
    if backend.shadow and kind in PREDICTING:
        action["request_mirror_policies"] = [
            {
                "cluster": backend.shadow,
                "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
                "request_headers_mutations": [{"append": {"header": {"key": SHADOW_HEADER, "value": "1"}}}],
            }
        ]
    slot = {"slot": backend.slot} if backend.slot else {}
    route: Json = {
        "stat_prefix": f"{backend.counters}/{kind}",
        "match": match,
        "route": action,
        "metadata": {"filter_metadata": {METADATA: {"model": backend.model, "kind": kind} | slot}},
    }
    if backend.slot:
        header = {"key": SLOT_HEADER, "value": backend.slot}
        route["response_headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return route


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
