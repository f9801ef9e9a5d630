"""The gateway's table of routes: which requests reach a model, counted as what, retried when.

Invariants:
- A request sees one table from its first byte to its last; switching replaces the table, never a part of it.
- Three kinds of requests reach a slot, each counted under `<model>/<slot>/<kind>`: `predict` and `infer` (a POST that may
  predict) and `other` (probes and documents, by an allow-list). All else is refused here and counted nowhere. Both slots'
  counters are in every table, so that they go on counting over switches. (Envoy takes a counter's prefix for one label as
  long as no dot is in it.)
- Only what may predict is mirrored. Whether another replica is asked once more, and when, is the policy of a route's kind
  (`kinds`): predictions are reads, and are asked again when their replica went away.
- A body has at most the bytes of its model's limit, as in the slot that it is for.
- `/` is one model's by an explicit setting, or because it is the project's only one; else nobody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.adapters.envoy.kinds import GRPC, INFER, OTHER, PREDICT, Kind
from tidegate.adapters.envoy.listener import BUFFER, CLIENT_ID, METADATA, Json, buffer_of_route, no_buffer, seconds, typed
from tidegate.domain.local import BODY_LIMIT, LocalConfig
from tidegate.domain.slots import Slot
from tidegate.ports.local import ModelRoutes

ROUTES = "gateway"
SHADOW_HEADER = "x-tidegate-shadow"
SLOT_HEADER = "x-tidegate-slot"
MODEL_HEADER = "x-model"
DOCUMENTS = r"livez|readyz|openapi\.json|docs\.json"
INFERENCE = r"v2/models/[^/]+(/versions/[^/]+)?/infer/?"
GRPC_SERVICE = r"inference\.GRPCInferenceService"
GRPC_METHODS = "ServerLive|ServerReady|ModelReady|ServerMetadata|ModelMetadata|ModelInfer"  # none of them streams


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
    body_limit: int | str = BODY_LIMIT  # bytes of a request


def route_configuration(config: LocalConfig, models: Sequence[ModelRoutes]) -> Json:
    """Each model below `/models/<model>/` and `/v2/models/<model>/`, one at `/`; what has no active slot answers 503."""
    routes: list[Json] = []
    for model in models:
        routes += _slot_routes(config, model, model.model, f"/models/{model.model}")
        routes += protocol_routes(_backend(config, model, model.active), f"{model.model}/v2") if model.active else []
    routes.append(UNKNOWN)
    chosen = config.default_model
    if chosen is not None:
        at_root = next((m for m in models if m.model == chosen), ModelRoutes(chosen))
        routes += [NO_GRPC, *_slot_routes(config, at_root, "default", "")]
    elif models:
        routes.append(nobody_at_root([m.model for m in models], "targets.local.defaultModel"))
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
    answer = {"status": status, "body": {"inline_string": text}}
    return {"name": name, "match": match, "direct_response": answer, "typed_per_filter_config": {BUFFER: no_buffer()}}


UNKNOWN = direct("unknown", {"prefix": "/models/"}, 404, "no such model at this gateway")
NO_GRPC = direct(
    "no-grpc",
    {"safe_regex": {"regex": f"/{GRPC_SERVICE}/.*"}},
    404,
    "the gateway has no such method by gRPC, or the model's server speaks none",
)


def nobody_at_root(models: Sequence[str], setting: str) -> Json:
    """Where there are several models and none is at `/`."""
    paths = ", ".join(f"/models/{model}/" for model in models)
    text = f"this gateway has several models and none at this path: ask below {paths}, or name the one for / in {setting}"
    return direct("default", {"prefix": "/"}, 404, text)


def _method(*methods: str) -> Json:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(methods)}}}


def _backend(config: LocalConfig, model: ModelRoutes, slot: Slot) -> Backend:
    return Backend(
        model.model,
        cluster_name(model.model, slot),
        f"{model.model}/{slot}",
        seconds(config.request_timeout_seconds),
        cluster_name(model.model, slot.other, shadow=True) if model.mirror else "",
        str(slot),
        config.body_limits.get(model.model, BODY_LIMIT),
    )


def _slot_routes(config: LocalConfig, model: ModelRoutes, name: str, base: str) -> list[Json]:
    """The routes of one model below `base`. The one called `name` says to which slot the model goes."""
    if model.active is None:
        return [direct(name, {"prefix": base + "/"}, 503, f"model {model.model} has no active release")]
    active, idle = (_backend(config, model, slot) for slot in (model.active, model.active.other))
    never = {"prefix": base + "/", "headers": [_method("GET"), _method("POST")]}  # no request has two methods
    counted = [
        {"name": f"{name}/{kind.name}/counters-of-{idle.slot}"} | route(idle, kind, never) for kind in (PREDICT, INFER, OTHER)
    ]
    return [*counted, *model_routes(active, name, base)]


def model_routes(backend: Backend, name: str, base: str) -> list[Json]:
    """Everything below `base` that reaches a model, most specific first, and the refusals of all else."""
    below: Json = {"prefix": base + "/"}
    rewrite = {"pattern": {"regex": f"^{base}/"}, "substitution": "/"} if base else None

    def exact(paths: str, *methods: str) -> Json:
        return {"safe_regex": {"regex": f"{base}/({paths})"}, "headers": [_method(*methods)]}

    known = rf"({DOCUMENTS}|metrics|schema\.json|v2(/.*)?)?/?"
    return [
        {"name": f"{name}/{INFER.name}"} | route(backend, INFER, exact(INFERENCE, "POST"), rewrite),
        direct(f"{name}/not-post", exact(known, "POST"), 405, "POST is not allowed at this path"),
        {"name": name} | route(backend, PREDICT, below | {"headers": [_method("POST")]}, rewrite),
        {"name": f"{name}/{OTHER.name}"} | route(backend, OTHER, exact(rf"({DOCUMENTS}|v2(/.*)?)/?", "GET", "HEAD"), rewrite),
        direct(f"{name}/nothing", below, 404, f"the gateway has nothing at this path of model {backend.model}"),
    ]


def protocol_routes(backend: Backend, name: str) -> list[Json]:
    """The Open Inference Protocol's own paths of a model, `/v2/models/<model>/...`, which need no prefix to say which it is."""

    def exact(paths: str, *methods: str) -> Json:
        return {"safe_regex": {"regex": f"/v2/models/{backend.model}{paths}"}, "headers": [_method(*methods)]}

    return [
        {"name": f"{name}/{INFER.name}"} | route(backend, INFER, exact("(/versions/[^/]+)?/infer/?", "POST")),
        {"name": f"{name}/{OTHER.name}"} | route(backend, OTHER, exact("(/.*)?", "GET", "HEAD")),
    ]


def grpc_routes(backend: Backend, name: str, named: bool) -> list[Json]:
    """The Open Inference Protocol by gRPC, of a model whose server speaks it. All models have the same paths there: requests
    that name one do so by metadata `x-model` (`named`), others are the default model's."""
    wanted = [{"name": MODEL_HEADER, "string_match": {"exact": backend.model}}] if named else []
    match = {"safe_regex": {"regex": f"/{GRPC_SERVICE}/({GRPC_METHODS})"}, "grpc": {}, "headers": [_method("POST"), *wanted]}
    return [{"name": f"{name}/{GRPC.name}"} | route(backend, GRPC, match)]


def route(backend: Backend, kind: Kind, match: Json, rewrite: Json | None = None) -> Json:
    action: Json = {
        "cluster": backend.cluster,
        # Envoy appends `-shadow` to the host of what it mirrors, by which slots know it: no client may choose the host
        "host_rewrite_literal": f"{backend.model}.tidegate",
        "timeout": backend.timeout,
    } | kind.retries.rendered()
    if rewrite:
        action["regex_rewrite"] = rewrite
    if backend.shadow and kind.predicts:
        action["request_mirror_policies"] = [
            {
                "cluster": backend.shadow,
                "runtime_fraction": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
                "request_headers_mutations": [{"append": {"header": {"key": SHADOW_HEADER, "value": "1"}}}],
            }
        ]
    slot = {"slot": backend.slot} if backend.slot else {}
    rendered: Json = {
        "stat_prefix": f"{backend.counters}/{kind.name}",
        "match": match,
        "route": action,
        "metadata": {"filter_metadata": {METADATA: {"model": backend.model, "kind": kind.name} | slot}},
    }
    buffer = buffer_of_route(backend.body_limit) if kind.takes_bodies else no_buffer()
    rendered["typed_per_filter_config"] = {BUFFER: buffer}
    if backend.slot:
        header = {"key": SLOT_HEADER, "value": backend.slot}
        rendered["response_headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return rendered
