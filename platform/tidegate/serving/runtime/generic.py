"""The endpoint of a model whose serving folder has no `service.py`: entities and request inputs in, all outputs out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from tidegate.serving.runtime.endpoint import Call, Endpoint, Message

Number = Annotated[float, Field(allow_inf_nan=False)] | int
Entity = Annotated[str, Field(min_length=1, max_length=256)]


class GenericRequest(Message):
    """One row for each entity; an input is one number for all rows or a list with one a row."""

    entities: Annotated[list[Entity], Field(min_length=1, max_length=1000)]
    inputs: Annotated[dict[str, Number | Annotated[list[Number], Field(max_length=1000)]], Field(max_length=100)] = Field(
        default_factory=dict
    )


class GenericResponse(Message):
    """`outputs` holds the model's tensors by name as nested lists, `as_of` the oldest event time of the features used."""

    model: str
    release: str
    as_of: str
    outputs: dict[str, list[Any]]


def generic(call: Call, request: GenericRequest) -> GenericResponse:
    prediction = call.predict(request.entities, request.inputs)
    outputs = {name: values.tolist() for name, values in prediction.outputs.items()}
    return GenericResponse(model=call.model, release=call.release, as_of=as_of(prediction.event_times), outputs=outputs)


def as_of(event_times: np.ndarray) -> str:
    """The oldest of the event times (microseconds since the epoch), ISO 8601 UTC: everything before it was known."""
    return datetime.fromtimestamp(int(event_times.min()) / 1e6, UTC).isoformat()


def generic_endpoint() -> Endpoint[GenericRequest, GenericResponse]:
    return Endpoint("/predict", GenericRequest, GenericResponse, generic)
