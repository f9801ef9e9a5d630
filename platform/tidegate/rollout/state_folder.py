"""Where the local target and rollouts keep their files below the state folder, and the files of what is wanted.

`target/desired-<model>.json` is replaced atomically under a lock, with a generation that grows by one, so two writers
cannot overwrite each other unseen. `target/observed.json` is the supervisor's latest look, with the time of it.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidegate.domain.durable_files import locked, replace_durably
from tidegate.domain.errors import Conflict, IntegrityError, InvalidInput
from tidegate.domain.slots import Desired

STALE_SECONDS = 3.0  # an observation older than this says nothing any more


@dataclass(frozen=True)
class StateFolder:
    root: Path

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def envoy(self) -> Path:
        return self.target / "envoy"

    @property
    def pids(self) -> Path:
        return self.target / "pids"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts"

    @property
    def observed(self) -> Path:
        return self.target / "observed.json"

    @property
    def supervisor_lock(self) -> Path:
        return self.target / "supervisor.lock"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    def release(self, digest: str) -> Path:
        return self.root / "releases" / digest

    def desired(self, model: str) -> Path:
        return self.target / f"desired-{model}.json"


def read_desired(state: StateFolder, model: str) -> Desired:
    """What is wanted for `model`; nothing (generation 0) when it was never said."""
    path = state.desired(model)
    if not path.is_file():
        return Desired(model=model)
    try:
        return Desired.from_json(json.loads(path.read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"reading what is wanted for model {model}: {path} is damaged ({error}); restore or remove it"
        ) from error


def all_desired(state: StateFolder) -> list[Desired]:
    """What is wanted for every model, by name."""
    names = sorted(path.name.removeprefix("desired-").removesuffix(".json") for path in state.target.glob("desired-*.json"))
    return [read_desired(state, name) for name in names]


def check_transition(old: Desired, new: Desired) -> None:
    """Refuse wants that could give live traffic to something unproven; raises InvalidInput or Conflict."""
    if new.active is not None and new.active_release is None:
        raise InvalidInput(f"model {new.model}: slot {new.active} cannot be active, it has no release")
    if new.mirror and (new.active is None or new.release_of(new.active.other) is None):
        raise InvalidInput(f"model {new.model}: mirroring needs an active slot and a release in the other one")
    if old.active is not None and new.active is old.active and new.active_release != old.active_release:
        raise Conflict(
            f"model {new.model}: the release of the active slot {old.active} cannot be changed in place; use the other slot"
        )


def write_desired(state: StateFolder, desired: Desired, expected_generation: int) -> Desired:
    """Replace what is wanted if its generation is still `expected_generation`; returns it with the new generation."""
    with locked(state.target / f"desired-{desired.model}.lock"):
        old = read_desired(state, desired.model)
        if old.generation != expected_generation:
            raise Conflict(
                f"changing what is wanted for model {desired.model}: generation is {old.generation}, "
                f"expected {expected_generation}; someone else changed it, look at 'tidegate status' and retry"
            )
        check_transition(old, desired)
        new = replace(desired, generation=old.generation + 1)
        replace_durably(state.desired(desired.model), json.dumps(new.to_json()).encode())
        return new


def read_observed(state: StateFolder) -> dict[str, Any] | None:
    """The supervisor's latest look, or None when there is none or it is stale."""
    try:
        observed: dict[str, Any] = json.loads(state.observed.read_bytes())
    except (OSError, ValueError):
        return None
    return observed if time.time() - observed.get("at", 0.0) <= STALE_SECONDS else None
