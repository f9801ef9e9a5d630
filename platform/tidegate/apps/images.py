"""Images of a project for a cluster: of a release, of the platform with the project's definitions, and of its MLflow.

Each is a folder with a Containerfile, which any builder takes: packages as they are installed here, this package, and what the
image is for. Equal content gives equal folders.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.adapters.oci import builders, contents, recipe
from tidegate.adapters.oci.distributions import of_project, pinned, required, requirements
from tidegate.apps.slot_settings import MODULE as SLOT
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import Conflict
from tidegate.domain.project import Project
from tidegate.domain.release import SHORT
from tidegate.files.digests import files_digest
from tidegate.files.layout import StateFolder
from tidegate.files.replaced_folder import replaced_folder

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform
    from tidegate.domain.release import ReleaseManifest

CONTAINERFILE, REQUIREMENTS = "Containerfile", "requirements.txt"
Say = Callable[[str], None]


class Packages(StrEnum):
    COPY = "copy"  # as they are installed here
    PIP = "pip"  # these versions, fetched while the image is built
    BASE = "base"  # the base has them


@dataclass(frozen=True)
class Upon:
    """What an image begins with: its base, how packages get there, and which beside those that are needed anyway."""

    base: str
    packages: Packages = Packages.COPY
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Context:
    """A folder that an image can be built of, and the image's name and tag."""

    folder: Path
    name: str


def of_release(platform: Platform, manifest: ReleaseManifest, upon: Upon, into: Path, say: Say) -> Context:
    """What pods of a model run. Raises IntegrityError for a release that may not be served."""
    source, own, content = platform.admit(manifest), into / "tidegate", into / "release"
    contents.package(own)
    contents.release(source, content)
    made = recipe.of_release(f"{platform.project.name}-{manifest.model}", manifest.digest, own, content, SLOT)
    context = _finished(platform.project, made, requirements("serving"), upon, into, say)
    return replace(context, name=f"{made.name}:{manifest.digest[:SHORT]}")


def of_platform(project: Project, upon: Upon, into: Path, say: Say) -> Context:
    """The command `tidegate` in the project: gate service, monitor, scheduled work, training."""
    own, content = into / "tidegate", into / "project"
    contents.package(own)
    contents.project(project, content)
    made = recipe.of_platform(f"{project.name}-platform", own, content)
    return _finished(project, made, _of_platform(project), upon, into, say)


def of_mlflow(project: Project, upon: Upon, into: Path, say: Say) -> Context:
    """A server of the MLflow that the platform's image has."""
    return _finished(project, recipe.of_mlflow(f"{project.name}-mlflow"), _of_platform(project), upon, into, say)


@contextmanager
def folder_for(project: Project, chosen: Path | None) -> Iterator[Path]:
    """The folder chosen, emptied if it was one of ours; without one, a folder that goes away again."""
    if chosen is None:
        images = StateFolder(project.state).images
        images.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="context-", dir=images) as folder:
            yield Path(folder)
        return
    if chosen.exists() and any(chosen.iterdir()) and not (chosen / CONTAINERFILE).is_file():
        raise Conflict(f"image: {chosen} holds other files; name a new folder for what the image is made of")
    with replaced_folder(chosen, "build context") as folder:
        yield folder


def build(context: Context, registry: str | None, program: str | None, insecure: bool, say: Say) -> str:
    """Build it, and push it where a registry is named. Its name: with a registry by digest, as charts want it."""
    found = builders.find(program)
    name = f"{(registry or 'localhost').rstrip('/')}/{context.name}"
    say(f"building {name} by {found}")
    builders.build(found, context.folder, name)
    return builders.push(found, name, insecure) if registry else name


def _of_platform(project: Project) -> list[str]:
    """Of the platform's pods, which also run the project's pipelines: the project says what those need."""
    own = project.root / REQUIREMENTS
    return sorted({*requirements("kubernetes"), *(of_project(own) if own.is_file() else [])})


def _finished(project: Project, made: recipe.Recipe, roots: list[str], upon: Upon, into: Path, say: Say) -> Context:
    """With packages, environment and Containerfile."""
    folders, install, pins = dict(made.folders), "", ""
    if upon.packages is not Packages.BASE:
        roots = sorted({*roots, *upon.more})
        pins = pinned(required(roots))
        first = into / "packages"
        if upon.packages is Packages.COPY:
            shutil.copytree(_packages(project, roots, pins, say), first, copy_function=_linked)
            folders = {recipe.PACKAGES: first, **folders}
        else:
            first.mkdir()
            (first / REQUIREMENTS).write_text(pins)
            install = f"{recipe.WANTED}/{REQUIREMENTS}"
            folders = {recipe.WANTED: first, **folders}
    made = replace(made, folders=folders, environment=recipe.ENVIRONMENT, install=install)
    text = made.text(upon.base, lambda place: folders[place].name)
    (into / CONTAINERFILE).write_text(text)
    small = [folder for folder in folders.values() if folder.name != "packages"]
    return Context(into, f"{made.name}:{digest_of([text, pins, files_digest(small)])[:SHORT]}")


def _packages(project: Project, roots: list[str], pins: str, say: Say) -> Path:
    """Kept in the state folder from image to image: those of the latest two environments."""
    kept = StateFolder(project.state).images
    folder = kept / f"packages-{digest_of(pins)[:16]}"
    if not folder.is_dir():
        say(f"copying {len(pins.splitlines())} packages of this environment, once")
        with replaced_folder(folder, "packages of an image") as fresh:
            contents.packages(roots, fresh)
    os.utime(folder)
    for old in sorted(kept.glob("packages-*"), key=lambda path: path.stat().st_mtime)[:-2]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _linked(source: str, target: str) -> str:
    """No second copy where the file system has links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
    return target
