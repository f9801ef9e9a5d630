"""The demo's command: a program beside the platform, with the same manners."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demo.__main__ import demo
from story import copy_project
from tidegate.cli.main import COMMANDS, run


def test_it_has_help_with_examples_and_is_no_command_of_the_platform(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"], demo, "python -m demo") == 0
    shown = capsys.readouterr().out
    assert "Usage: python -m demo" in shown
    assert "Examples:" in shown
    assert "demo" not in COMMANDS


def test_a_dry_run_names_the_folder_and_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_project(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert run(["-C", str(tmp_path), "--dry-run", "--json"], demo) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(tmp_path / "build/demo")}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mistake_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-C", str(tmp_path / "nowhere"), "--dry-run"], demo) != 0
    assert capsys.readouterr().err.startswith("error: ")
