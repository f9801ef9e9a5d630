"""Who acts is said with how it was proven, and a claim is not taken for an identity."""

from __future__ import annotations

import pytest

from tidegate.domain.actor import ACTOR, Actor
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
