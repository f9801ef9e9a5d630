"""A component of a training runs the pipeline's own modules from sources that were read once, and from no others."""

from __future__ import annotations

import json
import py_compile
from pathlib import Path

import pytest

from tidegate.api import training
from tidegate.apps.training_run import Run, code, definitions, features_digest, step
from tidegate.domain.errors import InvalidInput

PROJECT = """
apiVersion: tidegate/v1
project: small
models:
  tides:
    ingest: features/data.py
    sources: [features/data.csv]
    features: {repo: features, service: tides}
    pipeline: pipelines/tides/pipeline.py
    serving: serving
    monitor: monitor.yaml
"""
STEPS = """
from tidegate.api.training import InvalidInput

from .heights import HEIGHT


def height(run, factor):
    return HEIGHT * int(factor)


def refuse(run):
    raise InvalidInput("there is no tide in this sea")


def edit(run):
    from pathlib import Path

    Path(run.project).with_name("pipelines").joinpath("tides/heights.py").write_text("HEIGHT = 4")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("features", "serving", "pipelines/tides"):
        (tmp_path / name).mkdir(parents=True)
    files = {
        "tidegate.yaml": PROJECT,
        "monitor.yaml": "",
        "features/data.py": "",
        "features/data.csv": "",
        "pipelines/tides/pipeline.py": "",
        "pipelines/tides/steps.py": STEPS,
        "pipelines/tides/heights.py": "HEIGHT = 3",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "tidegate.yaml"


def run_of(project: Path, **more: str) -> Run:
    return Run(str(project), "tides", **more)


def test_a_step_calls_a_function_of_the_pipeline_s_folder(project: Path) -> None:
    assert step(run_of(project), "steps.py:height", 2) == 6


def test_byte_code_beside_the_sources_is_never_run(project: Path) -> None:
    heights = project.parent / "pipelines/tides/heights.py"
    heights.write_text("HEIGHT = 9")
    py_compile.compile(str(heights), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    heights.write_text("HEIGHT = 3")
    assert step(run_of(project), "steps.py:height", 1) == 3


def test_the_digest_covers_every_module_of_the_folder(project: Path) -> None:
    before = code(project, "tides").digest
    assert code(project, "tides").digest == before
    (project.parent / "pipelines/tides/heights.py").write_text("HEIGHT = 5")
    assert code(project, "tides").digest != before


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    line = capsys.readouterr().out.strip().splitlines()[-1]
    return dict(json.loads(line.removeprefix("tidegate-error ")))


@pytest.mark.parametrize(
    ("function", "kind", "named"),
    [
        ("steps.py:refuse", "InvalidInput", "no tide in this sea"),
        ("steps.py:nothing", "InvalidInput", "has no function 'nothing'"),
        ("absent.py:height", "InvalidInput", "there is no file"),
    ],
)
def test_an_expected_error_is_said_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], function: str, kind: str, named: str
) -> None:
    with pytest.raises(SystemExit):
        step(run_of(project), function)
    found = said(capsys)
    assert found["kind"] == kind
    assert named in found["message"]


def test_definitions_that_are_edited_during_a_run_stop_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(project)
    begun = definitions(run.opened, "tides")
    assert step(run_of(project, definitions=begun), "steps.py:height", 1) == 3
    with pytest.raises(SystemExit):
        step(run_of(project, definitions=begun), "steps.py:edit")
    assert "they were edited meanwhile: train again" in said(capsys)["message"]
    with pytest.raises(SystemExit):
        step(run_of(project, definitions=begun), "steps.py:height", 1)
    assert said(capsys)["kind"] == "Conflict"


@pytest.mark.parametrize(("text", "named"), [("[1]", "required a JSON object"), ("{", "no JSON object")])
def test_parameters_are_a_json_object(project: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        _ = run_of(project, parameters=text).settings


def test_the_digest_of_features_covers_tables_that_lie_elsewhere(project: Path) -> None:
    for name in ("features/tides_views.py", "tables/tides.py", "tables/parts.py"):
        (project.parent / name).parent.mkdir(exist_ok=True)
        (project.parent / name).write_text("x = 1")
    project.write_text(project.read_text().replace("service: tides}", "service: tides, tables: tables/tides.py}"))
    digests = [features_digest(run_of(project).config)]
    for name in ("features/tides_views.py", "tables/tides.py", "tables/parts.py"):
        (project.parent / name).write_text("x = 2")
        digests.append(features_digest(run_of(project).config))
    assert len(set(digests)) == 4


def test_a_pipeline_of_an_earlier_version_is_told_where_its_steps_are() -> None:
    with pytest.raises(AttributeError, match=r"'extract_step': the steps of a pipeline lie in its own folder.*training\.md"):
        training.extract_step  # noqa: B018
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        training.nothing  # noqa: B018
