"""Port to a model registry. Aliases are MLflow's: `candidate`, `champion`, `previous`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class ModelVersion:
    """One registered version. `artifact_digest` is the SHA-256 of `model/model.onnx`; `metrics` are offline metrics."""

    model: str
    version: str
    run_id: str
    artifact_digest: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


class ModelRegistry(Protocol):
    def register(self, model: str, folder: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> ModelVersion:
        """Log the training output `folder` (layout: `tidegate.registry.training_output`) and register it."""

    def get(self, model: str, version_or_alias: str) -> ModelVersion:
        """Raises NotFound."""

    def versions(self, model: str) -> list[ModelVersion]: ...

    def set_alias(self, model: str, alias: str, version: str) -> None: ...

    def delete_alias(self, model: str, alias: str) -> None: ...

    def set_tags(self, model: str, version: str, tags: Mapping[str, str]) -> None: ...

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        """Download the training output; verifies the artifact's digest, raises IntegrityError."""


def version_json(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.version,
        "run_id": version.run_id,
        "artifact_digest": version.artifact_digest,
        "metrics": dict(version.metrics),
        "tags": dict(version.tags),
        "aliases": list(version.aliases),
    }
