"""Whether an actor may do something: decided from plain data, the `access:` of the project file.

Without it everybody who can run a command may run it: the file system's permissions, and on a cluster the API server's, are the
ones that there are. With it, a verb is open to those who have a role that gives it, by their identity or by a group that came
with the identity; a name that was typed gives nothing. What the platform does by itself is nobody's order and is not asked.

This keeps people of good will to what they agreed on, and every refusal is recorded. It stops nobody who can write the state
folder, or the cluster's objects, by other means.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.domain.access import ANY, Access, Role
from tidegate.domain.actor import PLATFORM, Actor


@dataclass(frozen=True)
class Decision:
    """`reason` is a clause for people: by what role, or what would be needed."""

    allowed: bool
    reason: str


def may(access: Access, actor: Actor, verb: str, model: str) -> Decision:
    """Whether `actor` may `verb` (of `tidegate.domain.access.VERBS`) the model of that name, or something of it."""
    if not access.roles:
        return Decision(True, "the project sets no roles")
    if actor == PLATFORM:
        return Decision(True, "the platform does it by itself")
    giving = {name: role for name, role in access.roles.items() if _gives(role, verb, model)}
    held = [name for name, role in giving.items() if _has(actor, role)]
    if held:
        return Decision(True, f"by role {held[0]}")
    asked = f"it takes role {' or '.join(sorted(giving))}" if giving else f"no role gives '{verb}' on model {model}"
    return Decision(False, asked)


def _gives(role: Role, verb: str, model: str) -> bool:
    return (verb in role.verbs or ANY in role.verbs) and (model in role.models or ANY in role.models)


def _has(actor: Actor, role: Role) -> bool:
    if role.proven and not actor.proven:
        return False
    return not {actor.identity, *actor.roles}.isdisjoint(role.members)
