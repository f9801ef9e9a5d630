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

from tidegate.adapters.packed.rows import without_password
from tidegate.domain.errors import InvalidInput
from tidegate.files.source_code import Sources

CONFIG = "feature_store.yaml"
PACKED = "tidegate.adapters.feast.packed_store.PackedOnlineStore"
DUCKDB = "tidegate.adapters.feast.offline_store.MicrosecondOfflineStore"
TAKEN = ("project", "project_description", "entity_key_serialization_version", "coerce_tz_aware")
REPLACED_OFFLINE = ("file", "dask", "pandas")  # which lose entity rows without an earlier feature row
_one_at_a_time = threading.Lock()


def repo_config(repo: Path, registry: Path, online_url: str) -> Any:
    """The RepoConfig of a repository's feature_store.yaml with what is the model's own in place of what it says.

    Of the file are taken the project's name, the offline store, where that is no plain file reader, and the version of keys.
    """
    from feast.repo_config import RepoConfig
    from pydantic import ValidationError

    raw, path = _raw(repo), repo / CONFIG
    offline = _typed(raw.get("offline_store"))
    kept = {name: raw[name] for name in TAKEN if name in raw}
    kept["registry"] = {"registry_type": "file", "path": str(registry)}
    kept["online_store"] = {"type": PACKED, "url": online_url}
    by_duckdb = offline["type"] in ("duckdb", *REPLACED_OFFLINE)
    kept["offline_store"] = {"type": DUCKDB} if by_duckdb else offline
    try:
        return RepoConfig(**kept, provider="local", repo_path=repo)
    except (ValidationError, TypeError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidInput(f"feature repository: {path} cannot be used ({reason})") from error


def replacements(repo: Path, registry: Path, online_url: str) -> list[str]:
    """What of feature_store.yaml is not used, a line each."""
    raw, said = _raw(repo), []
    registry_said = raw.get("registry")
    place = registry_said.get("path", "") if isinstance(registry_said, dict) else registry_said or "data/registry.db"
    if "://" in str(place) or (repo / str(place)).resolve() != registry.resolve():
        said.append(f"registry {place} is not used: each model has its own, {registry}")
    online = _typed(raw.get("online_store"), "sqlite")
    if online["type"] != PACKED:
        said.append(
            f"online_store of type {online['type']} is not used: online rows are kept packed in {without_password(online_url)}"
        )
    offline = _typed(raw.get("offline_store"))
    if offline["type"] in REPLACED_OFFLINE:
        said.append(f"offline_store of type {offline['type']} is not used: DuckDB joins the same files and loses no entity row")
    if (provider := raw.get("provider", "local")) != "local":
        said.append(f"provider {provider} is not used: features are materialized by this command, into the model's own store")
    auth = _typed(raw.get("auth"), "no_auth")
    if auth["type"] != "no_auth":
        said.append(f"auth of type {auth['type']} is not used: the registry is a file of the state folder")
    others = sorted(set(raw) - {*TAKEN, "registry", "online_store", "offline_store", "provider", "auth"})
    return said + [f"{name} is not used" for name in others]


def _raw(repo: Path) -> dict[str, Any]:
    """What feature_store.yaml says; raises InvalidInput."""
    import yaml

    path = repo / CONFIG
    if not path.is_file():
        raise InvalidInput(f"feature repository {repo} has no {CONFIG}")
    try:
        raw = yaml.safe_load(os.path.expandvars(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"feature repository: {path} cannot be used ({' '.join(str(error).split())[:300]})") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("project"), str):
        raise InvalidInput(f"feature repository: {path} names no project; write 'project: NAME' into it")
    return raw


def _typed(said: Any, default: str = "dask") -> dict[str, Any]:
    """A part of the file that is a type's name, or a mapping with one; Feast's default where it is left out."""
    if isinstance(said, dict):
        return {"type": default, **said}
    return {"type": str(said) if said else default}


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
