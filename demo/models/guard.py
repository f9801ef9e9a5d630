"""Sees to it that nothing is left running: a process of its own that stops the platform as soon as the story has ended, in
whatever way. It waits for the end of its standard input, which ends with the process that holds the other side; the word
`keep` there leaves everything as it is.

    python demo/models/guard.py FOLDER < the story's pipe
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "DEMO_FOLDER"  # in the environment of whatever the story starts: the folder that it is in
KEEP = b"keep"


@contextmanager
def nothing_left(folder: Path, keep: bool) -> Iterator[None]:
    """What is started within the block, is stopped at its end: the platform of `folder`/project with its state `folder`/state,
    and every process that inherited the mark. With `keep`, and when the block ends well, all is left running."""
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    os.environ[MARK] = str(folder)
    with (folder / "guard.log").open("ab") as log:
        guard = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # an interrupt from the keyboard is for the story
        )
    word = b""
    try:
        yield
        word = KEEP if keep else b""
    finally:
        del os.environ[MARK]
        guard.communicate(word)
    if guard.returncode:
        from demo.stage import UnexpectedEnding

        raise UnexpectedEnding(f"not everything could be stopped; see {folder / 'guard.log'}")


def stop(folder: Path) -> None:
    """Stop the platform, then end what else the story had started and is still there."""
    from dataclasses import replace

    from tidegate.adapters.files.project_file import load_project
    from tidegate.apps.platform import Platform

    try:
        Platform(replace(load_project(folder / "project"), state=folder / "state")).down()
    finally:
        end_marked(folder)


def end_marked(folder: Path) -> None:
    """End every process that has the folder's mark: asked first, killed when it is still there after ten seconds."""
    import psutil

    def runs(process: psutil.Process) -> bool:
        try:
            return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(folder))
        except psutil.Error:  # it has ended, or is somebody else's
            return False

    marked = [process for process in psutil.process_iter() if runs(process)]
    for process in marked:
        with suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + 10
    while (marked := [process for process in marked if runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in marked:
        with suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    if sys.stdin.buffer.read() != KEEP:
        stop(Path(sys.argv[1]))
