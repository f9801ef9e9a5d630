"""Loading a Feast repository from any working directory, as `feast apply` does from within it.

Feast imports each file as a module named after it and changes the process's working directory for that. Here the modules are
imported for the length of a block and forgotten afterwards, so that two repositories, or one with two state folders, never
see each other's; and the working directory stays. One block at a time in a process.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.domain.errors import InvalidInput
from tidegate.files.source_code import Sources

CONFIG = "feature_store.yaml"
_one_at_a_time = threading.Lock()


def repo_config(repo: Path, registry: Path, online_url: str) -> Any:
    """The RepoConfig of the repository's feature_store.yaml with the registry's and the online store's places replaced."""
    import yaml
    from feast.repo_config import RepoConfig
    from pydantic import ValidationError

    path = repo / CONFIG
    if not path.is_file():
        raise InvalidInput(f"feature repository {repo} has no {CONFIG}")
    try:
        raw = yaml.safe_load(os.path.expandvars(path.read_text(encoding="utf-8")))
        raw["registry"] = {**raw.get("registry", {}), "path": str(registry)}
        raw["online_store"] = {**raw.get("online_store", {}), "url": online_url}
        return RepoConfig(**raw, repo_path=repo)
    except (yaml.YAMLError, ValidationError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInput(f"feature repository: {path} cannot be used ({reason})") from error


@contextmanager
def loaded_objects(repo: Path, environment: Mapping[str, str]) -> Iterator[list[Any]]:
    """The Feast objects that the repository's files define, each once, while `environment` is set; raises InvalidInput."""
    from feast.repo_operations import get_repo_files

    files = {".".join(file.relative_to(repo).with_suffix("").parts): file for file in get_repo_files(repo)}
    with _one_at_a_time:
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            with Sources.of(repo).importable():
                yield _objects(files)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _objects(files: Mapping[str, Path]) -> list[Any]:
    from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView
    from feast.data_source import DataSource

    found: dict[int, Any] = {}
    for name, file in files.items():
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise InvalidInput(f"feature repository: {file} cannot be loaded: {type(error).__name__}: {error}") from error
        for value in vars(module).values():
            if isinstance(value, (Entity, FeatureService, FeatureView, OnDemandFeatureView, DataSource)):
                found[id(value)] = value
    if not any(isinstance(value, FeatureView) for value in found.values()):
        raise InvalidInput("feature repository: no file defines a FeatureView; see feature_store.yaml and .feastignore")
    return list(found.values())
