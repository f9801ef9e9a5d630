"""docs/settings.md names every setting that the platform reads or sets, and none that it does not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from tidegate.domain import project

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/settings.md").read_text()
OF_OTHERS = {
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "NO_COLOR",
    "SSL_CERT_FILE",
}  # read by vendors
PREFIXES = (
    "TIDEGATE_",
    "MLFLOW_",
    "FEAST_",
    "BENTOML_",
    "KUBE",
    "OTEL_",
    "OMP_",
    "OPENBLAS_",
    "DO_NOT_TRACK",
    "REDIS_",
    "KFP_",
)


def read_in(path: Path) -> Iterator[str]:
    """Names of environment variables in a module: looked up in an environment, or constants that look like one."""
    for node in ast.walk(ast.parse(path.read_text())):
        looked_up: list[Any] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _environment(node.func.value):
            looked_up = node.args[:1] if node.func.attr in ("get", "setdefault", "pop") else []
        elif isinstance(node, ast.Subscript) and _environment(node.value):
            looked_up = [node.slice]
        elif isinstance(node, ast.Compare) and any(_environment(each) for each in node.comparators):
            looked_up = [node.left]
        yield from (str(each.value) for each in looked_up if isinstance(each, ast.Constant))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PREFIXES):
            yield from re.findall(r"^[A-Z][A-Z0-9_]+$", node.value)


def _environment(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("environ", "environment")


def test_every_environment_variable_is_on_the_page() -> None:
    read = {name for path in (ROOT / "platform/tidegate").rglob("*.py") for name in read_in(path)}
    assert {"TIDEGATE_STATE", "MLFLOW_TRACKING_URI", "KUBECONFIG", "TIDEGATE_KFP_ENDPOINT"} <= read
    assert not {name for name in read if not re.search(rf"\b{name}\b", PAGE)}, "read, and not on docs/settings.md"


def test_the_page_names_nothing_that_is_not_known() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "platform/tidegate").rglob("*.py"))
    named = set(re.findall(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)\b", PAGE)) - OF_OTHERS
    assert not {name for name in named if name not in source}


def keys(kind: type) -> Iterator[str]:
    for field in fields(kind):
        if "key" in field.metadata:
            yield str(field.metadata["key"])


@pytest.mark.parametrize("kind", [each for each in vars(project).values() if isinstance(each, type) and is_dataclass(each)])
def test_every_key_of_the_project_file_is_on_the_page(kind: type) -> None:
    assert not [name for name in keys(kind) if not re.search(rf"\b{name}\b", PAGE)]
