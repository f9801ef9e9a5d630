"""Which release a rollback goes back to: the last that was live and good, never one that was taken back itself.

A release is good when its rollout was done, and until it was rolled back from: by a person's order, or by a gate after it had
the live traffic. A later rollout of it that is done makes it good again.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.rollout.plan import SHORT
from tidegate.rollout.state import Rollout, Status


def taken_back(history: Sequence[Rollout]) -> dict[str, str]:
    """Releases (digests) that were rolled back from, each with how that came; `history` is oldest first."""
    found: dict[str, str] = {}
    for rollout in history:
        if rollout.kind == "rollback" and rollout.status is Status.DONE and rollout.plan.previous:
            why = rollout.history[0]["message"] if rollout.history else ""
            found[rollout.plan.previous] = f"rolled back from by {rollout.actor.name}: {why}"
        elif rollout.status is Status.DONE:
            found.pop(rollout.candidate, None)
        elif rollout.status is Status.ROLLED_BACK and rollout.switched and rollout.kind != "rollback":
            found[rollout.candidate] = f"taken back: {rollout.reason}"
    return found


def was_live(history: Sequence[Rollout]) -> list[str]:
    """Releases that were live for good, in the order in which they last became so: those whose rollout was done, and what was
    active before one of them, though its own record may be gone."""
    found: dict[str, None] = {}
    for rollout in history:
        if rollout.status is Status.DONE:
            if rollout.plan.previous:
                found.setdefault(rollout.plan.previous)
            found.pop(rollout.candidate, None)
            found[rollout.candidate] = None
    return list(found)


def way_back(model: str, history: Sequence[Rollout], active: str | None, to: str | None = None) -> str:
    """The release to go back to, `to` when a person names one; raises NotFound where there is none, InvalidInput for one that
    never passed its gates."""
    live = was_live(history)
    if to is not None:
        if to == active:
            raise InvalidInput(f"rolling back model {model}: {_id(model, to)} is live already")
        if to not in live:
            raise InvalidInput(
                f"rolling back model {model} to {_id(model, to)}: no rollout of it was ever done, and a rollback asks no gate; "
                f"start one with 'tidegate rollout {model} --release {_id(model, to)}'"
            )
        return to
    fallen = taken_back(history)
    earlier = [release for release in live if release != active]
    good = [release for release in earlier if release not in fallen]
    if good:
        return good[-1]
    if not earlier:
        raise NotFound(f"rolling back model {model}: no release was active before the present one")
    told = "; ".join(f"{_id(model, release)} was {fallen[release]}" for release in reversed(earlier))
    raise NotFound(
        f"rolling back model {model}: every earlier release was taken back itself ({told}); choose one with "
        f"'tidegate rollback {model} --to {_id(model, earlier[-1])} --reason TEXT'"
    )


def _id(model: str, digest: str) -> str:
    return f"{model}@{digest[:SHORT]}"
