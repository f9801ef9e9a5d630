"""The OpenAPI 3.1 document of a release's server: its typed endpoint, the Open Inference Protocol's routes, and health.

It is made from the endpoint's own types and the model's tensors, so it says what is checked; BentoML's names the body of a
request `root_input` and knows neither refusals nor the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

if TYPE_CHECKING:
    from tidegate.domain.release import ReleaseManifest
    from tidegate.ports.tensor_model import TensorModel, TensorSpec
    from tidegate.serving.runtime.endpoint import Endpoint

Json = dict[str, Any]
REF = "#/components/schemas/{model}"
REFUSALS = {
    "400": "The body cannot be read: no JSON, or no tensors that fit.",
    "404": "An unknown entity, model or path.",
    "405": "The method is not allowed here.",
    "413": "The body is larger than the limit.",
    "415": "Another content type, or a compressed body.",
    "422": "Values that are not allowed; the sentence names the field and its range.",
    "503": "The online store is away, or the process is draining.",
}
HEADERS = {
    "x-request-id": "The request's id, made by the gateway; the inference log has it.",
    "x-tidegate-release": "The release that answered.",
}


def document(manifest: ReleaseManifest, model: TensorModel, endpoint: Endpoint[Any, Any]) -> Json:
    named, definitions = models_json_schema(
        [(endpoint.request, "validation"), (endpoint.response, "serialization")], ref_template=REF
    )
    schemas = definitions.get("$defs", {}) | _tensors(model) | {"Error": _object({"error": {"type": "string"}})}
    asked, answered = (named[(kind, mode)] for kind, mode in named)
    base = f"/v2/models/{manifest.model}"
    infer_answer = {"application/json": {"schema": _ref("InferResponse")}, "application/octet-stream": {}}
    infer_body = {"application/json": {"schema": _ref("InferRequest")}, "application/octet-stream": {}}
    predicts = _operation("predict", _text(endpoint), {"application/json": {"schema": answered}}, list(REFUSALS))
    predicts["requestBody"] = {"required": True, "content": {"application/json": {"schema": asked}}}
    infers = _operation("infer", "Raw tensors through the model.", infer_answer, ["400", "404", "405", "413", "415"])
    infers["requestBody"] = {"required": True, "content": infer_body}
    paths: Json = {endpoint.path: {"post": predicts}, f"{base}/infer": {"post": infers}}
    for path, (name, text) in {
        "/livez": ("live", "Whether the process answers."),
        "/readyz": ("ready", "Whether it can predict."),
        "/v2": ("server_metadata", "The server and its extensions."),
        "/v2/health/live": ("server_live", "Whether the process answers."),
        "/v2/health/ready": ("server_ready", "Whether it can predict."),
        base: ("model_metadata", "The model's tensors."),
        f"{base}/config": ("model_config", "The model's configuration, as load generators read it."),
        f"{base}/ready": ("model_ready", "Whether the model can predict."),
    }.items():
        refusals = ["405", "503"] if "ready" in name else ["405"]
        paths[path] = {"get": _operation(name, text, {"application/json": {"schema": {"type": "object"}}}, refusals)}
    return {
        "openapi": "3.1.0",
        "info": {"title": manifest.model, "version": manifest.version, "description": f"Release {manifest.id}."},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(name: str, text: str, content: Json, refusals: list[str]) -> Json:
    headers = {name: {"description": said, "schema": {"type": "string"}} for name, said in HEADERS.items()}
    failed: Json = {"content": {"application/json": {"schema": _ref("Error")}}, "headers": headers}
    responses: Json = {"200": {"description": "Answered.", "content": content, "headers": headers}}
    responses |= {status: {"description": REFUSALS[status], **failed} for status in refusals}
    responses["500"] = {"description": "A fault of the release or the server.", **failed}
    return {"operationId": name, "summary": text, "responses": responses}


def _text(endpoint: Endpoint[Any, Any]) -> str:
    lines = (endpoint.function.__doc__ or "").strip().splitlines()
    return lines[0] if lines else "A prediction."


def _tensors(model: TensorModel) -> Json:
    parameters: Json = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    named: Json = {"name": {"type": "string"}, "parameters": parameters}

    def tensor(specs: tuple[TensorSpec, ...], required: list[str]) -> Json:
        fields: Json = {
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8},
            "datatype": {"enum": sorted({spec.datatype for spec in specs})},
            "data": {"type": "array"},
        }
        names = {"name": {"enum": [spec.name for spec in specs]}}
        return {"type": "object", "properties": named | names | fields, "required": required}

    outputs = {"type": "array", "items": _object(named, ["name"])}
    inputs = {"type": "array", "items": tensor(model.inputs, ["name", "shape", "datatype"])}
    answered = {"type": "array", "items": tensor(model.outputs, ["name", "shape", "datatype"])}
    about = {"model_name": {"type": "string"}, "model_version": {"type": "string"}}
    common: Json = {"id": {"type": "string"}, "parameters": parameters}
    return {
        "InferRequest": _object({"inputs": inputs, "outputs": outputs} | common, ["inputs"]),
        "InferResponse": _object(about | common | {"outputs": answered}, ["model_name", "outputs"]),
    }


def _object(properties: Json, required: list[str] | None = None) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required}


def _ref(name: str) -> Json:
    return {"$ref": REF.format(model=name)}
