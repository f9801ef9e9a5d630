"""The supervisor's watcher: starts another one when it died or beats no more.

    python -m tidegate.apps.watcher --state STATE --config tidegate.yaml ...

The supervisor keeps the watcher, as it keeps slots and gateway, and the watcher keeps the supervisor; `down` ends the
watcher first. Under systemd, which watches by itself, there is none. A watcher that cannot write its own beat takes nobody
else's silence for a hang: the disk is what is wrong then.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tidegate.adapters.machine.local_processes import MARK
from tidegate.apps import wiring
from tidegate.apps.supervision import WATCHER, end_hung, supervisor_pid
from tidegate.files.layout import StateFolder
from tidegate.rollout.local.backoff import Backoff

INTERVAL = 0.25
STARTING = 60.0  # seconds that a supervisor may take until it holds its lock


class Watcher:
    def __init__(self, state: StateFolder, command: Sequence[str]) -> None:
        self.state, self.command = state, command
        self.beats, self.backoff = wiring.heartbeats(state), Backoff()
        self._child: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def look(self) -> None:
        can_tell = self.beats.beat(WATCHER)
        starting = self._child is not None and self._child.poll() is None
        if supervisor_pid(self.state) is not None:
            self.backoff.lasted("supervisor")  # it got as far as its lock
            if can_tell:
                end_hung(self.state)
        elif self._child is not None and starting:
            if time.monotonic() - self._started > STARTING:
                self._child.kill()
        elif self.backoff.may_start("supervisor", time.monotonic()):
            self.backoff.started("supervisor", time.monotonic())
            self._start()

    def end(self) -> None:
        """End with us whom we have just started, unless it is the supervisor already."""
        if self._child is not None and self._child.poll() is None and self._child.pid != supervisor_pid(self.state):
            self._child.kill()
            self._child.wait()

    def _start(self) -> None:
        self._started = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if name != MARK}  # that one is ours
        with self.state.supervisor_log.open("ab") as output:
            self._child = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tidegate.apps.watcher")
    for name in ("--state", "--config", "--slot-command", "--gates", "--finish"):
        parser.add_argument(name, required=True)
    given = list(sys.argv[1:] if arguments is None else arguments)
    state = StateFolder(Path(parser.parse_args(given).state))
    command = [sys.executable, "-m", "tidegate.apps.supervisor", "supervise", *given, "--watcher", str(os.getpid())]
    watcher, ended = Watcher(state, command), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.is_set():
        watcher.look()
        ended.wait(INTERVAL)
    watcher.end()


if __name__ == "__main__":
    main()
