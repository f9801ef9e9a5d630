"""The story's load, as a process of its own that goes on through every rollout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Unavailable


class Traffic:
    """Start, steer and stop `demo.load`. Leaves its log at `folder/requests.jsonl`."""

    def __init__(self, folder: Path, url: str, rate: float) -> None:
        self.folder, self.url, self.rate = folder, url, rate
        self.log = folder / "requests.jsonl"
        self._asks = "catalogue"
        self._process: subprocess.Popen[bytes] | None = None

    def ask_for(self, entities: Sequence[str]) -> None:
        """Which entities to ask for from now on."""
        _replace(self.folder / "catalogue.json", json.dumps(list(entities)))

    def send(self, bodies: Sequence[Any]) -> None:
        """Which bodies to send from now on, in turn; before `start`, in place of a catalogue."""
        self._asks = "bodies"
        _replace(self.folder / "bodies.json", json.dumps(list(bodies)))

    def phase(self, name: str) -> None:
        """A word that each request from now on is logged with."""
        _replace(self.folder / "phase.json", json.dumps(name))

    def start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("load.py")), "--url", self.url, "--rate", str(self.rate)]
        for name, path in ((self._asks, f"{self._asks}.json"), ("phase", "phase.json"), ("log", "requests.jsonl")):
            command += [f"--{name}", str(self.folder / path)]
        with (self.folder / "load.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)

    def sent(self) -> int:
        """Requests logged so far."""
        if not self.log.exists():
            return 0
        with self.log.open("rb") as lines:
            return sum(1 for _ in lines)

    def check(self) -> None:
        """Raise Unavailable when the load has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise Unavailable(f"the load ended with code {self._process.returncode}; see {self.folder / 'load.log'}")

    def stop(self) -> None:
        """Stop sending, wait for the answers under way, end the process."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
