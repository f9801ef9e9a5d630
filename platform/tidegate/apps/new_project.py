"""`tidegate init`: a project of its own, with a small working model on real data, to be changed into one's own."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from tidegate.domain.errors import Conflict, InvalidInput, Unavailable
from tidegate.domain.project import NAME_PATTERN

TEMPLATE = "-tpl"  # ends the names of files that tools would take for the package's own
NAMED = ("README.md", "tidegate.yaml")  # which say the project's name as {name}
RENAMED = {"gitignore": ".gitignore"}


def planned_files(folder: Path, name: str | None = None) -> tuple[str, dict[Path, bytes]]:
    """The project's name and its files by path. Raises InvalidInput for a name that is none, Conflict where a file is there."""
    chosen = name or re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_")
    if not re.match(NAME_PATTERN, chosen):
        raise InvalidInput(f"project name '{chosen}' is not allowed, required: {NAME_PATTERN}; give one with --name")
    made = {folder / path: content for path, content in _template(files("tidegate") / "template")}
    for path in made:
        if path.exists():
            raise Conflict(f"init: {path} exists already and is left as it is; name a new folder")
    for own in NAMED:
        made[folder / own] = made[folder / own].decode().replace("{name}", chosen).encode()
    return chosen, made


def write(made: dict[Path, bytes]) -> None:
    for path, content in made.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise Unavailable(f"init: {path} cannot be written ({error.strerror}); make room or fix permissions") from error


def _template(folder: Traversable, below: Path = Path()) -> list[tuple[Path, bytes]]:
    found: list[tuple[Path, bytes]] = []
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.name.startswith((".", "__")):
            continue  # what tools leave beside files
        if entry.is_dir():
            found += _template(entry, below / entry.name)
        else:
            name = entry.name.removesuffix(TEMPLATE)
            found.append((below / RENAMED.get(name, name), entry.read_bytes()))
    return found
