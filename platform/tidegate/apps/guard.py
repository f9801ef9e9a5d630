"""Where it is asked whether an actor may do what it orders: around a target's delivery, and by the platform's own steps.

A refusal is one sentence, and is in the ledger of the state folder before it is said; a ledger that takes nothing is no way in.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.access.may import may
from tidegate.domain.access import ABORT, FREEZE, OVERRIDE, ROLLBACK, ROLLOUT, UNFREEZE, Access
from tidegate.domain.actor import Actor
from tidegate.domain.errors import AccessDenied, TidegateError
from tidegate.ports.delivery import Capabilities, Delivery, Planned, RollbackTarget, Say, Standing
from tidegate.ports.ledger import Ledger

REFUSED = "access.refused"
logger = logging.getLogger("tidegate.access")


@dataclass(frozen=True)
class Guard:
    access: Access
    ledger: Ledger

    def require(self, actor: Actor, verb: str, model: str) -> None:
        """Raises AccessDenied."""
        decision = may(self.access, actor, verb, model)
        if decision.allowed:
            return
        try:
            self.ledger.append(REFUSED, model, {"verb": verb, "reason": decision.reason}, actor)
        except TidegateError as error:
            logger.warning("a refusal was not recorded: %s", error)
        raise AccessDenied(
            f"{verb} of model {model} by {actor} is refused: {decision.reason}; whoever keeps the project file gives roles "
            "(`access.roles`)"
        )


@dataclass(frozen=True)
class GuardedDelivery:
    """A `Delivery` that takes orders from those who may give them."""

    delivery: Delivery
    guard: Guard

    @property
    def capabilities(self) -> Capabilities:
        return self.delivery.capabilities

    def whoami(self) -> Actor:
        return self.delivery.whoami()

    def plan(self, model: str, release: str | None) -> Planned:
        return self.delivery.plan(model, release)

    def start(
        self, model: str, release: str | None, actor: Actor, overrides: Mapping[str, str], image: str | None, say: Say
    ) -> Standing:
        self.guard.require(actor, ROLLOUT, model)
        if overrides:
            self.guard.require(actor, OVERRIDE, model)
        return self.delivery.start(model, release, actor, overrides, image, say)

    def follow(self, model: str, id: str, say: Say) -> Standing:
        return self.delivery.follow(model, id, say)

    def standing(self, model: str) -> Standing:
        return self.delivery.standing(model)

    def overview(self, model: str, with_drift: bool) -> Standing:
        return self.delivery.overview(model, with_drift)

    def abort(self, model: str, reason: str, actor: Actor) -> Standing:
        self.guard.require(actor, ABORT, model)
        return self.delivery.abort(model, reason, actor)

    def freeze(self, model: str, reason: str, actor: Actor) -> None:
        self.guard.require(actor, FREEZE, model)
        self.delivery.freeze(model, reason, actor)

    def unfreeze(self, model: str, reason: str, actor: Actor) -> Standing | None:
        self.guard.require(actor, UNFREEZE, model)
        return self.delivery.unfreeze(model, reason, actor)

    def override(self, model: str, gate: str, reason: str, actor: Actor) -> Standing:
        self.guard.require(actor, OVERRIDE, model)
        return self.delivery.override(model, gate, reason, actor)

    def rollback_target(self, model: str, to: str | None) -> RollbackTarget:
        return self.delivery.rollback_target(model, to)

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None, say: Say) -> Standing:
        self.guard.require(actor, ROLLBACK, model)
        return self.delivery.rollback(model, reason, actor, to, say)
