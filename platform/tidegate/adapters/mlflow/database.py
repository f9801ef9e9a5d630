"""MLflow's SQLite database: when it may be made, and how long a lock on it is waited for.

MLflow makes whatever database is missing, and empty; and it tries a locked one for minutes, at its start ten times with growing
pauses and then 20 s for each statement. Here a database is made when it is asked for, whole, and a lock is waited for `WAIT_S`
and then said.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Unavailable
from tidegate.files.durable_files import locked

WAIT_S = 4.0
_TIMEOUT = "PRAGMA busy_timeout ="


def check_unlocked(path: Path, what: str) -> None:
    """Raise Unavailable, within `WAIT_S`, when the database cannot be written to."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=WAIT_S, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        locked = "locked" in str(error)
        todo = "another process holds it, end that one or try again" if locked else "restore it or its permissions"
        raise Unavailable(f"{what}: the registry's database {path} cannot be used ({error}); {todo}") from error


def create(path: Path) -> None:
    """Make an empty database unless it is there; whoever asks meanwhile waits, and none sees one that is half made."""
    settle_waiting()
    from mlflow.tracking import MlflowClient

    with locked(path.parent / ".create.lock"):
        if path.is_file():
            return
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
            address = f"sqlite:///{folder}/{path.name}"
            MlflowClient(address, address).search_registered_models(max_results=1)
            (Path(folder) / path.name).rename(path)


def settle_waiting() -> None:
    """Have MLflow wait for a locked database as long as `check_unlocked` does; to be called before its store is opened."""
    from mlflow.store.db import utils
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    utils.MAX_RETRY_COUNT = 1
    if not event.contains(Engine, "before_cursor_execute", _shorter):
        event.listen(Engine, "before_cursor_execute", _shorter, retval=True)


def _shorter(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
    if statement.startswith(_TIMEOUT):
        statement = f"{_TIMEOUT} {int(WAIT_S * 1000)};"
    return statement, parameters
