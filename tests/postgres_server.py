"""A real Postgres on loopback for the length of a test. It is run from copies of a package's programs, and not as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLAIN_USER = "nobody"  # Postgres refuses to run as root


@contextmanager
def postgres(port: int) -> Iterator[str]:
    """The URL of an empty database, once it answers."""
    found = importlib.util.find_spec("pgserver")
    assert found is not None
    assert found.origin is not None
    site = Path(found.origin).parents[1]
    folder = Path(tempfile.mkdtemp(prefix="tidegate-postgres-"))  # whose parents anyone may pass
    who: dict[str, Any] = {}
    try:
        for name in ("pgserver/pginstall", "pgserver.libs"):
            shutil.copytree(site / name, folder / name)
        (folder / "data").mkdir(mode=0o700)
        for each in (folder, folder / "pgserver"):  # whatever the umask of whoever runs tests
            each.chmod(0o755)
        if os.geteuid() == 0:
            user = pwd.getpwnam(PLAIN_USER)
            who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder / "data", user.pw_uid, user.pw_gid)
        programs, data = folder / "pgserver/pginstall/bin", str(folder / "data")
        options = ["-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run([str(programs / "initdb"), *options], check=True, capture_output=True, cwd="/", **who)
        command = [str(programs / "postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **who)
        try:
            _await(port, process, folder / "log")
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/postgres"
        finally:
            process.terminate()
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
