"""Who may do what with a project's models, as plain data: roles of the project file, and the verbs that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.domain.fields import key

ANY = "*"
ROLLOUT, ABORT, FREEZE, UNFREEZE, OVERRIDE, ROLLBACK = "rollout", "abort", "freeze", "unfreeze", "override", "rollback"
PROMOTE, APPROVE, ACCEPT, RECONCILE, BUILD, SIGN = "promote", "approve", "accept", "reconcile", "build", "sign"
VERBS = (PROMOTE, APPROVE, ACCEPT, RECONCILE, BUILD, SIGN, ROLLOUT, ABORT, FREEZE, UNFREEZE, OVERRIDE, ROLLBACK)


@dataclass(frozen=True, kw_only=True)
class Role:
    """Some verbs on some models, for some actors."""

    name: str
    members: tuple[str, ...] = key(
        "members",
        "Identities: logins on this machine, users, service accounts and groups as the API server of a cluster names them.",
        pattern=r"^\S.*$",
    )
    verbs: tuple[str, ...] = key("verbs", "What its members may do; `*` is everything.", pattern=rf"^(\*|{'|'.join(VERBS)})$")
    models: tuple[str, ...] = key(
        "models", "With which models; `*` is all.", default=(ANY,), pattern=r"^(\*|[a-z][a-z0-9_-]*)$"
    )
    proven: bool = key(
        "proven", "Only for identities that an API server vouches for; a login on a machine is not.", default=False
    )


@dataclass(frozen=True)
class Access:
    """Without roles, whoever can run a command may run it."""

    roles: Mapping[str, Role] = key("roles", "Roles by name.", factory=dict)
