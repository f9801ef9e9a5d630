"""Programs that build an image from a folder with a Containerfile, and push it: buildah, podman or docker."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tidegate.domain.errors import Unavailable

PROGRAMS = ("buildah", "podman", "docker")


def find(wanted: str | None = None) -> str:
    """The first of them that is here; raises Unavailable."""
    for program in (wanted,) if wanted else PROGRAMS:
        if shutil.which(program):
            return program
    raise Unavailable(
        f"image: there is no {wanted or 'buildah, podman or docker'}; install one, or write what it is made of with "
        "--context FOLDER and build it elsewhere"
    )


def build(program: str, context: Path, name: str) -> None:
    """Raises Unavailable with what the program said last."""
    stable = [] if program == "docker" else ["--timestamp", "0", "--format", "oci"]  # equal content, equal digest
    _run(program, "build", *stable, "--tag", name, "--file", str(context / "Containerfile"), str(context))


def push(program: str, name: str, insecure: bool = False) -> str:
    """The image's name by digest, in the registry that `name` begins with."""
    repository = name.rpartition(":")[0]
    if program == "docker":
        _run(program, "push", "--quiet", name)
        found = json.loads(_run(program, "image", "inspect", "--format", "{{json .RepoDigests}}", name))
        return next(str(each) for each in found if str(each).startswith(f"{repository}@"))
    with tempfile.NamedTemporaryFile("r") as digest:
        options = ["--tls-verify=false"] if insecure else []
        _run(program, "push", "--quiet", *options, "--digestfile", digest.name, name, f"docker://{name}")
        return f"{repository}@{digest.read().strip()}"


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"`{program} {arguments[0]}` failed: {last}")
    return done.stdout.strip()
