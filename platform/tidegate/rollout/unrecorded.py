"""Ways back do not wait for the ledger: what it did not take is kept, and recorded later, in order, before any step forward.

    rollouts/<model>/unrecorded     JSON list of entries that wait, oldest first; not there while none waits

A step forward is recorded before it is done, and not done where that fails. A way back (abort, freeze, rollback, what a gate
takes back) is done whatever the ledger says: it may be full, read-only or damaged. Whoever calls holds the model's lock.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.domain.actor import Actor, named, named_in
from tidegate.domain.errors import IntegrityError, TidegateError
from tidegate.files.durable_files import replace_durably
from tidegate.files.reserve import Reserve
from tidegate.ports.ledger import Ledger

Json = dict[str, Any]
FILE = "unrecorded"
START = "rollout.start"
logger = logging.getLogger("tidegate.rollout")


@dataclass
class Recorder:
    """`folder` is `rollouts/` of the state folder."""

    ledger: Ledger
    folder: Path
    clock: Callable[[], float] = time.time
    _kept: dict[str, list[Json]] = field(default_factory=dict)  # what not even the disk would take

    def forward(self, model: str, action: str, subject: str, body: Mapping[str, Any], actor: Actor) -> None:
        """Record what waits, and then this. Raises IntegrityError or Unavailable, and then it must not be done."""
        self.catch_up(model)
        self.ledger.append(action, subject, body, actor)

    def back(self, model: str, action: str, subject: str, body: Mapping[str, Any], actor: Actor) -> None:
        """Record it now or keep it for later; never raises for the ledger."""
        try:
            waiting = self.waiting(model)
        except IntegrityError as error:
            logger.error("%s", error)
            self._path(model).replace(self._damaged(model))  # it stops the next step forward, not this
            waiting = []
        entry = {"action": action, "subject": subject, "body": dict(body), **named(actor), "at": self.clock()}
        self._record(model, [*waiting, entry], fresh=entry)

    def catch_up(self, model: str) -> None:
        """Record what waits. Raises IntegrityError or Unavailable, with what is left still waiting."""
        if self._damaged(model).exists():
            raise IntegrityError(
                f"model {model}: {self._damaged(model)} has entries for the ledger that cannot be read; look at it, keep it "
                "somewhere else for the record, and remove it"
            )
        waiting = self.waiting(model)
        if waiting and (error := self._record(model, waiting)):
            left = len(self.waiting(model))
            raise type(error)(f"model {model}: {left} entries wait for the ledger, and nothing moves forward: {error}")

    def waiting(self, model: str) -> list[Json]:
        """Entries that wait, oldest first. Raises IntegrityError for a file that is damaged."""
        if model in self._kept:
            return self._kept[model]
        return _read(self._path(model))

    def remark(self, model: str) -> str:
        """For people; empty where nothing waits."""
        try:
            waiting = self.waiting(model)
        except TidegateError as error:
            return str(error)
        if self._damaged(model).exists():
            return f"{self._damaged(model)} has entries that cannot be read"
        actions = ", ".join(str(entry["action"]) for entry in waiting)
        return f"{len(waiting)} entries of {model} wait to be recorded ({actions})" if waiting else ""

    def _record(self, model: str, entries: list[Json], fresh: Json | None = None) -> TidegateError | None:
        """Append in order as far as it goes, and keep the rest; returns what stopped it."""
        had = len(entries) - (fresh is not None)
        done, stopped = 0, None
        for entry in entries:
            body = entry["body"] if entry is fresh else {**entry["body"], "waited_since": entry["at"]}
            try:
                self.ledger.append(entry["action"], entry["subject"], body, named_in(entry))
            except TidegateError as error:
                stopped = error
                break
            done += 1
        if done or had or stopped:
            self._keep(model, entries[done:], had)
        return stopped

    def _keep(self, model: str, entries: list[Json], had: int) -> None:
        path = self._path(model)
        try:
            if entries:
                content = json.dumps(entries).encode()
                Reserve(self.folder).for_order(lambda: replace_durably(path, content))
            elif had:
                path.unlink(missing_ok=True)
            self._kept.pop(model, None)
        except (TidegateError, OSError) as error:
            logger.warning("entries for the ledger are kept in memory alone: %s", error)
            self._kept[model] = entries

    def _path(self, model: str) -> Path:
        return self.folder / model / FILE

    def _damaged(self, model: str) -> Path:
        return self.folder / model / f"{FILE}.damaged"


def recorded_rollouts(folder: Path) -> Sequence[str]:
    """Ids of the rollouts below `folder` (`rollouts/`) that a ledger must know: whose start does not wait to be recorded."""
    found: list[str] = []
    for records in folder.glob("*/"):
        ids = {path.stem for path in records.glob("*.json") if not path.name.startswith(".")}
        try:
            waiting = _read(records / FILE)
        except IntegrityError:
            waiting = []
        found += ids - {entry["body"].get("rollout") for entry in waiting if entry["action"] == START}
    return sorted(found)


def _read(path: Path) -> list[Json]:
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, list) or not all({"action", "subject", "body", "actor", "at"} <= set(each) for each in found):
            raise ValueError("not a list of entries")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise IntegrityError(f"entries that wait for the ledger: {path} is damaged ({error}); restore or remove it") from error
    return found
