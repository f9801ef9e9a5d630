from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tidegate import __version__
from tidegate.cli import main as entry
from tidegate.cli.main import COMMANDS, root, run
from tidegate.cli.session import Session
from tidegate.domain.errors import GateClosed
from tidegate.ledger.memory import MemoryLedger

HEAVY = ("polars", "pandas", "numpy", "rich", "feast", "mlflow", "kfp", "bentoml", "evidently", "onnxruntime", "yaml", "duckdb")


def walk(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        return [(path, command)]
    context = click.Context(command)
    below = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [(path, command)] * bool(path) + [leaf for name, sub in below if sub for leaf in walk(sub, (*path, name))]


ALL = walk(root)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tidegate.cli.main import run; code = run(['--help']);"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]; assert not loaded, loaded; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize(("path", "command"), ALL, ids=["-".join(path) for path, _ in ALL])
def test_every_command_has_help_with_examples_and_json(
    path: tuple[str, ...], command: click.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:" in shown
    assert f"tidegate {path[0]}" in shown
    if not isinstance(command, click.Group):
        assert "--json" in shown


CHANGES = [
    "init",
    "ingest",
    "features refresh",
    "features apply",
    "features build",
    "features materialize",
    "train",
    "registry register",
    "promote",
]
CHANGES += ["registry accept", "registry reconcile", "release build", "release sign"]
CHANGES += ["rollout start", "rollout abort", "rollout override", "rollback", "freeze", "unfreeze"]
CHANGES += ["init", "serve", "gate serve", "monitor", "retrain", "up", "down", "schedule run", "predict", "prune"]
CHANGES += ["chart export"]


def test_whatever_changes_something_can_be_tried_first() -> None:
    dry = {" ".join(path) for path, command in ALL if any("--dry-run" in p.opts for p in command.params)}
    assert dry == set(CHANGES)


def test_version_and_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tidegate {__version__}\n"
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["rolout"], 2, "no command 'rolout'; did you mean 'rollout'?"),
        (["ingest", "demnad", "--dry-run"], 3, "no dataset or model 'demnad'; did you mean 'demand'?"),
        (["ingest", "--dryrun"], 2, "Did you mean '--dry-run'?"),
        (["rollout", "abrt", "demand"], 2, "did you mean 'abort'?"),
        (["features", "build", "--until", "soon", "--dry-run"], 2, "'soon' is no time; allowed: a day or time"),
        (["release", "show", "demand@1234"], 3, "no release(s) match"),
        (["gate", "show", "demand", "parity"], 3, "no recorded verdict of gate 'parity'"),
        (["-C", "nowhere", "status"], 3, "does not exist"),
        (["promote", "demand", "--approve-by", "ada"], 2, "--approve-by NAME --reason TEXT"),
        (["replay", "1234"], 3, "request '1234' is not in the inference log"),
        (["rollout", "status"], 3, "has had no rollout"),
        (["freeze", "demand"], 2, "Missing option '--reason'"),
        (["rollback", "demand", "--reason", "x", "--dry-run"], 3, "has no live release"),
    ],
)
def test_a_mistake_is_one_line_with_a_way_out(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert says in shown.err


def test_json_is_one_document_and_nothing_else(project: Path) -> None:
    environ = {**os.environ, "TIDEGATE_STATE": str(project / "state")}
    code = (
        "import os, sys, subprocess; from tidegate.cli import session; from tidegate.cli.main import run;"
        "session.Session.model = lambda self, name: (print('noise'), os.write(1, b'more'), 'demand')[2];"
        "sys.exit(run(['features', 'build', '--dry-run', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=project, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "demand"
    assert "noise" in done.stderr


def test_json_has_no_number_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(None)
    session.json = True
    session._stdout = sys.stdout
    session.emit({"a": float("nan"), "b": (1, Path("x")), "c": MemoryLedger(lambda: 1.5).append("x", "y", {})}, "")
    value = json.loads(capsys.readouterr().out)
    assert (value["a"], value["b"], value["c"]["at"]) == (None, [1, "x"], 1.5)


def test_a_defect_is_logged_and_told_in_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "model", lambda self, name: 1 / 0)
    assert run(["features", "build"]) == 70
    shown = capsys.readouterr().err
    log = project / "state/logs/tidegate.log"
    assert shown == f"error: unexpected ZeroDivisionError: division by zero; this is a defect, traceback in {log}\n"
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (GateClosed("gate 'x' FAIL"), 5), (BrokenPipeError(), 0)]
)
def test_exit_codes(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int
) -> None:
    def fail(self: Session, name: str | None) -> str:
        raise raised

    monkeypatch.setattr(Session, "model", fail)
    monkeypatch.setattr(entry.sys, "stdout", sys.stdout)  # restored when the broken pipe took it away
    assert run(["features", "build"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_dry_runs_change_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(project.rglob("*"))
    for arguments in (
        ["ingest"],
        ["features", "apply"],
        ["features", "build"],
        ["features", "materialize"],
        ["train"],
        ["up"],
    ):
        assert run([*arguments, "--dry-run"]) == 0, capsys.readouterr().err
    assert sorted(path for path in project.rglob("*") if "logs" not in path.parts and path.name != "state") == before


def test_no_colour_without_a_terminal(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["ingest", "nothing"])
    assert "\x1b" not in capsys.readouterr().err
