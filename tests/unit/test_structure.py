"""The structure that the design asks for, read from the syntax trees. Who may import whom is `.importlinter`'s."""

from __future__ import annotations

import ast
import configparser
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform/tidegate"
WIRING = PACKAGE / "apps/wiring.py"
# Of these, anyone may import as they like: they are to data what the standard library is to text.
FREE = {"numpy"}
# What looks like an adapter and is none: parts that a process has of itself.
OWN_PARTS = {"Beating", "Looks"}


def modules(*below: str) -> list[Path]:
    return sorted(path for name in below or ("",) for path in (PACKAGE / name).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def adapters_of_ports() -> set[str]:
    """Classes below adapters/ that other packages use: those with a public name and a method."""
    return {
        node.name
        for path in modules("adapters")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not is_value(node)
    }


def is_value(node: ast.ClassDef) -> bool:
    """Frozen dataclasses, exceptions, Protocols and the like are no adapters."""
    decorators = " ".join(map(ast.unparse, node.decorator_list))
    bases = " ".join(map(ast.unparse, node.bases))
    return "frozen=True" in decorators or bool(re.search(r"Protocol|Error|Exception|Enum|NamedTuple|TypedDict|Struct", bases))


def made_here(path: Path, names: set[str]) -> list[str]:
    calls = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    found = []
    for call in calls:
        called = call.func.value if isinstance(call.func, ast.Attribute) else call.func  # Class(...) and Class.connect(...)
        if isinstance(called, ast.Name) and called.id in names:
            found.append(f"{path.relative_to(PACKAGE)}:{call.lineno} {ast.unparse(call.func)}")
    return found


def test_adapters_are_made_in_wiring_alone() -> None:
    names = adapters_of_ports() - OWN_PARTS
    assert {"FileLedger", "FeastFeatureStore", "MlflowModelRegistry", "ArgoRollouts"} <= names
    assert made_here(WIRING, names)
    elsewhere = [path for path in modules() if path != WIRING and not path.is_relative_to(PACKAGE / "adapters")]
    assert [found for path in elsewhere for found in made_here(path, names)] == []


def test_every_library_has_its_importers_named() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    named = {name for section in contracts.sections() for name in contracts[section].get("protected_modules", "").split()}
    outside = {name.split(".")[0] for path in modules() for name in imported(path)} - set(sys.stdlib_module_names)
    assert outside - {"tidegate"} - FREE - named == set()


def test_definitions_import_the_public_face_alone() -> None:
    folders = ("features", "pipelines", "serving", "monitoring", "tests/projects")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "test" not in path.name]
    assert any(path.parent.name == "demand" for path in files)
    ours = {(path, name) for path in files for name in imported(path) if name.split(".")[0] == "tidegate"}
    assert {f"{path.relative_to(ROOT)}: {name}" for path, name in ours if not name.startswith("tidegate.api")} == set()


def test_protocols_lie_in_ports() -> None:
    elsewhere = [
        f"{path.relative_to(PACKAGE)} {node.name}"
        for path in modules()
        if not path.is_relative_to(PACKAGE / "ports")
        and not path.is_relative_to(PACKAGE / "adapters")  # between parts of one adapter
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
    ]
    assert elsewhere == []


@pytest.mark.parametrize("folder", ["platform/tidegate", "infra", "tests", "demo", "features", "pipelines", "serving"])
def test_no_file_is_above_400_lines(folder: str) -> None:
    long = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py") if "golden" not in path.parts}
    assert {str(path.relative_to(ROOT)): lines for path, lines in long.items() if lines > 400} == {}


def test_half_of_the_files_have_fewer_than_100_lines() -> None:
    assert statistics.median(len(path.read_text().splitlines()) for path in modules() if path.name != "__init__.py") < 100


def test_the_engine_knows_nothing_of_the_projects_own_models() -> None:
    words = re.compile(r"sku|sales|invoice|q50|horizon|midnight|croston|wape", re.IGNORECASE)
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8", "ignore").splitlines(), 1)
        if words.search(line)
    ]
    assert found == []
