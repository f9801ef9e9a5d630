"""What the local target starts takes no module from the folder in which it happens to be started."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from story import eventually
from tidegate.adapters.machine.local_processes import LocalProcesses


def test_a_module_planted_where_a_command_was_called_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('planted')\n")
    (tmp_path / "place.py").write_text("print('planted')\n")
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log"
    program = "import numpy; print('started', numpy.__name__)"
    LocalProcesses(tmp_path / "pids").start("slot", [sys.executable, "-c", program], {}, log)
    eventually(lambda: "started numpy" in log.read_text())
    LocalProcesses(tmp_path / "pids").start("place", [sys.executable, "-m", "place"], {}, tmp_path / "other")
    eventually(lambda: "No module named place" in (tmp_path / "other").read_text())
