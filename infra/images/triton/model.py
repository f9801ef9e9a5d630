"""Triton's backend `onnxruntime` for servers that have its Python backend alone: the same model repositories.

It lies at backends/onnxruntime/model.py, with the packages that it needs beside it, and reads `model.onnx` of the version. An
instance of KIND_GPU runs on that GPU where the ONNX Runtime beside it can, and does not load otherwise.
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
        providers: list[Any] = ["CPUExecutionProvider"]
        if args["model_instance_kind"] == "GPU":  # in float32 proper, as on CPUs: TF32 keeps 10 bits of a factor
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"], "use_tf32": "0"}))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        if len(self._session.get_providers()) < len(providers):  # it goes on without CUDA where that fails
            raise backend.TritonModelException(
                f"{path} asks for a GPU, and ONNX Runtime {onnxruntime.__version__} beside this backend cannot use one: "
                "export the model for CPUs, or serve it with Triton's image for GPUs"
            )
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
