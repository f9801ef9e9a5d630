"""What the suite over models has to know of one: where its project is, when its versions are trained, what is asked of it,
and a fault that is natural to it. To add a model: a `Case` in a file beside this one, named in test_models.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """`copy` makes the project in a folder of its own, on free ports; `times` are those at which the two versions are trained
    and the store stands (ISO); `bodies` are requests of /predict for the model as of a time; `fault` edits the project so that
    a version trained then is wrong, and `stopped_by` names the gates that may stop it."""

    model: str
    copy: Callable[[Path], str]  # returns the gateway's URL
    times: tuple[str, str]
    bodies: Callable[[Path, str], Sequence[Body]]
    fault: Callable[[Path], None]
    stopped_by: tuple[str, ...]
    stored: bool = True  # whether it has features in a store


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts that are there once each; a definition that has changed meanwhile is a failure."""
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times, required once"
        text = text.replace(old, new)
    path.write_text(text)
