"""Which release a rollback goes back to: the last that was live and good, never one that was taken back itself.

A release is good when its rollout was done, and until it was rolled back from: by a person's order, or by a gate after it had
the live traffic. A later rollout of it that is done makes it good again.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.rollout.past import Past, earlier
from tidegate.rollout.plan import SHORT
from tidegate.rollout.state import Status


def taken_back(history: Sequence[Past]) -> dict[str, str]:
    """Releases (by the beginnings of their digests) that were rolled back from, each with how that came; `history` is oldest
    first."""
    found: dict[str, str] = {}
    for each in history:
        if each.kind == "rollback" and each.status is Status.DONE and each.previous:
            found[each.previous[:SHORT]] = f"rolled back from by {each.by}: {each.why}"
        elif each.status is Status.DONE:
            found.pop(each.candidate[:SHORT], None)
        elif each.status is Status.ROLLED_BACK and each.switched and each.kind != "rollback":
            found[each.candidate[:SHORT]] = f"taken back: {each.why}"
    return found


def rollback_target(model: str, history: Sequence[Past], active: str | None, to: str | None = None) -> str:
    """The release to go back to, `to` when a person names one; raises NotFound where there is none, InvalidInput for one that
    never passed its gates."""
    before = earlier(history, active)
    if to is not None:
        if to == active:
            raise InvalidInput(f"rolling back model {model}: {_id(model, to)} is live already")
        if to[:SHORT] not in {release[:SHORT] for release in before}:
            raise InvalidInput(
                f"rolling back model {model} to {_id(model, to)}: no rollout of it was ever done, and a rollback asks no gate; "
                f"start one with 'tidegate rollout {model} --release {_id(model, to)}'"
            )
        return to
    fallen = taken_back(history)
    good = [release for release in before if release[:SHORT] not in fallen]
    if good:
        return good[-1]
    if not before:
        raise NotFound(f"rolling back model {model}: no release was active before the present one")
    told = "; ".join(f"{_id(model, release)} was {fallen[release[:SHORT]]}" for release in reversed(before))
    raise NotFound(
        f"rolling back model {model}: every earlier release was taken back itself ({told}); choose one with "
        f"'tidegate rollback {model} --to {_id(model, before[-1])} --reason TEXT'"
    )


def _id(model: str, digest: str) -> str:
    return f"{model}@{digest[:SHORT]}"
