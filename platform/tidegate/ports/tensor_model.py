"""Port to a loaded model: named tensors in, named tensors out, by the Open Inference Protocol's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidegate.domain.contract import InputTensor


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, protocol datatype (`FP32`) and shape, -1 for a dimension of any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(want in (-1, got) for want, got in zip(self.shape, shape, strict=True))


class TensorModel(Protocol):
    """A loaded model. `run` is deterministic: equal inputs give equal bits."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name; raises InvalidInput when the inputs do not fit."""


def inputs_of(model: TensorModel) -> tuple[InputTensor, ...]:
    """The model's inputs as a contract names tensors, none of them assembled."""
    return tuple(InputTensor(spec.name, spec.datatype, spec.shape) for spec in model.inputs)


def triton_type(datatype: str) -> str:
    """A protocol datatype as Triton's model configuration names it."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


OpenModel = Callable[[bytes, str], TensorModel]
"""From the verified bytes of `model/model.onnx` and the release's id to a model; raises IntegrityError."""
