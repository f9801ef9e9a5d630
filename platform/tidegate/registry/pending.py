"""Updates of the registry that are pending: one durable note a model, which stays until the registry was updated.

A note is written before what is live is recorded in the registry, and removed after; so whatever interrupts that (a registry
that is away, a killed process) leaves it, and whoever comes next can see it and reconcile. It says that an update is due, never
which: what is live then is recorded, not what was live when the note was written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tidegate.files.durable_files import replace_durably

NOTE, FORMER = "registry-pending", "untold"  # the second is what earlier versions called the file


@dataclass(frozen=True)
class PendingUpdate:
    """`release` (an id) of `version` is live since `at`, and `reason` is why the registry does not have it yet ('' while it is
    being updated)."""

    release: str
    version: str
    at: float
    reason: str = ""


@dataclass(frozen=True)
class PendingUpdates:
    """Notes below `folder` (`rollouts/` of the state folder)."""

    folder: Path
    clock: Callable[[], float] = time.time

    def due(self, model: str) -> PendingUpdate | None:
        """What is due for `model`, None when nothing is. A damaged note is due all the same: it only says that something is."""
        path = self._path(model)
        try:
            value = json.loads(path.read_bytes())
            return PendingUpdate(str(value["release"]), str(value["version"]), float(value["at"]), str(value.get("reason", "")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return PendingUpdate("", "", 0.0, f"its note {path} is damaged: {error}")

    def note(self, model: str, release: str, version: str, reason: str = "") -> None:
        before = self.due(model)
        same = before is not None and (before.release, before.version) == (release, version)
        at = before.at if before is not None and same else self.clock()
        if before is None or not same or before.reason != reason:
            content = json.dumps(asdict(PendingUpdate(release, version, at, reason))).encode()
            replace_durably(self.folder / model / NOTE, content)
            (self.folder / model / FORMER).unlink(missing_ok=True)

    def reason(self, model: str) -> str:
        due = self.due(model)
        return due.reason if due else ""

    def done(self, model: str) -> None:
        for name in (FORMER, NOTE):
            (self.folder / model / name).unlink(missing_ok=True)

    def models(self) -> list[str]:
        return sorted({path.parent.name for name in (NOTE, FORMER) for path in self.folder.glob(f"*/{name}")})

    def _path(self, model: str) -> Path:
        former = self.folder / model / FORMER
        return former if former.exists() else self.folder / model / NOTE
