"""Each in a process of its own: what is imported once stays imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FEATURES = Path(__file__).resolve().parents[3] / "features"


def python(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


REQUESTS = """
import sys
from importlib.metadata import EntryPoint
from mlflow.utils import plugins
from tidegate.adapters.vendor_imports import settle_mlflow

group = "mlflow.request_header_provider"
mine = EntryPoint("mine", "collections:Counter", group)
find = plugins.get_entry_points = lambda asked: [mine, EntryPoint("feast", "feast.infra.data_sources.mlflow.auth:None", group)]
settle_mlflow()
from mlflow.tracking.request_header import registry

names = [type(each).__name__ for each in registry._request_header_provider_registry]
print("Counter" in names, "feast" in sys.modules, plugins.get_entry_points is find)
"""


def test_mlflow_asks_no_provider_of_feast_for_headers_and_others_as_before() -> None:
    assert python(REQUESTS) == "True False True"


def test_settings_of_the_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    settled = "from tidegate.adapters.vendor_imports import settle_mlflow; settle_mlflow(); import os"
    assert python(f"{settled}; print(os.environ['MLFLOW_HTTP_REQUEST_TIMEOUT'])") == "77"


FEAST = """
import typeguard
from tidegate.adapters.vendor_imports import import_feast

checking, compiled = typeguard.typechecked, []
count = typeguard.typechecked = lambda target: compiled.append(target.__qualname__) or checking(target)
import_feast()
from feast import Project
print("Project.__init__" in compiled, typeguard.typechecked is count)
for name in ("first", "second"):
    Project(name=name)
    try:
        Project(name=name, description=7)
    except typeguard.TypeCheckError as error:
        print(compiled.count("Project.__init__"), error)
"""


def test_feasts_classes_compile_their_checks_when_they_are_first_used_and_not_when_they_are_imported() -> None:
    said = '1 argument "description" (int) is not an instance of str'
    assert python(FEAST).splitlines() == ["False True", said, said]


APPLY = """
import sys
from pathlib import Path
from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.files.feature_folder import feature_folder
from tidegate.domain.errors import InvalidInput

repo, state = map(Path, sys.argv[1:])
try:
    FeastFeatureStore(repo, feature_folder(state, "demand")).apply()
except InvalidInput as error:
    print(error)
"""


def test_definitions_are_read_with_them(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(FEATURES, repo)
    (repo / "ill_typed.py").write_text("from feast import Entity\n\nsku = Entity(name='sku', description=7)\n")
    said = python(APPLY, str(repo), str(tmp_path / "state"))
    assert "ill_typed.py cannot be loaded: TypeCheckError" in said


def test_feast_leaves_nothing_in_the_environment_that_processes_started_later_would_inherit() -> None:
    program = """
import os
before = dict(os.environ)
from tidegate.adapters.vendor_imports import import_feast
import_feast()
from feast import FeatureStore
import feast.repo_operations
print({name for name in os.environ if name.startswith("PROMETHEUS") and name not in before})
"""
    assert python(program) == "set()"
