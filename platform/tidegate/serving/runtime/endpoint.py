"""How a model's `serving/<model>/service.py` declares its typed endpoint: types, a plain function, one object.

    class ForecastRequest(Message): ...
    class ForecastResponse(Message): ...

    def forecast(call: Call, request: ForecastRequest) -> ForecastResponse:
        prediction = call.predict(entities, {"horizon": horizons})
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
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tidegate.domain.errors import InvalidInput, Unavailable
from tidegate.serving.runtime.dataplane import Prediction, Predictor

__all__ = ["Call", "Endpoint", "MalformedRequest", "Message", "Prediction"]

PROBLEMS_AT_MOST = 3


class MalformedRequest(InvalidInput):
    """A request that cannot be read at all: no JSON, or no tensors."""


class Message(BaseModel):
    """Base of requests and responses: exact types (no '3' for 3), no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


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

    def predict(self, entities: Sequence[str], inputs: Mapping[str, Any]) -> Prediction:
        """`Predictor.predict`, once a request."""
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
            raise Unavailable(f"endpoint {self.path} has no release yet; serve it by 'python -m tidegate.bootstrap.serving'")
        return self.function(Call(self._predictor), request)

    def parse(self, body: bytes) -> Request:
        """The request in a JSON body; raises MalformedRequest (no JSON) or InvalidInput naming fields and what is allowed."""
        try:
            return self.request.model_validate_json(body)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False)
        if problems[0]["type"] == "json_invalid":
            raise MalformedRequest(f"the body is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}")
        shown = "; ".join(self._describe(problem) for problem in problems[:PROBLEMS_AT_MOST])
        more = len(problems) - PROBLEMS_AT_MOST
        raise InvalidInput(shown + (f"; and {more} more" if more > 0 else ""))

    def _describe(self, problem: Any) -> str:
        place = ".".join(str(part) for part in problem["loc"]) or "the body"
        allowed = self._allowed(str(problem["loc"][0])) if problem["loc"] else ""
        observed = problem.get("input")
        text = "" if isinstance(observed, dict | list) or problem["type"] == "missing" else f", got {_short(observed)}"
        return f"{place}: {problem['msg']}{text}{allowed}"

    def _allowed(self, field: str) -> str:
        """The whole range of a field, since a message of pydantic's names only the end that was passed."""
        if self._schema is None:
            self._schema = self.request.model_json_schema()
        properties = self._schema.get("properties", {})
        if field not in properties:
            return f" (allowed fields: {', '.join(properties)})"
        rule = properties[field]
        ranges = (("minimum", "maximum", ""), ("minItems", "maxItems", " items"), ("minLength", "maxLength", " characters"))
        for low, high, unit in ranges:
            if low in rule and high in rule:
                return f" (allowed: {rule[low]} to {rule[high]}{unit})"
        return ""


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
