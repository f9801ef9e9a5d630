"""A release as Triton's model repository: its files, and its configuration in every shape that a model may have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from serving_builders import build_release, onnx_model
from tidegate.apps.triton import export
from tidegate.domain.errors import IntegrityError, NotFound
from tidegate.ports.tensor_model import TensorSpec
from tidegate.serving.triton import Device, configuration


@dataclass(frozen=True)
class Model:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise NotImplementedError


def test_the_model_is_byte_for_byte_that_of_the_release(tmp_path: Path) -> None:
    release = build_release(tmp_path / "releases")
    folder = export(release, tmp_path / "models")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "1/model.onnx",
        "config.pbtxt",
    ]
    assert (folder / "1/model.onnx").read_bytes() == onnx_model()
    assert (folder / "config.pbtxt").read_text() == (
        'name: "demand"\n'
        'backend: "onnxruntime"\n'
        "max_batch_size: 1024\n"
        'input [ { name: "features" data_type: TYPE_FP32 dims: [4] } ]\n'
        'output [ { name: "quantiles" data_type: TYPE_FP32 dims: [3] } ]\n'
        "dynamic_batching { }\n"
    )
    assert export(release, tmp_path / "models") == folder  # again, over what is there


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_model_for_a_device_loads_there_and_nowhere_else(tmp_path: Path, device: Device) -> None:
    folder = export(build_release(tmp_path / "releases"), tmp_path / "models", device)
    kind = f"instance_group [ {{ kind: KIND_{device.upper()} }} ]\n"
    assert (folder / "config.pbtxt").read_text().endswith(kind + "dynamic_batching { }\n")


def test_a_number_a_row_is_one_that_triton_takes_apart_again() -> None:
    text = configuration("m", Model((TensorSpec("features", "FP32", (-1, 2)),), (TensorSpec("label", "INT64", (-1,)),)))
    assert 'output [ { name: "label" data_type: TYPE_INT64 dims: [1] reshape: { shape: [ ] } } ]' in text


def test_texts_and_several_inputs_are_what_triton_calls_them() -> None:
    inputs = (TensorSpec("comment", "BYTES", (-1, 1)), TensorSpec("image", "UINT8", (-1, 4, 4)))
    text = configuration("m", Model(inputs, (TensorSpec("label", "BYTES", (-1,)),)))
    assert 'input [ { name: "comment" data_type: TYPE_STRING dims: [1] } ]' in text
    assert 'input [ { name: "image" data_type: TYPE_UINT8 dims: [4, 4] } ]' in text
    assert 'output [ { name: "label" data_type: TYPE_STRING dims: [1] reshape: { shape: [ ] } } ]' in text


def test_a_model_with_a_fixed_number_of_rows_is_not_batched() -> None:
    text = configuration("m", Model((TensorSpec("features", "FP32", (-1, 2)),), (TensorSpec("total", "FP32", (1, 3)),)))
    assert "max_batch_size: 0\n" in text
    assert "dims: [-1, 2]" in text
    assert "dims: [1, 3]" in text
    assert "dynamic_batching" not in text


def test_what_is_no_whole_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no manifest\.json"):
        export(tmp_path, tmp_path / "models")
    release = build_release(tmp_path / "releases")
    (release / "model/model.onnx").write_bytes(b"another")
    with pytest.raises(IntegrityError, match="changed or is damaged"):
        export(release, tmp_path / "models")
    assert not (tmp_path / "models").exists()
