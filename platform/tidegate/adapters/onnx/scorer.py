"""Runs the model of a release outside its service, on ONNX Runtime, its digest verified first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import MODEL, verified_bytes
from tidegate.ports.tensor_model import TensorModel


class OnnxScorer:
    """Implements `tidegate.ports.model_scorer.ModelScorer`; keeps the sessions that it opened."""

    def __init__(self) -> None:
        self._sessions: dict[str, TensorModel] = {}

    def score(self, folder: Path, manifest: ReleaseManifest, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if manifest.digest not in self._sessions:
            self._sessions[manifest.digest] = open_onnx(verified_bytes(folder, manifest, MODEL), manifest.id)
        return self._sessions[manifest.digest].run(inputs)
