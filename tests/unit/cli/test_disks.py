"""Commands on a state folder that cannot be written, or whose disk refuses; and who may read what they write."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.apps.local_delivery import LocalDelivery
from tidegate.cli.main import run

BOUNDING_SET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH = 24, 1, 2


def as_ordinary_user() -> None:
    """Modes of files are for root, too."""
    os.umask(0o022)
    for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(BOUNDING_SET_DROP, capability, 0, 0, 0)


def tidegate(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from tidegate.cli.main import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, preexec_fn=as_ordinary_user)


def test_what_commands_write_is_their_users_alone_and_an_open_state_folder_is_closed(project: Path) -> None:
    state = project / "state"
    (state / "logs").mkdir(parents=True)
    (state / "logs" / "old.jsonl").touch()
    for path in (state, state / "logs", state / "logs" / "old.jsonl"):
        path.chmod(0o755)
    assert tidegate(project, "freeze", "demand", "--reason", "stocktaking").returncode == 0
    modes = {path: path.stat().st_mode & 0o077 for path in [state, *state.rglob("*")] if "keys" not in path.parts}
    assert {path: mode for path, mode in modes.items() if mode} == {}


def test_commands_that_only_look_work_on_a_read_only_state_and_others_say_which_file(project: Path) -> None:
    assert tidegate(project, "freeze", "demand", "--reason", "stocktaking").returncode == 0
    state = project / "state"
    places = [state, *state.rglob("*")]
    for path in places:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        looked = {name: tidegate(project, *name.split()) for name in ("status", "release list", "down", "down --dry-run")}
        assert {name: (done.returncode, done.stderr) for name, done in looked.items()} == dict.fromkeys(looked, (0, ""))
        assert "stocktaking" in looked["status"].stdout
        changed = {name: tidegate(project, *name.split()) for name in ("unfreeze demand --reason over", "up")}
        for name, done in changed.items():
            assert done.returncode == 7, name
            assert str(state) in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert "defect" not in done.stderr
    finally:
        for path in places:
            path.chmod(0o700)


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EDQUOT, errno.EIO])
def test_what_a_disk_refuses_is_one_sentence_and_no_defect(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reason: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(reason, os.strerror(reason), str(project / "state" / "some.file"))

    monkeypatch.setattr(LocalDelivery, "freeze", refuse)
    assert run(["freeze", "demand", "--reason", "x"]) == 7
    said = capsys.readouterr().err
    assert os.strerror(reason) in said
    assert "some.file" in said
    assert "defect" not in said
    assert len(said.splitlines()) == 1
