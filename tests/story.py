"""A copy of the project on free ports, its demo told once, and what tests ask of the result."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from demo.models.case import copy_definitions

ROOT = Path(__file__).resolve().parents[1]
TIDEGATE = Path(sys.executable).with_name("tidegate")


def plain_environment() -> dict[str, str]:
    """The environment without settings, those of the tests included: as somebody has it who has just installed the platform."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "MLFLOW_"))}


def free_ports() -> dict[str, int]:
    """Two ports, and a run of thirty-two: found by binding, released for whom they are for. Processes that run tests side by
    side look in ranges of their own, or one would find what the other has just released."""
    begin = 20_000 + 2_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5)
    for first in range(begin, begin + 2_000, 64):
        try:
            held = [socket.create_server(("127.0.0.1", first + i)) for i in range(34)]
        except OSError:
            continue
        for each in held:
            each.close()
        return {"gatewayPort": first, "adminPort": first + 1, "slotPorts": first + 2}
    raise AssertionError("no run of thirty-four free ports")


def copy_project(folder: Path) -> dict[str, int]:
    """The project's definitions in `folder`, its ports replaced by free ones; returns them."""
    copy_definitions(ROOT, folder)
    return on_free_ports(folder)


def on_free_ports(folder: Path) -> dict[str, int]:
    """Replace the ports of the project in `folder` by free ones; returns them."""
    file, ports = folder / "tidegate.yaml", free_ports()
    text = file.read_text()
    for name, port in ports.items():
        text = re.sub(rf"{name}: \d+", f"{name}: {port}", text)
    file.write_text(text)
    return ports


@dataclass
class Told:
    """The project in `root`, the demo's folder, and its facts."""

    root: Path
    gateway: str
    output: str

    @property
    def folder(self) -> Path:
        return self.root / "build/demo"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def environment(self) -> dict[str, str]:
        return {**plain_environment(), "TIDEGATE_STATE": str(self.state), "PYTHONPATH": str(ROOT / "platform"), "NO_COLOR": "1"}

    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "demo.json").read_bytes())

    def lines(self, path: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [TIDEGATE, *arguments],
            cwd=self.root,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, code: int = 0) -> Any:
        """The JSON that `tidegate ARGUMENTS --json` prints; its exit code must be `code`."""
        command = [TIDEGATE, *arguments, "--json"]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, text=True, capture_output=True, timeout=180, check=False
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout) if done.stdout else done.stderr

    def processes(self) -> list[psutil.Process]:
        """All running processes that belong to this state folder."""
        found = []
        for process in psutil.process_iter():
            try:
                mine = str(self.state) in " ".join(process.cmdline()) + process.environ().get("TIDEGATE_PROCESS", "")
                if mine and process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def pids_of(self, word: str) -> list[int]:
        """Processes whose command line has `word` (`control`, `supervise`, `envoy`, `apps.slot`)."""
        found = []
        for process in self.processes():
            try:
                if word in " ".join(process.cmdline()):
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found


def eventually(condition: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "what was awaited did not come about"
        time.sleep(0.05)
    return found


def tell(root: Path) -> Told:
    """Run the demo on a copy of the project."""
    ports = copy_project(root)
    told = Told(root, f"http://127.0.0.1:{ports['gatewayPort']}", "")
    environment = {name: value for name, value in told.environment.items() if name != "TIDEGATE_STATE"}
    environment["PYTHONPATH"] += f"{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=root, env=environment, text=True, capture_output=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    told.output = done.stderr
    return told
