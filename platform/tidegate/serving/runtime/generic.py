"""The endpoint of a model whose serving folder has no `service.py`: made of its contract, so it says and checks its types.

    {"entities": [...], "inputs": {...}} -> {"model", "release", "as_of", "outputs": {...}}

`entities` are there where features are stored: strings, numbers, or objects with a field a join key. `inputs` has a field for
each input of the on-demand transformation and each tensor that is asked for. What is one value a row may be given once for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from pydantic import Discriminator, Field, Tag, create_model

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.keys import LIMITS, JoinKey
from tidegate.ports.tensor_model import TensorSpec
from tidegate.serving.runtime.endpoint import EACH, NO_INPUTS, ONE, Call, Endpoint, Message
from tidegate.serving.runtime.release_loader import LoadedRelease

ROWS = 1000  # of one request
KEY_CHARACTERS = 256
Number = Annotated[float, Field(allow_inf_nan=False)] | int


def generic_endpoint(release: LoadedRelease) -> Endpoint[Message, Message]:
    """`/predict` of a release, typed by its contract and its model's outputs."""
    contract = release.contract
    request, inputs = _request(contract)
    response, outputs = _response(contract, release.model.outputs)
    asked_for, keys = _aliases(request), _aliases(inputs)

    def predict(call: Call, asked: Message) -> Message:
        """All outputs of the model, a row for each entity or row of the inputs."""
        body = _plain(asked, asked_for)
        entities = [
            _plain(each, _aliases(type(each))) if isinstance(each, Message) else each for each in body.get("entities", ())
        ]
        prediction = call.predict(entities, _plain(body["inputs"], keys))
        values = outputs.model_construct(**{name: array.tolist() for name, array in prediction.outputs.items()})
        dated: dict[str, Any] = {"as_of": as_of(prediction.event_times)} if contract.stored else {}
        return response.model_construct(model=call.model, release=call.release, outputs=values, **dated)

    return Endpoint("/predict", request, response, predict)


def as_of(event_times: np.ndarray) -> str:
    """The oldest of the event times (microseconds since the epoch), ISO 8601 UTC: everything before it was known."""
    return datetime.fromtimestamp(int(event_times.min()) / 1e6, UTC).isoformat()


def _request(contract: FeatureContract) -> tuple[type[Message], type[Message]]:
    """The request, and its inputs."""
    asked = {tensor.name: tensor for tensor in contract.asked}
    plain = {name: _for_rows(_value(contract.request_types.get(name, ""))) for name in contract.request if name not in asked}
    inputs = _message("Inputs", plain | {name: _asked(tensor) for name, tensor in asked.items()})
    fields: dict[str, Any] = {"inputs": inputs}
    if contract.stored:
        each = _key(contract.key)
        fields = {"entities": Annotated[list[each], Field(min_length=1, max_length=ROWS)]} | fields  # type: ignore[valid-type]
    defaults = {} if inputs.model_fields else {"inputs": inputs()}
    return _message("GenericRequest", fields, defaults), inputs


def _response(contract: FeatureContract, specs: Iterable[TensorSpec]) -> tuple[type[Message], type[Message]]:
    outputs = _message("Outputs", {spec.name: _said(_nested(_value(spec.datatype), spec.shape), spec) for spec in specs})
    dated = Annotated[str, Field(description="The oldest event time of the features that were used, ISO 8601.")]
    fields = {"model": str, "release": str, **({"as_of": dated} if contract.stored else {}), "outputs": outputs}
    return _message("GenericResponse", fields), outputs


def _message(name: str, fields: Mapping[str, Any], defaults: Mapping[str, Any] = NO_INPUTS) -> type[Message]:
    """A message whose fields may have any names: pydantic's own for them are not seen."""
    made = {f"f{i}": (kind, Field(defaults.get(of, ...), alias=of, title=of)) for i, (of, kind) in enumerate(fields.items())}
    return create_model(name, __base__=Message, **made)  # type: ignore[call-overload,no-any-return]


def _aliases(message: type[Message]) -> tuple[tuple[str, str], ...]:
    """The name of each field, and the one that clients see."""
    return tuple((name, str(field.alias)) for name, field in message.model_fields.items())


def _entity(value: Any) -> Any:
    return _plain(value, _aliases(type(value))) if isinstance(value, Message) else value


def _plain(message: Message, aliases: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {alias: getattr(message, name) for name, alias in aliases}


def _key(key: tuple[JoinKey, ...]) -> Any:
    if len(key) == 1:
        return _part(key[0])
    return _message("Key", {part.name: _part(part) for part in key})


def _part(part: JoinKey) -> Any:
    return Annotated[str, Field(min_length=1, max_length=KEY_CHARACTERS)] if part.datatype == "BYTES" else _value(part.datatype)


def _value(datatype: str) -> Any:
    """The type of one value in JSON; without a datatype any finite number."""
    if datatype in LIMITS:
        low, high = LIMITS[datatype]
        return Annotated[int, Field(ge=low, le=high)]
    return {"BYTES": str, "BOOL": bool, "": Number}.get(datatype, Annotated[float, Field(allow_inf_nan=False)])


def _asked(tensor: InputTensor) -> Any:
    value = _value(tensor.datatype)
    return _said(_for_rows(value) if tensor.shape in ((-1,), (-1, 1)) else _nested(value, tensor.shape), tensor)


def _said(kind: Any, tensor: InputTensor | TensorSpec) -> Any:
    return Annotated[kind, Field(description=f"{tensor.datatype} {list(tensor.shape)}, the first axis is the rows")]


def _for_rows(value: Any) -> Any:
    """One value for all rows, or a list with one a row."""
    each = Annotated[list[value], Field(min_length=1, max_length=ROWS)]
    return Annotated[Annotated[value, Tag(ONE)] | Annotated[each, Tag(EACH)], Discriminator(_which)]


def _which(value: Any) -> str:
    return EACH if isinstance(value, list) else ONE


def _nested(value: Any, shape: tuple[int, ...]) -> Any:
    for size in reversed(shape[1:]):
        value = list[value] if size == -1 else Annotated[list[value], Field(min_length=size, max_length=size)]
    return Annotated[list[value], Field(max_length=ROWS)]
