"""The definition of a model's feature tables: a Python file with `build(data, until)`, and what it says of itself.

A definition may name the classes it wants as parameters: `build(orders, returns, until)`. `MAX_ROWS`, if it has one, is how
many rows a table of it may have at most.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.domain.errors import InvalidInput, TidegateError
from tidegate.files.source_code import Sources

SIGNATURE = "build(data, until)"
Tables = dict[str, pl.DataFrame]
Build = Callable[[Mapping[str, pl.DataFrame], datetime], Tables]


@dataclass(frozen=True)
class TablesDefinition:
    """`build` of the file at `path`; `parameters` are the names of what it takes before `until`."""

    path: Path
    build: Callable[..., Tables]
    parameters: tuple[str, ...]
    max_rows: int | None

    def __call__(self, data: Mapping[str, pl.DataFrame], until: datetime) -> Tables:
        """Raises InvalidInput for a class that the data have not, and where `build` fails."""
        try:
            return self.build(*self._arguments(data), until)
        except TidegateError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            what = f"feature tables: build() of {self.path} failed before {until}"
            raise InvalidInput(f"{what}: {type(error).__name__}: {reason}") from error

    def _arguments(self, data: Mapping[str, pl.DataFrame]) -> list[Any]:
        if self.parameters == ("data",):
            return [data]
        if missing := [name for name in self.parameters if name not in data]:
            raise InvalidInput(
                f"feature tables: {self.path} defines build({', '.join(self.parameters)}, until), and the data have no class "
                f"'{missing[0]}'; its classes are {', '.join(data)}"
            )
        return [data[name] for name in self.parameters]


def load_build(path: Path) -> TablesDefinition:
    """The definition in a Python file; raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(
            f"feature tables: no file {path}; it must define {SIGNATURE} (another file is named by the model's features.tables)"
        )
    if path.suffix != ".py":
        raise InvalidInput(f"feature tables: {path} is not a Python file; its name must end with .py")
    try:
        module = Sources.beside(path).module(path.name)
    except Exception as error:
        raise InvalidInput(f"feature tables: {path} cannot be loaded: {type(error).__name__}: {error}") from error
    build, most = getattr(module, "build", None), getattr(module, "MAX_ROWS", None)
    if not callable(build):
        raise InvalidInput(f"feature tables: {path} defines no function {SIGNATURE}")
    names = list(inspect.signature(build).parameters)
    if len(names) < 2 or names[-1] != "until":
        raise InvalidInput(f"feature tables: {path} defines build({', '.join(names)}), required {SIGNATURE}")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise InvalidInput(f"feature tables: {path} says MAX_ROWS = {most!r}, required a whole number from 1")
    return TablesDefinition(path, build, tuple(names[:-1]), most)
