"""Which orders of people are taken, on whichever target: each needs a reason, and an override a check of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.domain.errors import Conflict, InvalidInput
from tidegate.domain.verdict import Evidence, GateResult, Verdict, to_json
from tidegate.rollout.plan import Check, Plan

OVERRIDDEN = "OVERRIDDEN"  # stands in a verdict's place


def require_reason(reason: str) -> None:
    """Raises InvalidInput."""
    if not reason.strip():
        raise InvalidInput("this order needs a reason, which the ledger keeps; give one with --reason")


def require_overridable(plan: Plan, overrides: Mapping[str, str]) -> None:
    """Raises InvalidInput for a gate that is no check before the switch, and for one without a reason."""
    gates = {stage.gate for stage in plan.stages if isinstance(stage, Check)}
    for gate, reason in overrides.items():
        if gate not in gates:
            raise InvalidInput(f"gate '{gate}' cannot be overridden, allowed are {', '.join(sorted(gates)) or 'none here'}")
        require_reason(reason)


def refuse_while_held(release: str, model: str, hold: Mapping[str, Any] | None, options: str = "") -> None:
    """Raises Conflict while a person's freeze holds the model; `options` are those with which it is lifted."""
    if hold is not None:
        raise Conflict(
            f"starting a rollout of {release}: model {model} is frozen by {hold['actor']} ({hold['reason']}); "
            f"'tidegate unfreeze {model}{options} --reason TEXT' lets it go"
        )


def overridden(gate: str, release: str, order: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> dict[str, Any]:
    """A person's word in the place of a verdict, which is named if there was one; with the keys of a verdict."""
    was = f"; it said {verdict['verdict']}: {verdict['evidence']['summary']}" if verdict else ""
    said = Evidence(f"by {order['actor']}: {order['reason']}{was}")
    return {**to_json(GateResult(gate, release, Verdict.ERROR, said)), "verdict": OVERRIDDEN, "at": order["at"]}
