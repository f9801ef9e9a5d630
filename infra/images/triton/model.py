"""Triton's backend `onnxruntime` for servers that have its Python backend alone: the same model repositories, on CPUs.

It lies at backends/onnxruntime/model.py, with the packages that it needs beside it, and reads `model.onnx` of the version.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as backend


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        return config

    def initialize(self, args: dict[str, str]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # equal inputs give equal bits
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output["name"] for output in json.loads(args["model_config"])["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Triton gives at once what waits and may be batched: requests that differ in their number of rows alone."""
        given = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        if len(given) == 1:
            return [self._answer(given[0])]
        try:
            rows = {name: np.concatenate([each[name] for each in given]) for name in given[0]}
            values = self._session.run(self._outputs, rows)
        except Exception:  # as below; who is to blame is seen one by one
            return [self._answer(each) for each in given]
        ends = np.cumsum([len(next(iter(each.values()))) for each in given])[:-1]
        return [self._response(parts) for parts in zip(*(np.split(value, ends) for value in values), strict=True)]

    def _answer(self, given: dict[str, Any]) -> Any:
        try:
            return self._response(self._session.run(self._outputs, given))
        except Exception as error:  # onnxruntime's exceptions share no public base but Exception
            return backend.InferenceResponse(error=backend.TritonError(str(error)))

    def _response(self, values: Sequence[Any]) -> Any:
        return backend.InferenceResponse([backend.Tensor(*pair) for pair in zip(self._outputs, values, strict=True)])
