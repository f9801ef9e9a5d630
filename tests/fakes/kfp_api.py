"""Kubeflow Pipelines' API (v2beta1) as its own published definitions have it, for a server that takes nothing else.

`kfp_server_api`, which comes with kfp, is generated from the API's OpenAPI document: which requests there are, what they may
ask for, and the fields of each message with their types. A pipeline is what kfp's own protobuf message says. A request that
these do not allow is answered 400, as the real server does with fields that it does not know.
"""

from __future__ import annotations

import inspect
import json
import re
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import kfp_server_api
from google.protobuf.json_format import ParseDict, ParseError
from kfp.pipeline_spec.pipeline_spec_pb2 import ParameterType, PipelineSpec, PlatformSpec

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}
VALUES: Mapping[int, Any] = {
    ParameterType.STRING: str,
    ParameterType.NUMBER_INTEGER: int,
    ParameterType.NUMBER_DOUBLE: (int, float),
    ParameterType.BOOLEAN: bool,
}


def _requests() -> dict[tuple[str, str], set[str]]:
    """Of each request (method, path) what its query may have."""
    found = {}
    for name, service in inspect.getmembers(kfp_server_api, inspect.isclass):
        if name.endswith("ServiceApi"):
            for part in inspect.getsource(service).split("_with_http_info(self")[1:]:
                for path, method in re.findall(r"call_api\(\s*'([^']+)', '(\w+)'", part):
                    found[method, re.sub(r"{\w+}", "{}", path)] = set(re.findall(r"query_params\.append\(\('(\w+)'", part))
    return found


REQUESTS = _requests()
BODIES = {("POST", "/apis/v2beta1/runs"): "V2beta1Run", ("POST", "/apis/v2beta1/experiments"): "V2beta1Experiment"}


def refusal(method: str, address: str, body: Any = None) -> str:
    """Why the API does not take a request; empty where it does."""
    url = urllib.parse.urlsplit(address)
    path = next((each for kind, each in REQUESTS if kind == method and _matches(each, url.path)), None)
    if path is None:
        return f"there is no {method} {url.path}"
    if unknown := set(urllib.parse.parse_qs(url.query, keep_blank_values=True)) - REQUESTS[method, path]:
        return f"{method} {path} has no query parameter {', '.join(sorted(unknown))}"
    if method == "GET":
        return ""
    if (method, path) not in BODIES:
        return f"what {method} {path} takes is not known here"
    return _misfit(BODIES[method, path], body, "body") or (_run(body) if path.endswith("/runs") else "")


def _matches(path: str, asked: str) -> bool:
    return re.fullmatch(re.escape(path).replace(r"\{\}", "[^/]+"), asked) is not None


def _misfit(kind: str, value: Any, where: str) -> str:
    """Why a value is none of that type of the API; empty where it is one."""
    if value is None or kind == "object":
        return ""
    if kind in PLAIN:
        return "" if isinstance(value, PLAIN[kind]) else f"{where} is {type(value).__name__}, required {kind}"
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        return next(filter(None, (_misfit(inner[1], each, f"{where}[]") for each in value)), "")
    if inner := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return next(filter(None, (_misfit(inner[1], each, f"{where}.{name}") for name, each in value.items())), "")
    model = getattr(kfp_server_api, kind)
    if not model.openapi_types:  # an enumeration
        return "" if value in model.allowable_values else f"{where} is {value}, no {kind}"
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    if unknown := set(value) - set(names):
        return f"{where} has {', '.join(sorted(unknown))}, which {kind} has not"
    parts = (_misfit(model.openapi_types[names[name]], each, f"{where}.{name}") for name, each in value.items())
    return next(filter(None, parts), "")


def _run(body: Mapping[str, Any]) -> str:
    """Why a run's pipeline, or what it is given, does not fit."""
    written = body.get("pipeline_spec") or {}
    documents = written if "pipeline_spec" in written else {"pipeline_spec": written}
    try:
        spec = ParseDict(documents["pipeline_spec"], PipelineSpec())
        ParseDict(documents.get("platform_spec", {}), PlatformSpec())
    except ParseError as error:
        return f"the pipeline is none: {error}"
    inputs, given = spec.root.input_definitions.parameters, body["runtime_config"].get("parameters", {})
    if unknown := set(given) - set(inputs):
        return f"the pipeline has no input {', '.join(sorted(unknown))}"
    for name, each in inputs.items():
        kind = VALUES.get(each.parameter_type)
        if name in given and kind and not isinstance(given[name], kind):
            required = ParameterType.ParameterTypeEnum.Name(each.parameter_type)
            return f"input {name} is {type(given[name]).__name__}, required {required}"
        if name not in given and not (each.is_optional or each.HasField("default_value")):
            return f"input {name} is missing"
    return ""


class KfpApi(BaseHTTPRequestHandler):
    """As much of the API as a submission needs; every request is kept, with why it was refused."""

    seen: list[tuple[str, str, Any]]
    refused: list[str]
    experiments: list[dict[str, Any]]

    def _take(self, body: Any = None) -> bool:
        self.seen.append((self.command, self.path, body or {}))
        why = refusal(self.command, self.path, body)
        if why:
            self.refused.append(why)
            self._answer({"code": 3, "message": why, "details": []}, 400)
        return not why

    def _answer(self, value: Any, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if not self._take():
            return
        if self.path.startswith("/apis/v2beta1/experiments"):
            # as the server marshals messages: what is empty is left out
            self._answer({"experiments": self.experiments, "total_size": len(self.experiments)} if self.experiments else {})
        else:
            self._answer({"multi_user": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])) or b"{}")
        if not self._take(body):
            return
        if self.path.endswith("/runs"):
            return self._answer({**body, "run_id": "r-17", "state": "PENDING", "created_at": "2026-03-02T02:30:00Z"})
        made = {**body, "experiment_id": "e1", "created_at": "2026-03-02T02:30:00Z", "storage_state": "AVAILABLE"}
        self.experiments.append(made)
        return self._answer(made)

    def log_message(self, *_: object) -> None:
        pass
