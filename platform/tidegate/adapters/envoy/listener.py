"""The gateway's listener: who a request is, what is written of it, and how the gateway itself refuses.

Invariants:
- Each request has an id that the gateway gave it. A client's own `x-request-id` goes along as `x-client-request-id`, cut to
  CLIENT_ID_BYTES; what a client sends under that name, or as `x-tidegate-...`, never gets past the listener.
- The access log holds no query string, and no client's text of any length.
- An answer of the gateway's own is `{"error": one sentence, "status": ..., "request_id": ...}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidegate.domain.local import LOOPBACK, LocalConfig

TYPES = "type.googleapis.com/"
METADATA = "tidegate"
CLIENT_ID = "x-client-request-id"
CLIENT_ID_BYTES = 128
OWN_HEADERS = "x-tidegate-"
PATH_BYTES = 256
BUFFER = "envoy.filters.http.buffer"
FLUSH = "0.25s"  # histograms are merged at each flush of the statistics, and gates look twice a second
Json = dict[str, Any]

# Where Envoy has no words, or poor ones. Those of the routes (404, 405, 503) and of its router (503, 504) are kept.
SENTENCES = {
    400: "the request is not HTTP as the gateway reads it: check its request line, path and headers",
    403: "the gateway changes to no other protocol: ask without the header upgrade",
    408: "the request did not arrive in time",
    413: "the body is larger than the gateway's limit",
    414: "the path is longer than the gateway's limit",
    426: "the gateway speaks HTTP/1.1",
    431: "the headers are larger than the gateway's limit",
}
NOT_IMPLEMENTED = 501  # Envoy's word for a client's fault
NO_ENCODING = "the gateway knows no transfer-encoding but chunked"
NOBODY = "no replica of the model can be reached: it has no active release, or all its replicas are down"


def typed(kind: str, **fields: Any) -> Json:
    return {"@type": TYPES + kind, **fields}


def address(port: int, host: str = LOOPBACK) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def listener(config: LocalConfig, access_log: Path, routes: Json) -> Json:
    """The gateway's listener; `routes` is `{"rds": ...}` or, to validate all at once, `{"route_config": ...}`."""
    patience = config.request_timeout_seconds + 15
    manager = connection_manager(patience, config.arrival_seconds, config.max_request_bytes, str(access_log)) | routes
    return {"enable_reuse_port": False} | listening("gateway", address(config.gateway_port), manager)


def listening(name: str, at: Json, manager: Json) -> Json:
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": name, "address": at, "filter_chains": [{"filters": filters}]}


def connection_manager(patience: float, arrival: float, max_request_bytes: int, access_log: str) -> Json:
    """What a gateway does with a request before its routes: the same on every target. `patience` bounds its silence, `arrival`
    the time until its last byte has come."""
    return typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        **identity(),
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        request_headers_timeout=seconds(min(10.0, arrival)),
        request_timeout=seconds(arrival),
        stream_idle_timeout=seconds(patience),
        common_http_protocol_options={"idle_timeout": "300s"},
        local_reply_config=local_replies(),
        access_log=[_access_log(access_log)],
        http_filters=[
            {
                # whole requests only: a slow sender costs the slots nothing, and a retry has the body
                "name": BUFFER,
                "typed_config": typed("envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=max_request_bytes),
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True),
            },
        ],
    )


def buffer_of_route(max_request_bytes: int | str) -> Json:
    """The limit of a body on one route, in place of the listener's."""
    buffer = {"max_request_bytes": max_request_bytes}
    return typed("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", buffer=buffer)


def no_buffer() -> Json:
    """Of a route that reads no body: it answers without waiting for one that was announced."""
    return typed("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", disabled=True)


def identity() -> Json:
    """The connection manager's fields that give a request its id and take from it what a client must not say.

    Every client is a stranger (`use_remote_address`, no address is internal), or Envoy would keep a client's id and obey its
    `x-envoy-...` headers. Headers are changed before the id is made, so a client's id is copied before it is replaced.
    """
    mutations: list[Json] = [
        {"remove": CLIENT_ID},
        {
            "append": {
                "header": {"key": CLIENT_ID, "value": f"%REQ(X-REQUEST-ID):{CLIENT_ID_BYTES}%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        },
        {"remove": "x-request-id"},
        {"remove_on_match": {"key_matcher": {"prefix": OWN_HEADERS}}},
    ]
    early = typed("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=mutations)
    plain = typed("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", pack_trace_reason=False)
    return {
        "use_remote_address": True,
        "internal_address_config": {"unix_sockets": False},
        "generate_request_id": True,
        "preserve_external_request_id": False,
        "always_set_request_id_in_response": True,
        "request_id_extension": {"typed_config": plain},
        "early_header_mutation_extensions": [
            {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": early}
        ],
    }


def local_replies() -> Json:
    """Sentences and ids for answers of the gateway's own. What is refused before it is a request gets its id here."""

    def body(request_id: str) -> Json:
        return {"json_format": {"error": "%LOCAL_REPLY_BODY%", "status": "%RESPONSE_CODE%", "request_id": request_id}}

    def header(name: str, value: str) -> Json:
        return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}

    def is_status(op: str, status: int) -> Json:
        value = {"default_value": status, "runtime_key": f"tidegate.{op}.{status}"}
        return {"status_code_filter": {"comparison": {"op": op, "value": value}}}

    nameless = {"header_filter": {"header": {"name": "x-request-id", "present_match": False}}}
    given, made = header(CLIENT_ID, f"%REQ({CLIENT_ID.upper()})%"), header("x-request-id", "%UNIQUE_ID%")
    mappers: list[Json] = []  # the first that matches is taken

    def maps(which: Json, answer: Json) -> None:
        both = {"and_filter": {"filters": [which, nameless]}}
        of_response = {"headers_to_add": [made], "body_format_override": body("%RESP(X-REQUEST-ID)%")}
        mappers.append({"filter": both} | answer | of_response)
        mappers.append({"filter": which, "headers_to_add": [given]} | answer)

    for status, sentence in SENTENCES.items():
        maps(is_status("EQ", status), {"body": {"inline_string": sentence}})
    maps(is_status("EQ", NOT_IMPLEMENTED), {"status_code": 400, "body": {"inline_string": NO_ENCODING}})
    maps({"response_flag_filter": {"flags": ["UH"]}}, {"body": {"inline_string": NOBODY}})
    maps(is_status("GE", 100), {})
    return {"mappers": mappers, "body_format": body("%REQ(X-REQUEST-ID)%")}


def _access_log(path: str) -> Json:
    """One JSON object a request; `at` is a string of seconds since the epoch (Envoy knows no numeric time)."""
    fields = {
        "at": "%START_TIME(%s.%6f)%",
        "request_id": "%RESP(X-REQUEST-ID)%",
        "client_request_id": f"%REQ({CLIENT_ID.upper()})%",
        "method": "%REQ(:METHOD):16%",
        "path": f"%PATH(NQ:PATH):{PATH_BYTES}%",
        "model": f"%METADATA(ROUTE:{METADATA}:model)%",
        "slot": f"%METADATA(ROUTE:{METADATA}:slot)%",
        "release": "%RESP(X-TIDEGATE-RELEASE)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "duration_ms": "%DURATION%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "upstream": "%UPSTREAM_HOST%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes": "%BYTES_SENT%",
    }
    kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed(kind, path=path, log_format={"json_format": fields}),
    }


def seconds(value: float) -> str:
    return f"{value:.3f}s"
