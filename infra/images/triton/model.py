"""Triton's backend `onnxruntime` for servers that have its Python backend alone: the same model repositories, on CPUs.

It lies at backends/onnxruntime/model.py, with the packages that it needs beside it, and reads `model.onnx` of the version.
"""

import json
from pathlib import Path
from typing import Any

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
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            values = self._session.run(self._outputs, given)
        except Exception as error:  # onnxruntime's exceptions share no public base but Exception
            return backend.InferenceResponse(error=backend.TritonError(str(error)))
        return backend.InferenceResponse([backend.Tensor(*pair) for pair in zip(self._outputs, values, strict=True)])
