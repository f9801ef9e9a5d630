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
        command = ["helm", "template", name, str(chart), "--namespace", namespace]
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
