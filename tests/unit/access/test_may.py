"""Who may do what is decided from roles as plain data, by identities and groups, never by a name that was typed."""

from __future__ import annotations

import pytest

from tidegate.access.may import may
from tidegate.domain.access import VERBS, Access, Role
from tidegate.domain.actor import PLATFORM, Actor

ADA = Actor("ada", "login of uid 1000")
BOB = Actor("bob", "login of uid 1001")
ON_CALL = Actor("eve@works", "the API server's review", proven=True, roles=("on-call", "system:authenticated"))
ROLES = Access(
    {
        "owner": Role(name="owner", members=("ada",), verbs=("*",)),
        "on_call": Role(name="on_call", members=("on-call",), verbs=("freeze", "rollback"), models=("demand",)),
        "auditor": Role(name="auditor", members=("bob", "carol"), verbs=("approve",), proven=True),
    }
)


@pytest.mark.parametrize("verb", VERBS)
def test_without_roles_whoever_can_run_a_command_may_run_it(verb: str) -> None:
    assert may(Access(), BOB, verb, "demand").allowed


@pytest.mark.parametrize(
    ("actor", "verb", "model", "allowed", "reason"),
    [
        (ADA, "promote", "returns", True, "by role owner"),
        (BOB, "promote", "returns", False, "it takes role owner"),
        (ON_CALL, "rollback", "demand", True, "by role on_call"),
        (ON_CALL, "rollback", "returns", False, "it takes role owner"),
        (BOB, "freeze", "demand", False, "it takes role on_call or owner"),
        (BOB, "approve", "demand", False, "it takes role auditor or owner"),
        (Actor("bob", "the API server's review", proven=True), "approve", "demand", True, "by role auditor"),
        (PLATFORM, "rollback", "returns", True, "the platform does it by itself"),
    ],
)
def test_a_verb_on_a_model_is_open_to_those_who_have_a_role_that_gives_it(
    actor: Actor, verb: str, model: str, allowed: bool, reason: str
) -> None:
    decision = may(ROLES, actor, verb, model)
    assert (decision.allowed, decision.reason) == (allowed, reason)


@pytest.mark.parametrize("name", ["ada", "tidegate", "on-call"])
def test_a_name_that_was_typed_gives_nothing(name: str) -> None:
    assert not may(ROLES, BOB.claiming(name), "rollback", "demand").allowed


def test_what_no_role_gives_nobody_may() -> None:
    only = Access({"on_call": ROLES.roles["on_call"]})
    assert may(only, ADA, "sign", "demand").reason == "no role gives 'sign' on model demand"
