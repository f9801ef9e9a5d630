"""Triton's backend `onnxruntime`: what waits is answered by one run of the model, each as if it had been alone.

Triton itself gives a backend its module for tensors and responses; here that is a stand-in which keeps what it is given.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import infra.images
import numpy as np
import pytest

from serving_builders import onnx_model


@dataclass(frozen=True)
class Tensor:
    tensor_name: str
    values: np.ndarray

    def name(self) -> str:
        return self.tensor_name

    def as_numpy(self) -> np.ndarray:
        return self.values


class TritonError(Exception):
    pass


class TritonModelException(Exception):  # as Triton names it
    pass


@dataclass(frozen=True)
class Response:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None


@dataclass(frozen=True)
class Request:
    rows: np.ndarray

    def inputs(self) -> list[Tensor]:
        return [Tensor("features", self.rows)]


def load(tmp_path: Path, kind: str) -> Any:
    """The model as Triton loads it for an instance of KIND_CPU or KIND_GPU."""
    stand_in = ModuleType("triton_python_backend_utils")
    stand_in.__dict__.update(
        Tensor=Tensor, InferenceResponse=Response, TritonError=TritonError, TritonModelException=TritonModelException
    )
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(onnx_model())
    path = Path(infra.images.__file__).parent / "triton" / "model.py"
    spec = importlib.util.spec_from_file_location("triton_backend", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[stand_in.__name__] = stand_in
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[stand_in.__name__]
    model = module.TritonPythonModel()
    config = json.dumps({"output": [{"name": "quantiles"}]})
    model.initialize(
        {
            "model_repository": str(tmp_path),
            "model_version": "1",
            "model_config": config,
            "model_instance_kind": kind,
            "model_instance_device_id": "0",
        }
    )
    return model


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """A loaded model; `runs` are the rows of each run of it."""
    model = load(tmp_path, "CPU")
    session, model.runs = model._session, []

    class Counted:
        def run(self, outputs: list[str], given: dict[str, np.ndarray]) -> Any:
            model.runs.append(len(given["features"]))
            return session.run(outputs, given)

    model._session = Counted()
    return model


def rows(*first: float) -> np.ndarray:
    return np.array([[value, 0, 0, 0] for value in first], dtype=np.float32)


def test_requests_that_wait_are_one_run_and_get_their_own_rows(model: Any) -> None:
    answers = model.execute([Request(rows(1, 2)), Request(rows(3)), Request(rows(4, 5, 6))])
    assert model.runs == [6]
    assert [answer.output_tensors[0].values[:, 0].tolist() for answer in answers] == [[1, 2], [3], [4, 5, 6]]
    assert all(answer.error is None and answer.output_tensors[0].name() == "quantiles" for answer in answers)


def test_what_cannot_be_answered_takes_no_other_with_it(model: Any) -> None:
    answers = model.execute([Request(rows(1)), Request(np.zeros((1, 5), dtype=np.float32)), Request(rows(3))])
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert answers[2].output_tensors[0].values[0, 0] == 3


def test_one_alone_that_fails_is_run_once(model: Any) -> None:
    (answer,) = model.execute([Request(np.zeros((1, 5), dtype=np.float32))])
    assert answer.error is not None
    assert model.runs == [1]


def test_a_model_for_gpus_does_not_load_without_one(tmp_path: Path) -> None:
    with pytest.raises(TritonModelException, match="asks for a GPU"):  # the environment's ONNX Runtime is for CPUs
        load(tmp_path, "GPU")
