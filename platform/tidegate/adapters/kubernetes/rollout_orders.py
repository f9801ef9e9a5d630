"""Orders of people on a Rollout of Argo Rollouts, and which of them are in force.

They are annotations: who may write them is a matter of the cluster's RBAC, and its audit log has them.

    tidegate/orders             the latest orders, oldest first: [{"id", "order", "actor", "by", "reason", "at", ...}]
    tidegate/hold               the freeze that is in force: nothing goes forward
    tidegate/override-<gate>    the override of that gate

"order" is rollout, rollback, abort, freeze, unfreeze or override; "release" and "gate" say what it is about. An override or a
rollback counts for the rollout that it was given for: "revision" is what Argo Rollouts numbered the last that it had seen, and
the one that is wanted is that or the next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidegate.domain.actor import UNKNOWN, named

ORDERS, HOLD, OVERRIDE = "tidegate/orders", "tidegate/hold", "tidegate/override-"
KINDS = ("rollout", "rollback", "abort", "freeze", "unfreeze", "override")  # of orders
NEEDED = {"id", "order", "actor", "reason", "at"}
FIELDS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys((*sorted(NEEDED - {"at"}), "release", "gate"), str),
    "at": (int, float),
    "revision": int,
    "by": dict,
}
KEPT_ORDERS, KEPT_BYTES = 50, 64 * 1024  # of those on a Rollout, whose annotations may have 256 KiB in all
REVISION = "rollout.argoproj.io/revision"
Json = dict[str, Any]


def annotations_of(found: Json) -> Mapping[str, str]:
    return found.get("metadata", {}).get("annotations") or {}


def hold(rollout: Json) -> Json | None:
    text = annotations_of(rollout).get(HOLD)
    return None if text is None else _order(text) or {**named(UNKNOWN), "reason": f"{HOLD} cannot be read", "at": 0.0}


def overrides(rollout: Json, candidate: str) -> dict[str, Json]:
    """Orders that can be read and are about this rollout of this release; anything else overrides nothing."""
    found = {
        name.removeprefix(OVERRIDE): _order(text) for name, text in annotations_of(rollout).items() if name.startswith(OVERRIDE)
    }
    return {gate: order for gate, order in found.items() if order is not None and _about(order, rollout, candidate)}


def past_gates(rollout: Json, candidate: str) -> bool:
    return any(order["order"] == "rollback" and _about(order, rollout, candidate) for order in orders(rollout))


def _about(order: Json, rollout: Json, candidate: str) -> bool:
    """Whether it was given for the rollout that is wanted now, and not for an earlier one of the same release."""
    seen = revision(rollout)
    return order.get("release") == candidate and order.get("revision") in (seen - 1, seen)


def revision(rollout: Json) -> int:
    """Of the rollout that Argo Rollouts took notice of last; 0 before the first."""
    return int(annotations_of(rollout).get(REVISION, 0))


def orders(rollout: Json) -> list[Json]:
    """Those that can be read, and of each what an order has: the ledger records them as they are."""
    try:
        found = json.loads(annotations_of(rollout).get(ORDERS, "[]"))
    except ValueError:
        return []
    objects = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    known = [{name: each[name] for name, kind in FIELDS.items() if isinstance(each.get(name), kind)} for each in objects]
    return [each for each in known if set(each) >= NEEDED and each["order"] in KINDS]


def with_order(rollout: Json, order: Json) -> str:
    """The text of the orders on the Rollout and another one; the oldest make room."""
    kept = [*orders(rollout), order][-KEPT_ORDERS:]
    while len(text := json.dumps(kept)) > KEPT_BYTES and len(kept) > 1:
        del kept[0]
    return text


def _order(text: str) -> Json | None:
    try:
        order = json.loads(text)
    except ValueError:
        return None
    complete = isinstance(order, dict) and str(order.get("actor", "")).strip() and str(order.get("reason", "")).strip()
    return order if complete else None
