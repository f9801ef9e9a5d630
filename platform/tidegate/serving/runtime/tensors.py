"""Tensors by the Open Inference Protocol's names, and what the runtime asks of a model: specs and one call.

A model is a function of named arrays. Vendors (ONNX Runtime, a Triton client) implement `TensorModel` in adapters; the
runtime and replay see only this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

FEATURES = "features"  # the input every release's model has, float32 [n, F]

DTYPES: Mapping[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES: Mapping[np.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


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


OpenModel = Callable[[bytes, str], TensorModel]
"""From the verified bytes of `model/model.onnx` and the release's id to a model; raises IntegrityError."""
