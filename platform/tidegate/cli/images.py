"""Commands that make images for a cluster: image release, platform, mlflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.session import Command, Session, command, examples, model_argument
from tidegate.domain.errors import InvalidInput

if TYPE_CHECKING:
    from tidegate.apps.images import Context, Say, Upon

PROGRAMS = ("buildah", "podman", "docker")
PACKAGES = ("copy", "pip", "base")
BASE = "python:3.11-slim"


@click.group(
    epilog=examples(
        "tidegate image release demand --push REGISTRY/shop", "tidegate image platform --context build/platform-image"
    )
)
def image() -> None:
    """Container images of this project: by buildah, podman or docker, or as a folder with a Containerfile for any builder.

    An image has this environment's packages, at a base of Python 3.11 on Linux. Its processes run as a user without rights.
    """


def image_options(function: Command) -> Command:
    """The options that all of them take."""
    folder = click.Path(path_type=Path, file_okay=False)
    more = "A package of this environment that the image needs, too; may be repeated."
    packages = "Copied from this environment, fetched by pip in the same versions while it is built, or left to the base."
    said: list[tuple[tuple[str, ...], dict[str, Any]]] = [
        (("--push", "registry"), {"metavar": "REGISTRY", "help": "Push it to HOST/PATH, and print its name there by digest."}),
        (("--insecure",), {"is_flag": True, "help": "Push without TLS."}),
        (("--context",), {"type": folder, "help": "Write what it is made of to this folder, and build nothing."}),
        (
            ("--with", "program"),
            {"type": click.Choice(PROGRAMS), "help": "What builds it; by default what is here, in this order."},
        ),
        (("--packages",), {"type": click.Choice(PACKAGES), "default": "copy", "show_default": True, "help": packages}),
        (("--base",), {"metavar": "IMAGE", "default": BASE, "show_default": True, "help": "With Python 3.11 as `python3`."}),
        (("--requirement", "more"), {"metavar": "NAME", "multiple": True, "help": more}),
    ]
    for names, settings in reversed(said):
        function = click.option(*names, **settings)(function)
    return function


@image.command(
    epilog=examples("tidegate image release demand --push REGISTRY/shop", "tidegate image release --context build/image")
)
@model_argument
@click.option("--release", metavar="ID", help="A release of MODEL; by default the one built last.")
@image_options
@command()
def release(session: Session, model: str | None, release: str | None, **options: Any) -> None:
    """What the pods of MODEL run: one release and what serves it, for `tidegate rollout MODEL --target kubernetes --image`."""
    from tidegate.apps.images import of_release

    platform = session.platform
    manifest, _ = platform.to_roll_out(session.model(model), release)
    _make(session, lambda upon, into, say: of_release(platform, manifest, upon, into, say), **options)


@image.command(
    epilog=examples(
        "tidegate image platform --push REGISTRY/shop", "tidegate image platform --packages pip --context build/image"
    )
)
@image_options
@command()
def platform(session: Session, **options: Any) -> None:
    """The platform's pods: gate service, monitor, scheduled work and training, with this project's definitions.

    It holds the project file and the folders that this names, and what `requirements.txt` beside it names of this environment.
    """
    from tidegate.apps.images import of_platform

    _make(session, lambda upon, into, say: of_platform(session.project, upon, into, say), **options)


@image.command(epilog=examples("tidegate image mlflow --push REGISTRY/shop"))
@image_options
@command()
def mlflow(session: Session, **options: Any) -> None:
    """A server of the MLflow that the platform's image has, for clusters that bring none."""
    from tidegate.apps.images import of_mlflow

    _make(session, lambda upon, into, say: of_mlflow(session.project, upon, into, say), **options)


def _make(
    session: Session,
    write: Callable[[Upon, Path, Say], Context],
    registry: str | None,
    insecure: bool,
    context: Path | None,
    program: str | None,
    packages: str,
    base: str,
    more: tuple[str, ...],
) -> None:
    from tidegate.adapters.oci.builders import find
    from tidegate.apps.images import Packages, Upon, build, folder_for

    if context and (registry or program):
        raise InvalidInput("image: --context builds nothing, so there is nothing to push; give it alone")
    if not context:
        find(program)
    with folder_for(session.project, context) as folder:
        made = write(Upon(base, Packages(packages), more), folder, session.progress)
        if context is None:
            name = build(made, registry, program, insecure, session.progress)
            session.emit({"image": name, "pushed": bool(registry)}, name)
    if context is not None:
        value = {"image": made.name, "context": context}
        session.emit(
            value, f"wrote {context}; build it by, say: docker build -t {made.name} -f {context}/Containerfile {context}"
        )
