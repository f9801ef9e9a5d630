"""A model registry in memory; it keeps the contract that the real one keeps (tests/contract/test_model_registry.py)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.domain.errors import InvalidInput, NotFound, Unavailable
from tidegate.files.digests import file_digest
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.files.training_folder import output_digest
from tidegate.ports.registry import OUTPUT_TAG, ModelVersion, check_digests, refuse_pruned


class MemoryRegistry:
    def __init__(self, known: Callable[[str], bool] = lambda _: False) -> None:
        self._known = known
        self.away = False  # whether nothing answers
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._artifacts = Path(tempfile.mkdtemp(prefix="tidegate-fake-registry-"))

    def register(self, model: str, folder: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> ModelVersion:
        if not (folder / MODEL).is_file() or not (folder / CONTRACT).is_file():
            raise InvalidInput(f"registering {model}: {folder} is no training output")
        self._reach(model)
        known = self._versions.setdefault(model, [])
        number = str(len(known) + 1)
        shutil.copytree(folder, self._artifacts / model / number)
        digest, whole = file_digest(folder / MODEL), output_digest(folder)
        known.append(ModelVersion(model, number, f"run-{number}", digest, dict(metrics), {**tags, OUTPUT_TAG: whole}))
        return self.get(model, number)

    def get(self, model: str, version_or_alias: str) -> ModelVersion:
        number = self._aliases.get((model, version_or_alias), version_or_alias)
        for version in self.versions(model):
            if version.version == number:
                return version
        raise NotFound(f"looking up {model}/{version_or_alias}: there is none")

    def versions(self, model: str) -> list[ModelVersion]:
        def aliases(version: str) -> tuple[str, ...]:
            return tuple(sorted(a for (m, a), number in self._aliases.items() if (m, number) == (model, version)))

        self._reach(model)
        return [
            replace(each, aliases=aliases(each.version), output_digest=each.tags.get(OUTPUT_TAG, ""))
            for each in self._versions.get(model, [])
        ]

    def _reach(self, model: str) -> None:
        if self.away:
            raise Unavailable("the registry is away")
        if model not in self._versions and self._known(model):
            raise Unavailable(f"the registry has no model '{model}', though there are releases or rollouts of it")

    def set_alias(self, model: str, alias: str, version: str) -> None:
        self.get(model, version)
        self._aliases[model, alias] = version

    def delete_alias(self, model: str, alias: str) -> None:
        self._reach(model)
        self._aliases.pop((model, alias), None)

    def set_tags(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        self._reach(model)
        found = self._versions[model]
        index = [each.version for each in found].index(version)
        found[index] = replace(found[index], tags={**found[index].tags, **tags})

    def forget_tag(self, model: str, version: str, tag: str) -> None:
        """As if it had been registered before there was such a tag."""
        found = self._versions[model]
        self._versions[model] = [
            replace(each, tags={k: v for k, v in each.tags.items() if k != tag}) if each.version == version else each
            for each in found
        ]

    def output(self, version: ModelVersion) -> Path:
        return self._artifacts / version.model / version.version

    def kept_at(self, version: ModelVersion) -> Path | None:
        folder = self._artifacts / version.model / version.version
        return folder if folder.is_dir() else None

    def fetch(self, version: ModelVersion, into: Path) -> Path:
        refuse_pruned(version)
        shutil.copytree(self._artifacts / version.model / version.version, into, dirs_exist_ok=True)
        return check_digests(into, version, f"fetching {version.model}/{version.version}")
