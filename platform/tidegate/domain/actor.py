"""An actor: an identity and how it was proven. A name that anyone may type is a claim, kept beside the identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.domain.formats import Format, Unknown, added

ACTOR = Format("actor", Unknown.IGNORED)


@dataclass(frozen=True)
class Actor:
    """`proof` says where the identity comes from, empty where nothing does; `proven` only where somebody else than the actor
    vouches for it, as an API server does. `claim` is the name given in place of the identity, empty where none was."""

    identity: str
    proof: str = added(default="")
    proven: bool = added(default=False)
    roles: tuple[str, ...] = added(default=())
    claim: str = added(default="")

    @property
    def name(self) -> str:
        return self.claim or self.identity

    def claiming(self, name: str) -> Actor:
        """This actor under a name of its choice."""
        return replace(self, claim="" if name == self.identity else name)

    def __str__(self) -> str:
        about = [*([] if self.proven else ["unproven"]), *([self.proof] if self.proof else [])]
        if self.claim:
            return f"{self.claim} (as {self.identity} says, {', '.join(about)})"
        return f"{self.identity} ({', '.join(about)})"
