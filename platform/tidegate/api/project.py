"""For programs that work on a project: open it, bring a model that was trained elsewhere, run it."""

from pathlib import Path

from tidegate.adapters.files.project_file import load_project
from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps.platform import Platform
from tidegate.apps.training_output import external_output

__all__ = ["Platform", "external_output", "load_project", "open_onnx", "open_project"]


def open_project(path: Path | str = ".") -> Platform:
    """The platform of the project at `path`, a `tidegate.yaml` or the folder that has it; raises InvalidInput or NotFound."""
    return Platform(load_project(Path(path)))
