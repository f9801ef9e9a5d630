"""Every command, called with too little, with a name that there is not, or outside of a project: one sentence, and an exit code
that says so. Nothing is made by it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tidegate.cli.main import root, run

VALUES = {
    "folder": ".",
    "out": ".",
    "to": ".",
    "queue": "redis://127.0.0.1:1/0",
    "input": "keys.parquet",
    "output": "out.parquet",
}
NOTHING = "nothing@12ab"


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    below = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [leaf for name, sub in below if sub for leaf in leaves(sub, (*path, name))]


ALL = leaves(root)
GROUPS = sorted({path[:1] for path, _ in ALL if len(path) > 1})
HERE = {("init",)}  # needs no project


def named(each: object) -> str:
    return "-".join(each) if isinstance(each, tuple) else ""


def required(command: click.Command) -> list[str]:
    """The least that the command takes, all of it made up."""
    words = []
    for parameter in command.params:
        if parameter.required or parameter.name == "model":
            value = VALUES.get(str(parameter.name), NOTHING)
            words += [parameter.opts[0], value] if isinstance(parameter, click.Option) else [value]
    return words


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = run(list(arguments))
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1, shown.err
    assert shown.err.startswith("error: ")
    assert shown.out == ""
    return code, shown.err


@pytest.mark.parametrize(
    ("path", "command"),
    [each for each in ALL if each[0] not in HERE],
    ids=named,
)
def test_outside_of_a_project_a_command_says_so(
    path: tuple[str, ...],
    command: click.Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, shown = said(capsys, *path, *required(command))
    assert (code, f"no tidegate.yaml in {tmp_path} or any folder above it" in shown) == (3, True), shown
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "command"),
    [each for each in ALL if any(p.required for p in each[1].params)],
    ids=named,
)
def test_a_command_without_what_it_requires_names_it(
    path: tuple[str, ...], command: click.Command, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = said(capsys, *path)
    assert (code, "Missing " in shown, f"see 'tidegate {' '.join(path)} --help'" in shown) == (2, True, True), shown


@pytest.mark.parametrize(
    ("path", "command"),
    [each for each in ALL if any(p.name == "model" for p in each[1].params)],
    ids=named,
)
def test_a_model_that_there_is_not_is_named_with_those_that_there_are(
    path: tuple[str, ...], command: click.Command, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = said(capsys, *path, *required(command))
    assert (code, "no model 'nothing@12ab'" in shown, "allowed: demand" in shown) == (3, True, True), shown
    assert not (project / "state").exists() or not list((project / "state").rglob("*.json"))


@pytest.mark.parametrize("path", GROUPS, ids="".join)
def test_a_group_without_a_command_names_those_that_there_are(
    path: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = said(capsys, *path)
    one = next(each[1] for each, _ in ALL if each[:1] == path and len(each) > 1)
    assert (code, one in shown, f"see 'tidegate {path[0]} --help'" in shown) == (2, True, True), shown


LASTING = {
    ("registry", "ui"),
    ("up",),
    ("down",),
    ("serve",),
    ("monitor",),
    ("gate", "serve"),
    ("train",),
    ("schedule", "run"),
    ("init",),
    ("image", "platform"),
    ("image", "mlflow"),
}


@pytest.mark.parametrize(("path", "command"), [each for each in ALL if each[0] not in LASTING], ids=named)
def test_before_anything_was_made_a_command_says_what_there_is_not(
    path: tuple[str, ...], command: click.Command, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demand" if word == NOTHING else word for word in required(command)]
    words += ["--dry-run"] if any(p.name == "dry_run" for p in command.params) else []
    code = run([*path, *words])
    shown = capsys.readouterr()
    assert code in (0, 2, 3, 5, 7), shown.err
    assert code == 0 or shown.err.splitlines()[-1].startswith("error: "), shown.err
    assert "Traceback" not in shown.err
