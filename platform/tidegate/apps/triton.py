"""A release exported for Triton, its tensors as ONNX Runtime reads them."""

from __future__ import annotations

from pathlib import Path

from tidegate.adapters.onnx.session import open_onnx
from tidegate.serving.triton import Device, write_model_repository


def export(release: Path, into: Path, device: Device | None = None) -> Path:
    """See `tidegate.serving.triton.write_model_repository`."""
    return write_model_repository(release, open_onnx, into, device)
