"""A model registry in memory; it keeps the contract that the real one keeps (tests/contract/test_model_registry.py)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.domain.digests import file_digest
from tidegate.domain.errors import IntegrityError, InvalidInput, NotFound
from tidegate.domain.release_folder import CONTRACT, MODEL
from tidegate.ports.registry import ModelVersion


class MemoryRegistry:
    def __init__(self) -> None:
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._artifacts = Path(tempfile.mkdtemp(prefix="tidegate-fake-registry-"))

    def register(self, model: str, folder: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> ModelVersion:
        if not (folder / MODEL).is_file() or not (folder / CONTRACT).is_file():
            raise InvalidInput(f"registering {model}: {folder} is no training output")
        known = self._versions.setdefault(model, [])
        number = str(len(known) + 1)
        shutil.copytree(folder, self._artifacts / model / number)
        known.append(ModelVersion(model, number, f"run-{number}", file_digest(folder / MODEL), dict(metrics), dict(tags)))
        return known[-1]

    def get(self, model: str, version_or_alias: str) -> ModelVersion:
        number = self._aliases.get((model, version_or_alias), version_or_alias)
        for version in self.versions(model):
            if version.version == number:
                return version
        raise NotFound(f"looking up {model}/{version_or_alias}: there is none")

    def versions(self, model: str) -> list[ModelVersion]:
        def aliases(version: str) -> tuple[str, ...]:
            return tuple(sorted(a for (m, a), number in self._aliases.items() if (m, number) == (model, version)))

        return [replace(each, aliases=aliases(each.version)) for each in self._versions.get(model, [])]

    def set_alias(self, model: str, alias: str, version: str) -> None:
        self.get(model, version)
        self._aliases[model, alias] = version

    def delete_alias(self, model: str, alias: str) -> None:
        self._aliases.pop((model, alias), None)

    def set_tags(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        found = self._versions[model]
        index = [each.version for each in found].index(version)
        found[index] = replace(found[index], tags={**found[index].tags, **tags})

    def artifact(self, version: ModelVersion) -> Path:
        return self._artifacts / version.model / version.version / MODEL

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        shutil.copytree(self._artifacts / version.model / version.version, into, dirs_exist_ok=True)
        if file_digest(into / MODEL) != version.artifact_digest:
            raise IntegrityError(f"fetching {version.model}/{version.version}: SHA-256 differs")
        return into
