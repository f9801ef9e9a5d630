"""What stands in the way of rendering a chart is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.adapters.kubernetes.helm_chart import render
from tidegate.domain.errors import InvalidInput, Unavailable


def program(folder: Path, script: str) -> None:
    path = folder / "helm"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_objects_of_the_chart_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "printf 'kind: A\\n---\\n# nothing\\n---\\nkind: B\\n'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert render(Path("chart"), "demand", "models", [], {}) == [{"kind": "A"}, {"kind": "B"}]


def test_a_value_that_the_chart_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo 'values do not meet the schema:' >&2; echo '- image is required' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(InvalidInput, match=r"values do not meet the schema: - image is required; correct values\.yaml"):
        render(Path("chart"), "demand", "models", [Path("values.yaml")], {})


def test_no_helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="no program 'helm'; install Helm 3"):
        render(Path("chart"), "demand", "models", [], {})
