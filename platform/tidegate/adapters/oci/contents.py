"""What images hold, each as a folder that is filled: packages, this package, a project's definitions, a release."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tidegate.adapters.oci.distributions import compiled, copy, required
from tidegate.domain.errors import InvalidInput
from tidegate.domain.project import Project
from tidegate.files.release_folder import MANIFEST, read_manifest
from tidegate.files.release_signature import SIGNATURE

NEVER = shutil.ignore_patterns("__pycache__", ".*")
FEASTIGNORE = ".feastignore"


def own_source() -> Path:
    """The folder of this package."""
    return Path(str(files("tidegate")))


def packages(roots: Iterable[str], into: Path) -> None:
    """These distributions and all that they require, compiled."""
    for distribution in required(roots):
        copy(distribution, into)
    compiled(into)
    readable(into)


def package(into: Path) -> None:
    """This package, compiled; its charts are for who installs them."""
    shutil.copytree(own_source(), into / "tidegate", ignore=shutil.ignore_patterns("__pycache__", "charts"))
    compiled(into)
    readable(into)


def parts_of(project: Project) -> list[Path]:
    """The project file, and the files and folders beside it that it refers to. Raises InvalidInput for a definition that lies
    elsewhere; raw data may."""
    data = {source for dataset in project.datasets.values() for source in dataset.sources}
    definitions = {path for path in _paths((project.datasets, project.models)) if path not in data}
    inside = {path for path in data if path.is_relative_to(project.root)}
    found = {project.file}
    for path in definitions | inside:
        if not path.is_relative_to(project.root) or path == project.root:
            where = f"{path} does not lie in a folder of {project.root}"
            raise InvalidInput(f"image of project {project.name}: {where}; move it to one, images hold these alone")
        found.add(project.root / path.relative_to(project.root).parts[0])
    return sorted(found)


def project(of: Project, into: Path) -> None:
    """The project's definitions and the data beside them, without what it generates."""

    def ignored(folder: str, names: list[str]) -> set[str]:
        kept = {FEASTIGNORE}  # without it Feast would read what is no definition of the repository
        return (NEVER(folder, names) - kept) | {name for name in names if Path(folder, name) == of.state}

    for part in parts_of(of):
        if part.is_dir():
            shutil.copytree(part, into / part.name, ignore=ignored)
        else:
            shutil.copy(part, into / part.name)
    readable(into)


def release(folder: Path, into: Path) -> None:
    """A release as it was built and signed, without what else lies in its folder."""
    for name in (MANIFEST, SIGNATURE, *read_manifest(folder).files):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, into / name)
    readable(into)


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif is_dataclass(value):
        yield from _paths([getattr(value, each.name) for each in fields(value)])
    elif isinstance(value, dict):
        yield from _paths(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _paths(each)


def readable(folder: Path) -> None:
    """By the user that pods run as, whatever the umask here is and though a state folder's files are their owner's alone."""
    for path in folder.rglob("*"):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
