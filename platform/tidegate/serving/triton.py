"""A release as Triton's model repository: the model's own bytes, and the configuration that its tensors ask for.

    <model>/config.pbtxt
    <model>/1/model.onnx

It names ONNX Runtime's backend and, where a device is asked for, that kind of instance: a model for GPUs does not load without
one. Otherwise Triton takes GPUs where it sees some, and CPUs elsewhere. Requests that wait are batched where the model takes
any number of rows. Triton answers tensors, all of the model's: it reads no online store and writes no inference log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from tidegate.files.release_folder import MODEL, read_manifest, verified_bytes
from tidegate.ports.tensor_model import OpenModel, TensorModel, TensorSpec, triton_type

Device = Literal["cpu", "gpu"]
MOST_ROWS = 1024  # of one batch


def write_model_repository(release: Path, open_model: OpenModel, into: Path, device: Device | None = None) -> Path:
    """Write the release in the folder `release` as a model repository below `into`; returns the model's folder.

    The same release gives the same bytes. Raises NotFound or IntegrityError for what is no whole release.
    """
    manifest = read_manifest(release)
    content = verified_bytes(release, manifest, MODEL)
    model = open_model(content, manifest.id)
    folder = into / manifest.model
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.onnx").write_bytes(content)
    (folder / "config.pbtxt").write_text(configuration(manifest.model, model, device))
    return folder


def configuration(name: str, model: TensorModel, device: Device | None = None) -> str:
    """The text of config.pbtxt. A model is batched when the first dimension of every tensor may have any size."""
    batched = all(spec.shape[:1] == (-1,) for spec in (*model.inputs, *model.outputs))
    lines = [f"name: {json.dumps(name)}", 'backend: "onnxruntime"', f"max_batch_size: {MOST_ROWS if batched else 0}"]
    lines += _tensors("input", model.inputs, batched) + _tensors("output", model.outputs, batched)
    if device:
        lines.append(f"instance_group [ {{ kind: KIND_{device.upper()} }} ]")
    if batched:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"


def _tensors(kind: str, specs: Sequence[TensorSpec], batched: bool) -> list[str]:
    return [f"{kind} [ {{ {_tensor(spec, batched)} }} ]" for spec in specs]


def _tensor(spec: TensorSpec, batched: bool) -> str:
    shape = list(spec.shape[1:] if batched else spec.shape)
    bare = "" if shape else " reshape: { shape: [ ] }"  # dims cannot be empty: a number a row is [1], taken apart again
    return f"name: {json.dumps(spec.name)} data_type: {triton_type(spec.datatype)} dims: {shape or [1]}{bare}"
