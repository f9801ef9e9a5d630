"""What is to be known of a model to take it from raw data to a second version under load and past a faulty one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Body = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
PARTS = ("features", "pipelines", "serving", "monitoring")
RATE = 40.0  # requests a second


def as_it_is(folder: Path) -> None:
    """Changes nothing."""


@dataclass(frozen=True)
class Case:
    """`times` are those at which the two versions are trained and the store stands (ISO); `bodies` are requests of /predict as
    of a time, made of the ingested data in a folder. `lighten` and `fault` edit a copy of the project: one makes training
    quicker, by the other what is made then is wrong, and `stopped_by` names the gates that may stop it: a version trained then,
    or where the fault is `served` the second version in another release.

    `source` is the project's folder and `parts` are the folders of it that make it."""

    model: str
    times: tuple[str, str]
    bodies: Callable[[Path, str], Sequence[Body]]
    fault: Callable[[Path], None]
    stopped_by: tuple[str, ...]
    lighten: Callable[[Path], None] = as_it_is
    served: bool = False
    stored: bool = True  # whether it has features in a store
    source: Path = ROOT
    parts: tuple[str, ...] = PARTS

    def copy(self, folder: Path) -> None:
        """The project's definitions in `folder`, made light."""
        copy_together((self,), folder)


def copy_together(cases: Sequence[Case], folder: Path) -> None:
    """The definitions of the project that the cases are of in `folder`: one replica a slot, and each case made light."""
    copy_definitions(cases[0].source, folder, cases[0].parts)
    file = folder / "tidegate.yaml"
    file.write_text(re.sub(r"replicas: \d+", "replicas: 1", file.read_text()))
    for case in cases:
        case.lighten(folder)


def copy_definitions(source: Path, folder: Path, parts: Sequence[str] = PARTS) -> None:
    for name in parts:
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(source / "tidegate.yaml", folder / "tidegate.yaml")


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts that are there once each; a definition that has changed meanwhile is a failure."""
    text = path.read_text()
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(f"{path} has {old!r} {text.count(old)} times, required once")
        text = text.replace(old, new)
    path.write_text(text)
