"""A chart rendered by Helm: its objects, for a server-side apply of our own. The program `helm` is the user's."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tidegate.domain.errors import InvalidInput, Unavailable

TIMEOUT_S = 60


def render(chart: Path, name: str, namespace: str, files: list[Path], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Objects of the chart installed as `name`; `values` win over the values files. Raises InvalidInput, Unavailable."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as last:
        json.dump(values, last)
        last.flush()
        command = ["helm", "template", name.replace("_", "-"), str(chart), "--namespace", namespace]
        for file in [*map(str, files), last.name]:
            command += ["--values", file]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        except FileNotFoundError as error:
            raise Unavailable(f"rendering chart {chart}: there is no program 'helm'; install Helm 3") from error
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"rendering chart {chart}: helm did not end within {TIMEOUT_S} s") from error
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise InvalidInput(
            f"rendering chart {chart} for {name}: {said}; correct {' or '.join(map(str, files)) or 'the values'}"
        )
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def values_of(chart: Path, file: Path) -> dict[str, Any]:
    """The values that a release of the chart has: the chart's own with those of `file` over them."""
    return _merged(_read(chart / "values.yaml"), _read(file))


def to_yaml(values: Mapping[str, Any]) -> str:
    """Values as people write them, in the order given."""
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=128)


def _read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm merges values: maps by key, anything else is replaced."""
    both = {key: value for key, value in under.items() if key not in over}
    for key, value in over.items():
        beneath = under.get(key)
        both[key] = _merged(beneath, value) if isinstance(beneath, Mapping) and isinstance(value, Mapping) else value
    return both
