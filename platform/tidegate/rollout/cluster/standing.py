"""How a rollout on a cluster stands, and what a person's order on it is: pure, of what is under way at one look."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate.domain.actor import Actor, named
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.rollout.admission import require_reason
from tidegate.rollout.plan import Plan, RolloutConfig, plan

LATE_S = 30.0  # after a gate's deadline the gate service has answered ERROR; before, the cluster must not give up


def plan_on(state: UnderWay | None, model: str, release: str, config: RolloutConfig, fresh: bool = False) -> Plan:
    """The plan that makes `release` (a digest) active, as things stand; `fresh` as if it were not live yet."""
    if state is None or state.live is None:
        return plan(model, release, Desired(model), config)
    slot = state.live_slot or Slot.BLUE
    digest = "another" if fresh and state.live == release else state.live
    blue, green = (digest, None) if slot is Slot.BLUE else (None, digest)
    return plan(model, release, Desired(model, blue, green, active=slot), config)


def gate_values(config: RolloutConfig) -> dict[str, Any]:
    """What the model's chart asks the gate service for: all gates of the plan, each for as long as its stage may last."""
    longest = max([check.deadline_seconds for check in config.checks] + ([config.bake.deadline_seconds] if config.bake else []))
    deadline = math.ceil(longest + LATE_S)
    before, after = list(config.gates_before), list(config.gates_after)
    return {"prePromotion": before, "postPromotion": after, "deadlineSeconds": deadline}


def chart_values(manifest: ReleaseManifest, config: RolloutConfig, image: str, of_project: Mapping[str, Any]) -> dict[str, Any]:
    """What the model's chart is given for a release: its gates are those of the plan, whatever the values file says."""
    return {**of_project, "model": manifest.model, "release": manifest.digest, "image": image, "gates": gate_values(config)}


def settled(now: UnderWay, phase: str, undecided: bool, switched: bool) -> str | None:
    """The end that a rollout has come to, None while it goes on."""
    if now.stopped:
        return "ROLLED_BACK" if switched and not now.switched else None if now.switched else "ABORTED"
    if undecided:
        return "FROZEN"
    return "DONE" if now.done and phase == "Healthy" else None


def is_wanted(now: UnderWay, digest: str) -> bool:
    """Whether a person ordered that release, and it is live or under way."""
    ordered = any(order.get("release") == digest for order in now.orders)
    return ordered and now.candidate == digest and not now.stopped


def frozen_seconds(orders: Sequence[Mapping[str, Any]], since: float, now: float) -> float:
    """How long people's freezes have held a stage that began at `since`, by their orders, oldest first."""
    total, frozen_at = 0.0, None
    for each in orders:
        if each["order"] == "freeze" and frozen_at is None:
            frozen_at = max(since, each["at"])
        elif each["order"] == "unfreeze" and frozen_at is not None:
            total, frozen_at = total + max(0.0, each["at"] - frozen_at), None
    return total + (max(0.0, now - frozen_at) if frozen_at is not None else 0.0)


def order(kind: str, actor: Actor, reason: str, **about: str) -> dict[str, Any]:
    """Raises InvalidInput for one without a reason."""
    require_reason(reason)
    return {"id": uuid.uuid4().hex, "order": kind, **named(actor), "reason": reason, "at": time.time(), **about}
