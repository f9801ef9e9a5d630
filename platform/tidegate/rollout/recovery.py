"""What rollout records say is wanted of a model, for when the file of it is gone or damaged.

Only the latest record counts, because each plan names what was live when it was made. The answer never gives a candidate
live traffic that its record did not already ask for: a rollout that is being undone, or was, counts as undone.
"""

from __future__ import annotations

from dataclasses import replace

from tidegate.domain.slots import Desired
from tidegate.rollout.plan import Check
from tidegate.rollout.state import Rollout, Status


def recorded(latest: Rollout) -> Desired:
    """What is wanted according to a model's latest rollout; nothing active when nothing was live before or after it."""
    plan = latest.plan
    switched = Desired(latest.model, active=plan.slot, **{str(plan.slot): latest.candidate})  # type: ignore[arg-type]
    if latest.status is Status.DONE:
        return switched
    before = Desired(latest.model)
    if plan.previous_slot is not None and plan.previous is not None:
        before = replace(before, active=plan.previous_slot, **{str(plan.previous_slot): plan.previous})  # type: ignore[arg-type]
    if latest.status.terminal or latest.undo is not None:
        return before
    if latest.switched:
        return replace(before, active=plan.slot, **{str(plan.slot): latest.candidate})  # type: ignore[arg-type]
    if latest.status is Status.FROZEN or latest.stage == 0:
        return before  # its engine asks for the candidate's slot again when it goes on
    mirror = isinstance(latest.current, Check) and latest.current.mirror and before.active is not None
    return replace(before, mirror=mirror, **{str(plan.slot): latest.candidate})  # type: ignore[arg-type]
