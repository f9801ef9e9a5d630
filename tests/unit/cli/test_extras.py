"""A library that is not installed is named with the extra that has it; a module that is nobody's is a defect."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tidegate.cli.extras import missing_extra

PACKAGE = Path(__file__).parents[3] / "platform/tidegate"
BASE = {"click", "cronsim", "cryptography", "msgspec", "numpy", "psutil", "pydantic", "yaml", "rich", "tidegate", "packaging"}
OF_OTHERS = {"google", "scipy", "typeguard", "matplotlib"}  # of feast, evidently, evidently and mlflow, and never first


def imported() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names)


def test_every_library_that_is_imported_is_of_the_base_or_of_an_extra() -> None:
    lacking = {m for m in imported() - BASE - OF_OTHERS if not missing_extra(ModuleNotFoundError(name=m))}
    assert lacking == set()


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("feast.protos", "control"),
        ("granian", None),
        ("kubernetes", "kubernetes"),
        ("bentoml", "serving"),
        ("envoy", "control"),
    ],
)
def test_the_extra_of_a_library_is_named(module: str, extra: str | None) -> None:
    said = missing_extra(ModuleNotFoundError(name=module))
    assert (said or "").endswith(f"tidegate[{extra}]") if extra else said is None
