"""What is wanted of each model, and what the supervisor last observed, as files of the state folder.

`target/desired-<model>.json` is replaced atomically under a lock, with a generation that grows by one, so two writers
cannot overwrite each other unseen. Where it is gone or damaged, the model's rollout records say what is wanted: a file that
vanished neither takes a release from live traffic nor lets the next one past its gates as if it were the first.
`target/observed.json` is the supervisor's latest look, with the time of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from tidegate.domain.clocks import Reading
from tidegate.domain.errors import Conflict, IntegrityError, InvalidInput, TidegateError, Unavailable
from tidegate.domain.formats import WrittenByNewer
from tidegate.domain.slots import Desired
from tidegate.files.durable_files import locked, read_json, replace_durably
from tidegate.files.layout import StateFolder
from tidegate.rollout.recovery import recorded
from tidegate.rollout.state import RolloutStore

STALE_SECONDS = 3.0  # an observation older than this says nothing any more


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a model; `problem` says why that does not come from its file, `restorable` whether it may be written
    there again."""

    desired: Desired
    problem: str = ""
    restorable: bool = False


def look_up(state: StateFolder, model: str) -> Wanted:
    """What is wanted for `model`: as its file says, else as its latest rollout does; nothing (generation 0) when it was
    never said. Raises IntegrityError or Unavailable when neither can be read."""
    path = state.desired(model)
    what = f"what is wanted for model {model}"
    try:
        found = read_json(path, what, lambda value: Desired.from_json(value, f"{what}: {path}"), "restore it from a backup")
        if found is not None:
            return Wanted(found)
        problem: TidegateError | None = None
    except WrittenByNewer:
        raise  # it is not damaged, and says what is wanted to who can read it
    except (IntegrityError, Unavailable) as error:
        problem = error
    store = RolloutStore(state.rollouts)
    latest = store.latest(model)
    if damaged := store.damaged(model):
        raise IntegrityError(f"{problem or f'{what}: {path} is gone'}; nor can it be told from the rollouts: {damaged[0]}")
    desired = recorded(latest) if latest is not None else Desired(model)
    if latest is None or (problem is None and desired.active is None):
        if problem is not None:
            raise problem
        return Wanted(desired)
    seen = problem or f"{what}: {path} is gone"
    says = f"{desired.active_release[:12]} is live in {desired.active}" if desired.active_release else "nothing is live"
    found_by = f"{seen}; rollout {latest.id} says that {says}, and that is what counts until the file is there again"
    return Wanted(desired, found_by, not isinstance(problem, Unavailable))


def read_desired(state: StateFolder, model: str) -> Desired:
    return look_up(state, model).desired


def known_models(state: StateFolder) -> list[str]:
    """Every model of which anything was ever wanted, by name."""
    named = {path.name.removeprefix("desired-").removesuffix(".json") for path in state.target.glob("desired-*.json")}
    return sorted(named | set(RolloutStore(state.rollouts).models()))


def restore_desired(state: StateFolder, model: str) -> Desired | None:
    """Write what the records say where the file is gone or damaged, which is kept as `.damaged`; None when it is neither."""
    path = state.desired(model)
    with locked(state.target / f"desired-{model}.lock"):
        found = look_up(state, model)
        if not found.restorable:
            return None
        try:
            if path.exists():
                path.replace(path.with_name(path.name + ".damaged"))
        except OSError as error:
            raise Unavailable(f"restoring {path}: {error.strerror or error}; move it away by hand") from error
        restored = replace(found.desired, generation=1)
        replace_durably(path, json.dumps(restored.to_json()).encode())
        return restored


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
    """The supervisor's latest look, or None when there is none, it cannot be read, or it is stale by the boot-time clock."""
    try:
        found = read_json(state.observed, "the supervisor's latest look", _observed, "the supervisor writes it again")
    except TidegateError:
        return None
    if found is None or Reading.from_json(found).seconds_until(Reading.now()) > STALE_SECONDS:
        return None
    return found


def _observed(value: Any) -> dict[str, Any]:
    """The parts that readers count on; what is missing raises KeyError."""
    Reading.from_json(value)
    gateway, models = dict(value["gateway"]), {str(name): dict(slots) for name, slots in value["models"].items()}
    return {**value, "gateway": {"ready": False, **gateway}, "models": models, "problems": dict(value["problems"])}
