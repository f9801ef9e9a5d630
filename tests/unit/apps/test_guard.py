"""An order from who may not give it changes nothing, is said in one sentence and is in the ledger; on each target alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fakes.delivery import FakeDelivery
from tidegate.apps.guard import Guard, GuardedDelivery
from tidegate.domain.access import Access, Role
from tidegate.domain.actor import Actor
from tidegate.domain.errors import AccessDenied, Unavailable
from tidegate.ledger.memory import MemoryLedger

ADA, BOB = Actor("ada", "login of uid 1000"), Actor("bob", "login of uid 1001")
ROLES = Access(
    {
        "owner": Role(name="owner", members=("ada",), verbs=("*",)),
        "starter": Role(name="starter", members=("bob",), verbs=("rollout",)),
    }
)
ORDERS: dict[str, Callable[[GuardedDelivery, Actor], object]] = {
    "rollout": lambda to, who: to.start("demand", None, who, {}, None, lambda _: None),
    "abort": lambda to, who: to.abort("demand", "known", who),
    "freeze": lambda to, who: to.freeze("demand", "known", who),
    "unfreeze": lambda to, who: to.unfreeze("demand", "known", who),
    "override": lambda to, who: to.override("demand", "drift", "known", who),
    "rollback": lambda to, who: to.rollback("demand", "known", who, None, lambda _: None),
}


@pytest.mark.parametrize("verb", [verb for verb in ORDERS if verb != "rollout"])
def test_an_order_is_taken_from_those_alone_who_may_give_it(verb: str) -> None:
    ledger, target = MemoryLedger(), FakeDelivery()
    guarded = GuardedDelivery(target, Guard(ROLES, ledger))
    ORDERS[verb](guarded, ADA.claiming("countess"))
    assert (len(target.orders), list(ledger.entries())) == (1, [])
    said = rf"^{verb} of model demand by bob \(unproven, login of uid 1001\) is refused: it takes role owner; whoever keeps"
    with pytest.raises(AccessDenied, match=said):
        ORDERS[verb](guarded, BOB)
    assert len(target.orders) == 1
    (entry,) = ledger.entries()
    assert (entry.action, entry.subject, entry.who) == ("access.refused", "demand", BOB)
    assert entry.body == {"verb": verb, "reason": "it takes role owner"}


def test_a_rollout_past_a_gate_needs_leave_to_override_too() -> None:
    target = FakeDelivery()
    guarded = GuardedDelivery(target, Guard(ROLES, MemoryLedger()))
    ORDERS["rollout"](guarded, BOB)
    with pytest.raises(AccessDenied, match="override of model demand"):
        guarded.start("demand", None, BOB, {"drift": "known"}, None, lambda _: None)
    assert [order[0] for order in target.orders] == ["start"]


def test_a_ledger_that_takes_nothing_is_no_way_in() -> None:
    class Full(MemoryLedger):
        def append_many(self, drafts: object) -> list:  # type: ignore[override]
            raise Unavailable("the disk is full")

    guarded = GuardedDelivery(target := FakeDelivery(), Guard(ROLES, Full()))
    with pytest.raises(AccessDenied):
        ORDERS["rollback"](guarded, BOB)
    assert target.orders == []
