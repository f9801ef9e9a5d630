"""ONNX Runtime on the CPU as a `TensorModel`: one thread a call, so that equal inputs give equal bits on every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tidegate.domain.datatypes import DATATYPES
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.ports.tensor_model import TensorSpec

_NUMPY = {
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(string)": np.object_,
}


class OnnxModel:
    """A session over a model's bytes. Tensors of numbers, booleans or texts: maps and sequences are refused at loading."""

    def __init__(self, content: bytes, release: str) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no public base but Exception
            raise IntegrityError(
                f"release {release}: model/model.onnx cannot be opened by ONNX Runtime ({_first_line(error)}); export it again"
            ) from error
        self.inputs = tuple(_spec(node, release) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(node, release) for node in self._session.get_outputs())
        self._names = [spec.name for spec in self.outputs]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(self._names, dict(inputs))
        except Exception as error:  # as above
            raise InvalidInput(f"the model refused its input: {_first_line(error)}") from error
        return dict(zip(self._names, values, strict=True))


def open_onnx(content: bytes, release: str) -> OnnxModel:
    """The `OpenModel` of this adapter; raises IntegrityError when the bytes are no model that ONNX Runtime can run."""
    return OnnxModel(content, release)


def _spec(node: Any, release: str) -> TensorSpec:
    if node.type not in _NUMPY:
        raise IntegrityError(
            f"release {release}: tensor '{node.name}' of the model is of type {node.type}, required a tensor of numbers, "
            "booleans or strings; export the model without maps (skl2onnx: zipmap=False) and without sequences"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, DATATYPES[np.dtype(_NUMPY[node.type])], shape)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
