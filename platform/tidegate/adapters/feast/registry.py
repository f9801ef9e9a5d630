"""Feast's registry as a protobuf message: read without Feast, and with paths that move along with the state folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tidegate.adapters.vendor_imports import import_feast
from tidegate.domain.errors import InvalidInput

TABLE_OF_ANY_STATE = re.compile(r"/features/(?:[^/]+/)?(tables/[^/]+)$")  # how earlier registries name a feature table


def read_registry(path: Path) -> Any:
    import_feast()
    from feast.protos.feast.core.Registry_pb2 import Registry
    from google.protobuf.message import DecodeError

    registry = Registry()
    try:
        registry.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InvalidInput(f"feature registry {path} is damaged; run 'tidegate features apply' again") from error
    return registry


def place_files(message: Any, place: Callable[[str], str]) -> None:
    """Replace the path of each file source in a registry, wherever in it the source is repeated."""
    for options in _of_type(message, "FileOptions"):
        options.uri = place(options.uri)


def below(folder: Path) -> Callable[[str], str]:
    """Paths below `folder` become relative to it; `above` is the way back."""

    def place(uri: str) -> str:
        path = Path(uri)
        return str(path.relative_to(folder)) if path.is_absolute() and path.is_relative_to(folder) else uri

    return place


def above(folder: Path) -> Callable[[str], str]:
    return lambda uri: uri if "://" in uri else str(folder / uri)


def of_any_state(uri: str) -> str:
    """The path of a feature table in a registry of an earlier version, wherever its state folder was."""
    found = TABLE_OF_ANY_STATE.search(uri)
    return found.group(1) if found else uri


def table_of(uri: str, repo: Path, state: Path, folder: Path) -> str:
    """Where a file source of a repository's definitions is for one model.

    Definitions name the tables of the model (TIDEGATE_FEATURES), or, as for earlier versions, of the state folder
    (TIDEGATE_STATE), which means the model's just as well. Relative paths are relative to the repository.
    """
    if "://" in uri:
        return uri
    path = Path(os.path.normpath(repo / uri))
    shared = state / "features" / "tables"
    return str(folder / "tables" / path.relative_to(shared)) if path.is_relative_to(shared) else str(path)


def _of_type(message: Any, name: str) -> Iterator[Any]:
    if message.DESCRIPTOR.name == name:
        yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = [value[each] for each in value] if field.message_type.fields_by_name["value"].message_type else []
        else:
            values = [value] if hasattr(value, "ListFields") else list(value)
        for each in values:
            yield from _of_type(each, name)
