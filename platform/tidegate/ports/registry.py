"""Port to a model registry. Aliases are MLflow's: `candidate`, `champion`, `previous`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tidegate.domain.errors import IntegrityError, NotFound
from tidegate.files.digests import file_digest
from tidegate.files.release_folder import MODEL
from tidegate.files.training_folder import output_digest

DIGEST_TAG, OUTPUT_TAG = "tidegate.artifact_digest", "tidegate.output_digest"  # where a version's two digests are kept
PRUNED_TAG = "tidegate.pruned"  # says that the artifacts of a version were removed, and why


@dataclass(frozen=True)
class ModelVersion:
    """One registered version. `artifact_digest` is the SHA-256 of `model/model.onnx`, `output_digest` covers the whole training
    output (`domain.training_folder.output_digest`) and is '' for a version that was registered before there was one; `metrics`
    are offline metrics."""

    model: str
    version: str
    run_id: str
    artifact_digest: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    output_digest: str = ""

    @property
    def pruned(self) -> str:
        """Why its artifacts were removed; empty while they are there."""
        return str(self.tags.get(PRUNED_TAG, ""))


class ModelRegistry(Protocol):
    def register(self, model: str, folder: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> ModelVersion:
        """Log the training output `folder` (layout: `tidegate.files.training_output`) and register it."""

    def get(self, model: str, version_or_alias: str) -> ModelVersion:
        """Raises NotFound."""

    def versions(self, model: str) -> list[ModelVersion]: ...

    def set_alias(self, model: str, alias: str, version: str) -> None: ...

    def delete_alias(self, model: str, alias: str) -> None: ...

    def set_tags(self, model: str, version: str, tags: Mapping[str, str]) -> None: ...

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        """Download the training output; verifies the digests of the artifact and of the whole, raises IntegrityError, NotFound
        for one that was pruned."""

    def kept_at(self, version: ModelVersion) -> Path | None:
        """The folder of this machine that has what was registered; None where it lies elsewhere, or is gone."""


def refuse_pruned(version: ModelVersion) -> None:
    """Raises NotFound."""
    if version.pruned:
        raise NotFound(
            f"fetching {version.model}/{version.version}: its artifacts were removed ({version.pruned}); train again, or take "
            "a later version"
        )


def check_digests(folder: Path, version: ModelVersion, what: str) -> Path:
    """`folder` if it holds what was registered as `version`; raises IntegrityError, which begins with `what`."""
    observed = file_digest(folder / MODEL) if (folder / MODEL).is_file() else "nothing"
    if not version.artifact_digest or observed != version.artifact_digest:
        raise IntegrityError(
            f"{what}: {MODEL} has SHA-256 {observed[:12]}, registered {version.artifact_digest[:12] or 'none'}; "
            "the artifact was changed or damaged, train and register again"
        )
    whole = output_digest(folder)
    if version.output_digest and whole != version.output_digest:
        raise IntegrityError(
            f"{what}: the training output has digest {whole[:12]}, registered {version.output_digest[:12]}; its evidence was "
            "changed or damaged after the version was registered, train and register again"
        )
    return folder


def version_json(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.version,
        "run_id": version.run_id,
        "artifact_digest": version.artifact_digest,
        "output_digest": version.output_digest,
        "metrics": dict(version.metrics),
        "tags": dict(version.tags),
        "aliases": list(version.aliases),
    }
