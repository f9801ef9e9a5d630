"""An actor: an identity and how it was proven. A name that anyone may type is a claim, kept beside the identity.

Documents that people read and write (orders, freezes, overrides, what waits for the ledger) name an actor by two keys:
`actor`, the name, and `by`, what is known of the identity behind it. Whoever can write such a document can write both, so what
is read from one is never proven, whatever it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate.domain.errors import IntegrityError
from tidegate.domain.formats import Format, Unknown, added, document

ACTOR = Format("actor", Unknown.IGNORED)
KEYS = ("actor", "by")  # of a document that names one


@dataclass(frozen=True)
class Actor:
    """`proof` says where the identity comes from, empty where nothing does; `proven` only where somebody else than the actor
    vouches for it, as an API server does. `roles` are the groups that come with the identity, from the same source. `claim` is
    the name given in place of the identity, empty where none was."""

    identity: str
    proof: str = added(default="")
    proven: bool = added(default=False)
    roles: tuple[str, ...] = added(default=())
    claim: str = added(default="")

    @property
    def name(self) -> str:
        return self.claim or self.identity

    @property
    def unclaimed(self) -> Actor:
        """The identity, whatever name it goes by."""
        return replace(self, claim="")

    def claiming(self, name: str) -> Actor:
        """This actor under a name of its choice."""
        return replace(self, claim="" if name == self.identity else name)

    def __str__(self) -> str:
        about = [*([] if self.proven else ["unproven"]), *([self.proof] if self.proof else [])]
        if self.claim:
            return f"{self.claim} (as {self.identity} says, {', '.join(about)})"
        return f"{self.identity} ({', '.join(about)})"


PLATFORM = Actor("tidegate")  # does by itself what nobody ordered
UNKNOWN = Actor("unknown")


def named(actor: Actor) -> dict[str, Any]:
    """The two keys of a document that name an actor; `by` only where there is more to say than the name."""
    return {"actor": actor.name, **({"by": document(actor.unclaimed)} if actor.proof else {})}


def named_in(document: Mapping[str, Any]) -> Actor:
    """The actor that a document names; raises for nothing that it may hold, and proves nothing."""
    name = str(document.get("actor") or UNKNOWN.name)
    try:
        identity = ACTOR.read(document["by"], Actor, "an order")
    except (KeyError, IntegrityError):
        return Actor(name)
    return replace(identity.claiming(name), proven=False, roles=())
