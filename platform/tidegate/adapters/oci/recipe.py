"""What an image is made of, and the file that says so to a program that builds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

NONROOT = "65532:65532"
PYTHON = "python3"
PACKAGES, OWN, RELEASE, PROJECT = "/opt/packages", "/opt/tidegate", "/release", "/project"
WANTED = "/opt/wanted"  # a file of requirements, where packages are fetched
ENVIRONMENT = {
    "PYTHONPATH": f"{OWN}:{PACKAGES}",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONSAFEPATH": "1",  # no module is taken from the folder in which a process happens to be started
    "OPENBLAS_NUM_THREADS": "1",  # its threads spin while they wait, and what is multiplied here is small
}


@dataclass(frozen=True)
class Recipe:
    """An image: folders at their places, those first that change least. `install` is a file of requirements in one of them,
    which are fetched while it is built."""

    name: str
    folders: Mapping[str, Path] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    install: str = ""

    def text(self, base: str, copied: Callable[[str], str]) -> str:
        """The Containerfile upon `base`; `copied` gives how a place's folder is written in COPY."""
        lines = [f"FROM {base}"]
        for place in self.folders:
            lines.append(f"COPY {copied(place)} {place}")
            if self.install.startswith(f"{place}/"):
                lines.append(f"RUN {PYTHON} -m pip install --no-cache-dir --no-deps --target {PACKAGES} -r {self.install}")
        lines += [f"ENV {name}={value}" for name, value in self.environment.items()]
        lines += [f"USER {NONROOT}", f"WORKDIR {self.folder}"]
        if self.entrypoint:
            lines.append(f"ENTRYPOINT {json.dumps(list(self.entrypoint))}")
        return "\n".join(lines) + "\n"


def of_release(name: str, digest: str, own: Path, content: Path, slot: str) -> Recipe:
    """What pods of a model run: one release, at /release/<digest>, by the module `slot`. Its arguments are the chart's."""
    folders = {OWN: own, f"{RELEASE}/{digest}": content}
    return Recipe(name, folders, [PYTHON, "-m", slot])


def of_platform(name: str, own: Path, content: Path) -> Recipe:
    """The command `tidegate` in a project: gate service, monitor, scheduled work, pipelines."""
    return Recipe(name, {OWN: own, PROJECT: content}, [PYTHON, "-m", "tidegate.cli.main"], folder=PROJECT)


def of_mlflow(name: str) -> Recipe:
    """The MLflow of the same packages, as a server."""
    return Recipe(name, entrypoint=[PYTHON, "-m", "mlflow"])
