"""Module names that definitions and releases of earlier versions import, found where their modules are today.

A release keeps the code that it was built with, for ever; so do projects that people wrote. The finder below comes before
Python's own, which would find a module's file in the renamed package and run it a second time under its former name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "tidegate.adapters.feast_packed_store": "tidegate.adapters.feast.packed_store",
    "tidegate.adapters.kfp_runner": "tidegate.adapters.kfp.runner",
    "tidegate.adapters.onnx_session": "tidegate.adapters.onnx.session",
    "tidegate.adapters.project_file": "tidegate.adapters.files.project_file",
    "tidegate.bootstrap": "tidegate.apps",
    "tidegate.bootstrap.control": "tidegate.apps.platform",
    "tidegate.bootstrap.training": "tidegate.apps.training",
    "tidegate.features": "tidegate.data",
    "tidegate.features.ingest": "tidegate.data.ingest",
    "tidegate.features.point_in_time": "tidegate.data.point_in_time",
    "tidegate.features.source_files": "tidegate.data.dataset",
    "tidegate.registry.external": "tidegate.apps.training_output",
    "tidegate.training.foreign_models": "tidegate.apps.training_output",
}


class FormerNames(MetaPathFinder, Loader):
    """Finds a module by its former name: the very module of today, under both names."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(FORMER[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran when it was imported; only what Python noted on it for the former name is taken back."""
        if module.__spec__ is not None:
            module.__spec__ = module.__spec__.loader_state


def find_former_names() -> None:
    if not any(isinstance(each, FormerNames) for each in sys.meta_path):
        sys.meta_path.insert(0, FormerNames())
