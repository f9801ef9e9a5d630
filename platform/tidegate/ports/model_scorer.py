"""Port that runs the model of a release outside its service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from tidegate.domain.release import ReleaseManifest


class ModelScorer(Protocol):
    def score(self, folder: Path, manifest: ReleaseManifest, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Outputs by name, first axis n, of the release's model for `inputs` by name; verifies the model's digest."""
