"""The feature folder of earlier versions, one for all models (`state/features/{tables,registry.db,...}`), given to the models.

Done once, before the first use, and to the end: what lay flat is put aside in one folder, each model gets a whole copy of it
(all of them answered from it), and then it is removed. Killed in between, the next use goes on. The models are those of the
project that have ingested data in this state (all of them, if none has); a model that comes later begins with nothing. It takes
no longer than copying: Feast is not imported.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.files.durable_files import locked
from tidegate.files.feature_folder import FeatureFolder, feature_folder

ASIDE = ".of-all-models"  # no model's name
FILES = ("registry.db", "registry_stored.db", "online.db", "online.db-wal", "online.db-shm")


def take_over(state: Path, models: Sequence[str]) -> bool:
    """Give a flat feature folder to its models; False when there is none. Raises Unavailable."""
    features = state / "features"
    if not _flat(features) and not (features / ASIDE).exists():
        return False
    try:
        with locked(features / ".take-over.lock"):
            aside = features / ASIDE
            aside.mkdir(exist_ok=True)
            for path in _flat(features):
                os.rename(path, aside / path.name)
            known = [model for model in models if (state / "data" / model).is_dir()] or models
            for left in [left for model in known for left in features.glob(f".{model}-*")]:
                shutil.rmtree(left)  # of one that was killed
            for model in known:
                folder = feature_folder(state, model)
                if not folder.root.exists():
                    _copy(aside, folder)
            shutil.rmtree(aside)
    except (OSError, sqlite3.Error, TidegateError) as error:
        raise Unavailable(
            f"features: {features} is of an earlier version, shared by all models, and cannot be divided ({error}); "
            "free space or fix permissions and try again"
        ) from error
    return True


def _flat(features: Path) -> list[Path]:
    """What lies flat, the online store last: its write-ahead log must never be without it."""
    tables = features / "tables"
    found = [tables] if tables.is_dir() and any(tables.glob("*.parquet")) else []
    return [*found, *(features / name for name in reversed(FILES) if (features / name).is_file())]


def _copy(aside: Path, folder: FeatureFolder) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.model}-", dir=folder.root.parent))
    try:
        fresh.chmod(0o755)
        if (aside / "tables").is_dir():
            shutil.copytree(aside / "tables", fresh / folder.tables.name)
        for name in (folder.registry.name, folder.registry_stored.name):
            if (aside / name).is_file():
                shutil.copy(aside / name, fresh)
                (fresh / folder.earlier_registry.name).touch()  # its paths are read as what they mean now, until it is replaced
        if (aside / folder.online_db.name).is_file():
            # SQLite's own copy: what its write-ahead log holds is in it
            with (
                closing(sqlite3.connect(aside / folder.online_db.name)) as old,
                closing(sqlite3.connect(fresh / folder.online_db.name)) as new,
            ):
                old.backup(new)
        os.rename(fresh, folder.root)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
