"""Which of a model's inputs are assembled from features, and which are asked for in the request: decided once, at registration.

- An input `features`, FP32 or FP64 [-1, F], takes all features that are numbers or booleans, in the vector's order.
- An input with a feature's name (`view__feature`, or the feature's own where only one view has it) takes that one: [-1, 1]
  or [-1].
- Any other is asked for, under its name.

Every input's first axis is the rows of a request. What does not fit is refused with the tensor's name, what it is and what is
required, before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tidegate.domain.contract import FEATURES, FeatureContract, InputTensor
from tidegate.domain.errors import InvalidInput

TEXT = "BYTES"
WHOLE = ("FP32", "FP64")  # what a tensor of all features may be


def with_tensors(contract: FeatureContract, inputs: Sequence[InputTensor], what: str) -> FeatureContract:
    """`contract` for a model with these `inputs`, whose own `features` are not looked at; `what` begins messages."""
    plain = replace(contract, inputs=())
    tensors = tuple(_decided(each, plain, what) for each in inputs)
    if contract.vector and not any(tensor.features for tensor in tensors):
        raise InvalidInput(
            f"{what}: the model has the inputs {_listed(inputs)}, none takes a feature of '{contract.service}', required: one "
            f"named '{FEATURES}' FP32 [-1, {len(_numeric(plain))}], or inputs named as features; rename it in the export, or "
            "leave out the features"
        )
    return plain if tensors == plain.tensors else replace(plain, inputs=tensors)


def check_inputs(contract: FeatureContract, inputs: Sequence[InputTensor], what: str) -> None:
    """Raise InvalidInput unless the model's `inputs` are the contract's tensors."""
    required = {tensor.name: tensor for tensor in contract.tensors}
    for each in inputs:
        wanted = required.get(each.name)
        if wanted is None or wanted.datatype != each.datatype or not _fits(each.shape, wanted.shape):
            given = _said(wanted) if wanted else _listed(contract.tensors)
            raise InvalidInput(
                f"{what}: the model's input is {_said(each)}, required {given} as the contract says; export the model again"
            )
    missing = [name for name in required if name not in {each.name for each in inputs}]
    if missing:
        raise InvalidInput(
            f"{what}: the model has no input {_said(required[missing[0]])}, which its contract names, it has "
            f"{_listed(inputs)}; export the model again"
        )


def _decided(tensor: InputTensor, contract: FeatureContract, what: str) -> InputTensor:
    if not tensor.shape or tensor.shape[0] != -1:
        raise InvalidInput(
            f"{what}: the model's input is {_said(tensor)}, required a first axis of any size, the rows of a request; export "
            f"it again with a dynamic first axis (torch.onnx: dynamic_axes={{'{tensor.name}': {{0: 'rows'}}}}; skl2onnx: "
            "shape [None, ...])"
        )
    numeric = _numeric(contract)
    if tensor.name == FEATURES and numeric:
        if tensor.datatype not in WHOLE or not _fits(tensor.shape, (-1, len(numeric))):
            raise InvalidInput(
                f"{what}: the model's input is {_said(tensor)}, required '{FEATURES}' FP32 [-1, {len(numeric)}]: the features "
                f"of '{contract.service}' that are no texts; export the model again"
            )
        return InputTensor(tensor.name, tensor.datatype, (-1, len(numeric)), numeric)
    feature = _names(contract).get(tensor.name)
    if feature is None:
        return InputTensor(tensor.name, tensor.datatype, tensor.shape)
    text = contract.types.get(feature) == TEXT
    if text != (tensor.datatype == TEXT) or not (tensor.shape == (-1,) or _fits(tensor.shape, (-1, 1))):
        wanted = TEXT if text else "a datatype of numbers"
        raise InvalidInput(
            f"{what}: the model's input is {_said(tensor)}, which takes feature '{feature}', required {wanted} [-1, 1]; export "
            "the model again, or rename the input if requests bring it"
        )
    return InputTensor(tensor.name, tensor.datatype, tensor.shape if len(tensor.shape) == 1 else (-1, 1), (feature,))


def _numeric(contract: FeatureContract) -> tuple[str, ...]:
    return tuple(name for name in contract.vector if contract.types.get(name) != TEXT)


def _names(contract: FeatureContract) -> Mapping[str, str]:
    """What an input may be called to take a feature, with the feature's name in the vector."""
    short = [name.rpartition("__")[2] for name in contract.vector]
    unique = {own: name for own, name in zip(short, contract.vector, strict=True) if short.count(own) == 1}
    return unique | {name: name for name in contract.vector}


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a tensor of the `wanted` shape, with any first axis, goes into an input of this one."""
    return len(shape) == len(wanted) and shape[:1] == (-1,) and all(a in (-1, b) for a, b in zip(shape, wanted, strict=True))


def _said(tensor: InputTensor) -> str:
    return f"{tensor.name} {tensor.datatype} {list(tensor.shape)}"


def _listed(tensors: Sequence[InputTensor]) -> str:
    return ", ".join(_said(tensor) for tensor in tensors) or "none"
