"""How a model's `serving/<model>/service.py` declares its typed endpoint: types, a plain function, one object.

    class ForecastRequest(Message): ...
    class ForecastResponse(Message): ...

    def forecast(call: Call, request: ForecastRequest) -> ForecastResponse:
        prediction = call.predict(entities, {"days": days})
        ...

    endpoint = Endpoint("/predict", ForecastRequest, ForecastResponse, forecast)

    @bentoml.service(name="demand")
    class Demand:
        @bentoml.api(route="/predict")
        async def predict(self, request: ForecastRequest, /) -> ForecastResponse:
            return endpoint.answer(request)

The light HTTP application takes requests to the endpoint's path; BentoML serves the same function under the same route
and describes it in its OpenAPI document. A request makes one prediction at most, which is what its log record holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError

from tidegate.domain.errors import InvalidInput, Unavailable
from tidegate.serving.runtime.dataplane import Entity, Prediction, Predictor
from tidegate.serving.runtime.shown import shown

__all__ = ["Call", "Endpoint", "MalformedRequest", "Message", "Prediction"]

PROBLEMS_AT_MOST = 3
NO_INPUTS: Mapping[str, Any] = {}
ONE, EACH = "value", "rows"  # the two forms of an input: one value for all rows, or a list
EXPLAINED_AT_MOST = 1000  # with more problems than that, none is named


class MalformedRequest(InvalidInput):
    """A request that cannot be read at all: no JSON, or no tensors."""


def _stops_at_first(schema: Any) -> Any:
    """The schema with lists that end at their first wrong item: else two bytes an item make an error of hundreds each."""
    if isinstance(schema, list):
        return [_stops_at_first(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    within = {name: part if name in ("metadata", "serialization") else _stops_at_first(part) for name, part in schema.items()}
    return within | {"fail_fast": True} if schema.get("type") in ("list", "tuple", "set", "frozenset") else within


class Message(BaseModel):
    """Base of requests and responses: exact types (no '3' for 3), no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, serialize_by_alias=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return _stops_at_first(handler(source))


Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Call:
    """One request's hold on the release: what an endpoint's function may use."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.prediction: Prediction | None = None

    @property
    def model(self) -> str:
        return self._predictor.release.manifest.model

    @property
    def release(self) -> str:
        """The release's id, `demand@3f2c91a07b5d`."""
        return self._predictor.release.id

    def predict(self, entities: Sequence[Entity] = (), inputs: Mapping[str, Any] = NO_INPUTS) -> Prediction:
        """`Predictor.predict`, once a request: `call.predict(entities, inputs)`, or `call.predict(inputs=...)` of a model
        without stored features."""
        if self.prediction is not None:
            raise RuntimeError("an endpoint makes one prediction a request, because its log record holds one")
        self.prediction = self._predictor.predict(entities, inputs)
        return self.prediction


class Endpoint(Generic[Request, Response]):
    """A typed endpoint: `function(call, request)` answers POST requests to `path`."""

    def __init__(
        self,
        path: str,
        request: type[Request],
        response: type[Response],
        function: Callable[[Call, Request], Response],
    ) -> None:
        self.path, self.request, self.response, self.function = path, request, response, function
        self._predictor: Predictor | None = None
        self._schema: dict[str, Any] | None = None

    def bind(self, predictor: Predictor) -> None:
        """Give the endpoint its release; done by the process that serves it."""
        self._predictor = predictor

    def answer(self, request: Request) -> Response:
        """Answer with the bound release: what the BentoML service calls."""
        if self._predictor is None:
            raise Unavailable(f"endpoint {self.path} has no release yet; serve it by 'python -m tidegate.apps.slot'")
        return self.function(Call(self._predictor), request)

    def parse(self, body: bytes) -> Request:
        """The request in a JSON body; raises MalformedRequest (no JSON) or InvalidInput naming fields and what is allowed."""
        try:
            return self.request.model_validate_json(body)
        except ValidationError as error:
            count = error.error_count()
            problems = error.errors(include_url=False, include_context=False) if count <= EXPLAINED_AT_MOST else []
        if not problems:
            raise InvalidInput(f"the body has {count:,} values or fields that are not allowed; see /openapi.json")
        if problems[0]["type"] == "json_invalid":
            raise MalformedRequest(f"the body is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}")
        told = "; ".join(self._describe(problem) for problem in problems[:PROBLEMS_AT_MOST])
        more = len(problems) - PROBLEMS_AT_MOST
        raise InvalidInput(told + (f"; and {more} more" if more > 0 else ""))

    def _describe(self, problem: Any) -> str:
        known = self._known
        parts = [str(part) if isinstance(part, int) or part in known else shown(part) for part in problem["loc"]]
        place = ".".join(parts) or "the body"
        allowed = self._allowed(str(problem["loc"][0])) if problem["loc"] else ""
        observed = problem.get("input")
        text = "" if isinstance(observed, dict | list) or problem["type"] == "missing" else f", got {_short(observed)}"
        return f"{place}: {problem['msg']}{text}{allowed}"

    @cached_property
    def _known(self) -> frozenset[str]:
        """Names of fields, which messages show as they are."""
        schema = self._schema_of_request()
        objects = (schema, *schema.get("$defs", {}).values())
        return frozenset((ONE, EACH, *(name for each in objects for name in each.get("properties", ()))))

    def _schema_of_request(self) -> dict[str, Any]:
        if self._schema is None:
            self._schema = self.request.model_json_schema()
        return self._schema

    def _allowed(self, field: str) -> str:
        """The whole range of a field, since a message of pydantic's names only the end that was passed."""
        properties = self._schema_of_request().get("properties", {})
        if field not in properties:
            return f" (allowed fields: {', '.join(properties)})"
        rule = properties[field]
        ranges = (("minimum", "maximum", ""), ("minItems", "maxItems", " items"), ("minLength", "maxLength", " characters"))
        for low, high, unit in ranges:
            if low in rule and high in rule:
                return f" (allowed: {rule[low]} to {rule[high]}{unit})"
        return ""


def _short(value: Any) -> str:
    if isinstance(value, str | bytes):
        return shown(value if isinstance(value, str) else repr(value[:100]))
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
