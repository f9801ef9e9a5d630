"""The command that tells the story of one model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.models.__main__ import TALES, models
from demo.models.lead_time import TALE
from demo.stage import fresh_folder
from tidegate.cli.main import run
from tidegate.domain.errors import TidegateError
from tidegate.domain.project import Project


def test_it_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], models, "python -m demo.models") == 0
    shown = capsys.readouterr().out
    assert "Usage: python -m demo.models" in shown
    assert "python -m demo.models lead_time" in shown


@pytest.mark.parametrize("model", TALES)
def test_a_dry_run_names_the_folder_and_makes_nothing(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "any"
    assert run([model, "--folder", str(folder), "--dry-run", "--json"], models) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(folder)}
    assert not folder.exists()


def test_a_model_without_a_story_is_refused_with_those_that_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demand"], models) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in TALES)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    def never() -> Project:
        raise AssertionError("nothing of it was ours to stop")

    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(TidegateError, match="holds other files"):
        fresh_folder(tmp_path, never)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_figures_are_those_of_model_champion_and_baselines() -> None:
    summary = {
        "baselines": ["vendor_median"],
        "forecasts": {
            "model": {"pinball": 10.976},
            "vendor_median": {"pinball": 17.64},
            "champion": {"loss": 1.0},
            "without_order": {"pinball": 3.0},
        },
    }
    assert TALE.figures(summary).endswith("known: model 10.98, vendor median 17.64.")
