"""A project made by the built package, in a folder outside of this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from story import ROOT


def unpacked_wheel(folder: Path) -> Path:
    """The wheel of this tree, unpacked: what is imported from there is what people install."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@dataclass(frozen=True)
class Outside:
    """The project in `folder`; `package` is what was installed. `within` starts its commands in a network namespace, say."""

    folder: Path
    package: Path
    environment: Mapping[str, str]
    within: tuple[str, ...] = ()

    def run(self, command: str, folder: Path | None = None) -> str:
        """What a shell's command prints; it has to succeed."""
        done = subprocess.run(
            [*self.within, "bash", "-ec", command],
            cwd=folder or self.folder,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout


def environment_of(package: Path, root: Path, given: Mapping[str, str]) -> dict[str, str]:
    """`given`, in which the command `tidegate` is the package's and nothing of this repository is imported."""
    (root / "bin").mkdir()
    (root / "bin/tidegate").write_text(f'#!/bin/sh\nexec {sys.executable} -m tidegate.cli.main "$@"\n')
    (root / "bin/tidegate").chmod(0o755)
    kept = {key: value for key, value in given.items() if not key.startswith(("TIDEGATE_", "PYTHON"))}
    path = os.pathsep.join([str(root / "bin"), str(Path(sys.executable).parent), given["PATH"]])
    return kept | {"PATH": path, "PYTHONPATH": str(package), "NO_COLOR": "1"}


def new_project(outside: Outside) -> None:
    """`tidegate init`, by the package and nothing else."""
    root = outside.folder.parent
    assert str(outside.package) in outside.run(f'{sys.executable} -c "import tidegate; print(tidegate.__file__)"', root)
    outside.run(f"tidegate init {outside.folder.name}", root)


def commands_in(page: Path, number: int = 0) -> list[str]:
    """The lines of a page's block of shell, of which it has several; what is continued on the next line is one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line for line in blocks[number].replace("\\\n", "").splitlines() if line and not line.startswith("#")]
