"""What each hot route answers, free of ASGI: an `Exchange` in, an `Answer` out.

Statuses: 400 a body that cannot be read, 404 an unknown entity, model or path, 405 a wrong method, 413 too large a body,
415 a wrong content type, 422 values that are not allowed, 503 the online store is away or the process is draining, 500 a
fault of the release. Error bodies are `{"error": "..."}` on every route, as the V2 protocol wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

import tidegate
from tidegate.domain.datatypes import DATATYPES
from tidegate.domain.errors import InvalidInput, NotFound, TidegateError, Unavailable
from tidegate.domain.release import SHORT
from tidegate.ports.tensor_model import TensorSpec, triton_type
from tidegate.serving.runtime import v2_codec
from tidegate.serving.runtime.dataplane import Prediction, Predictor
from tidegate.serving.runtime.endpoint import Call, Endpoint, MalformedRequest
from tidegate.serving.runtime.metrics import CONTENT_TYPE, ServingMetrics
from tidegate.serving.runtime.openapi import document
from tidegate.serving.runtime.shown import bounded, shown

JSON = "application/json"
BINARY = "application/octet-stream"
HEADER_LENGTH = "inference-header-content-length"
DOCUMENTS = ("/openapi.json", "/docs.json")
LARGEST_BATCH = 1000  # what load generators are told; a request is bounded by its bytes
STATUSES: tuple[tuple[type[TidegateError], int], ...] = (
    (MalformedRequest, 400),
    (InvalidInput, 422),
    (NotFound, 404),
    (Unavailable, 503),
)


@dataclass(frozen=True)
class Exchange:
    """A request that was read whole. Header names are lower case; `media_type` has no parameters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def media_type(self) -> str:
        return media_type(self.headers)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    prediction: Prediction | None = None
    error: str = ""


@dataclass(frozen=True)
class Route:
    """`name` labels metrics; `logged` says whether its requests go into the inference log, as all that may predict do."""

    name: str
    method: str
    handle: Callable[[Exchange], Answer]
    media_types: tuple[str, ...] = (JSON,)
    logged: bool = False
    asks: bool = False  # whether it asks the online store, other than by predicting


def media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def failure(status: int, message: str, **headers: str) -> Answer:
    message = bounded(message)
    return Answer(status, msgspec.json.encode({"error": message}), headers=headers, error=message)


def refusal(error: TidegateError) -> Answer:
    """The answer to an expected error."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    return failure(status, str(error))


class Routes:
    """The hot routes of one release: its endpoint, the V2 protocol, health and metrics."""

    def __init__(self, predictor: Predictor, endpoint: Endpoint[Any, Any], metrics: ServingMetrics) -> None:
        self._predictor = predictor
        self._release = predictor.release
        self._endpoint = endpoint
        self._metrics = metrics
        self._openapi: Answer | None = None
        self.draining = False
        self._fixed = {
            endpoint.path: Route("predict", "POST", self._predict, logged=True),
            "/livez": Route("health", "GET", lambda _: _json({"live": True})),
            "/readyz": Route("health", "GET", self._ready, asks=True),
            "/metrics": Route("metrics", "GET", lambda _: Answer(200, metrics.exposition(), CONTENT_TYPE)),
            "/v2": Route("v2", "GET", self._server_metadata),
            "/v2/health/live": Route("health", "GET", lambda _: _json({"live": True})),
            "/v2/health/ready": Route("health", "GET", self._ready, asks=True),
            **dict.fromkeys(DOCUMENTS, Route("document", "GET", self._document)),
        }
        self._model_path = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/config|/infer)?")
        self._model_routes = {
            None: Route("v2", "GET", self._model_metadata),
            "/ready": Route("health", "GET", self._model_ready, asks=True),
            "/config": Route("v2", "GET", self._model_config),
            "/infer": Route("infer", "POST", self._infer, media_types=(JSON, BINARY), logged=True),
        }

    @property
    def release_id(self) -> str:
        return self._release.id

    @cached_property
    def words(self) -> frozenset[str]:
        """Names of the release's own, which a record may quote."""
        contract, model = self._release.contract, self._release.model
        tensors = (spec.name for spec in (*model.inputs, *model.outputs))
        return frozenset(
            (*contract.request, *self._endpoint.request.model_fields, contract.entity, *contract.key_names, *tensors)
        )

    @property
    def quick(self) -> bool:
        """Whether a small prediction may run on the event loop."""
        return self._predictor.quick

    def find(self, path: str) -> Route:
        """The route of a path; raises NotFound. Only these paths exist: nothing predicts that is not logged."""
        path = path.rstrip("/") or "/"
        route = self._fixed.get(path)
        if route is not None:
            return route
        match = self._model_path.fullmatch(path)
        if match is None:
            raise NotFound(f"unknown path {shown(path)}")
        manifest = self._release.manifest
        model, version, action = match.groups()
        if model != manifest.model:
            raise NotFound(f"unknown model {shown(model)}, this server has '{manifest.model}'")
        if version is not None and version not in (manifest.version, manifest.digest, manifest.digest[:SHORT]):
            raise NotFound(f"unknown version {shown(version)} of model '{model}', this server has '{manifest.version}'")
        return self._model_routes[action]

    def _predict(self, exchange: Exchange) -> Answer:
        call = Call(self._predictor)
        response = self._endpoint.function(call, self._endpoint.parse(exchange.body))
        return Answer(200, response.model_dump_json().encode(), prediction=call.prediction)

    def _infer(self, exchange: Exchange) -> Answer:
        request, tensors = v2_codec.decode_request(exchange.body, exchange.headers.get(HEADER_LENGTH))
        for spec in self._release.model.inputs:
            tensor = tensors.get(spec.name)
            if tensor is not None and DATATYPES[tensor.dtype] != spec.datatype:
                found = DATATYPES[tensor.dtype]
                raise MalformedRequest(f"input '{spec.name}' has datatype {found}, required {spec.datatype}")
        try:
            prediction = self._predictor.infer(tensors)
            manifest = self._release.manifest
            head = {
                "model_name": manifest.model,
                "model_version": manifest.version,
                "parameters": {"release": manifest.id},
            }
            body, json_length = v2_codec.encode_response(request, prediction.outputs, head)
        except InvalidInput as error:  # the protocol's clients expect 400 for any input that does not fit
            raise MalformedRequest(str(error)) from error
        if json_length is None:
            return Answer(200, body, prediction=prediction)
        headers = {"Inference-Header-Content-Length": str(json_length)}
        return Answer(200, body, BINARY, headers, prediction=prediction)

    def _ready(self, _: Exchange) -> Answer:
        if self.draining:
            return failure(503, "this process is draining")
        self._predictor.check_ready()
        return _json({"ready": True, "live": True})

    def _model_ready(self, exchange: Exchange) -> Answer:
        answer = self._ready(exchange)
        return answer if answer.status != 200 else _json({"name": self._release.manifest.model, "ready": True})

    def _document(self, _: Exchange) -> Answer:
        if self._openapi is None:
            self._openapi = _json(document(self._release.manifest, self._release.model, self._endpoint))
        return self._openapi

    def _server_metadata(self, _: Exchange) -> Answer:
        return _json(
            {"name": "tidegate", "version": tidegate.__version__, "extensions": ["binary_tensor_data", "model_configuration"]}
        )

    def _model_metadata(self, _: Exchange) -> Answer:
        manifest, model = self._release.manifest, self._release.model
        return _json(
            {
                "name": manifest.model,
                "versions": [manifest.version],
                "platform": "onnx_onnxv1",
                "inputs": [v2_codec.describe(spec) for spec in model.inputs],
                "outputs": [v2_codec.describe(spec) for spec in model.outputs],
                "properties": {"release": manifest.id, "feature_service": manifest.feature_service},
            }
        )

    def _model_config(self, _: Exchange) -> Answer:
        """Triton's model configuration as far as load generators read it. As there, shapes are those of one row of a batch."""
        manifest, model = self._release.manifest, self._release.model
        batched = all(spec.shape[:1] == (-1,) for spec in (*model.inputs, *model.outputs))

        def config(spec: TensorSpec) -> dict[str, Any]:
            dims = spec.shape[1:] if batched else spec.shape
            return {"name": spec.name, "data_type": triton_type(spec.datatype), "dims": list(dims)}

        return _json(
            {
                "name": manifest.model,
                "platform": "onnxruntime_onnx",
                "backend": "onnxruntime",
                "max_batch_size": LARGEST_BATCH if batched else 0,
                "input": [config(spec) for spec in model.inputs],
                "output": [config(spec) for spec in model.outputs],
            }
        )


def _json(value: Any) -> Answer:
    return Answer(200, msgspec.json.encode(value))
