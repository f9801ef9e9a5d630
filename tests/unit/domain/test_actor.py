"""Who acts is said with how it was proven, and a claim is not taken for an identity."""

from __future__ import annotations

import pytest

from tidegate.domain.actor import ACTOR, Actor, named, named_in
from tidegate.domain.formats import document

LOGIN = Actor("alice", "login of uid 1000")


@pytest.mark.parametrize(
    ("actor", "said"),
    [
        (LOGIN, "alice (unproven, login of uid 1000)"),
        (LOGIN.claiming("alice"), "alice (unproven, login of uid 1000)"),
        (LOGIN.claiming("ada"), "ada (as alice says, unproven, login of uid 1000)"),
        (Actor("ada"), "ada (unproven)"),
        (Actor("gates", "service account", proven=True), "gates (service account)"),
    ],
)
def test_what_is_said_of_an_actor_names_its_proof(actor: Actor, said: str) -> None:
    assert str(actor) == said


def test_an_actor_is_written_as_what_is_known_of_it_and_read_back() -> None:
    assert document(LOGIN) == {"identity": "alice", "proof": "login of uid 1000"}
    later = {**document(LOGIN.claiming("ada")), "tenant": "t"}
    assert ACTOR.read(later, Actor, "here") == LOGIN.claiming("ada")


def test_a_document_names_an_actor_by_a_name_and_by_what_is_known_of_the_identity() -> None:
    assert named(LOGIN.claiming("ada")) == {"actor": "ada", "by": {"identity": "alice", "proof": "login of uid 1000"}}
    assert named(Actor("tidegate")) == {"actor": "tidegate"}
    for actor in (LOGIN, LOGIN.claiming("ada"), Actor("tidegate")):
        assert named_in({"reason": "known", **named(actor)}) == actor


def test_what_a_document_says_of_an_actor_proves_nothing() -> None:
    reviewed = Actor("ada", "the API server's review", proven=True, roles=("system:masters",))
    assert named_in(named(reviewed)) == Actor("ada", "the API server's review")


@pytest.mark.parametrize("by", [None, 7, "root", [], {}, {"identity": 7}, {"identity": "root", "proven": "yes"}])
def test_an_identity_that_cannot_be_read_leaves_the_name(by: object) -> None:
    assert named_in({"actor": "ada", "by": by}) == Actor("ada")
    assert named_in({"by": by}) == Actor("unknown")
