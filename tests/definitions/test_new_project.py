"""What `tidegate init` makes: definitions that their tools take, written as ours are, that import the public face alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.adapters.files.project_file import load_project
from tidegate.apps.new_project import planned_files, write
from tidegate.domain.errors import Conflict, InvalidInput
from tidegate.gates.monitor_file import load_monitor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "My Bikes"
    write(planned_files(folder)[1])
    return folder


def test_a_project_has_the_folders_name_and_is_made_once(project: Path) -> None:
    assert load_project(project).name == "my-bikes"
    assert (project / ".gitignore").is_file()
    with pytest.raises(Conflict, match="exists already"):
        planned_files(project)
    with pytest.raises(InvalidInput, match="--name"):
        planned_files(project.parent / "2012")


def test_its_definitions_are_read(project: Path) -> None:
    model = load_project(project).model("rentals")
    assert [gate.name for gate in load_monitor(model.monitor).gates] == ["parity", "shadow", "drift", "bake"]


def test_its_code_imports_the_public_face_alone(project: Path) -> None:
    for path in project.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tidegate"):
                assert (node.module or "").startswith("tidegate.api"), path


def test_its_code_is_written_as_ours_is(project: Path) -> None:
    ruff = str(Path(sys.executable).parent / "ruff")
    for command in (["check", "--select", "E,F,W,I,B,UP,SIM,RUF", "--ignore", "E501"], ["format", "--check"]):
        options = ["--isolated", "--line-length", "128", "--no-cache", str(project)]
        done = subprocess.run([ruff, *command, *options], cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_its_own_tests_pass(project: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_its_compiled_pipeline_is_that_of_its_code(project: Path) -> None:
    compiled = project / "pipelines/rentals/pipeline.yaml"
    kept = compiled.read_bytes()
    command = [sys.executable, "-m", "tidegate.adapters.kfp.runner", "compile", str(project / "pipelines/rentals/pipeline.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert compiled.read_bytes() == kept
