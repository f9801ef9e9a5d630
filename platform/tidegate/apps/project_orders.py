"""What people order of a project: who may, what the ledger has to take first, and the orders of rollouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.apps.opened import OpenedProject
from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import IntegrityError

if TYPE_CHECKING:
    from tidegate.rollout.orders import Orders


class ProjectOrders(OpenedProject):
    def allowed(self, verb: str, model: str, actor: Actor | None = None) -> Actor:
        """Who does it, by default who runs this process; raises AccessDenied for one who may not."""
        who = actor or self.whoami
        self.guard.require(who, verb, self.project.model(model).name)
        return who

    def orders(self, actor: Actor = PLATFORM) -> Orders:
        from tidegate.rollout.orders import Orders

        return Orders(self.rollouts, self.target, self.ledger, actor, self.clock)

    def before_a_step_forward(self, model: str) -> None:
        """Record what waits for the ledger. Raises IntegrityError while it does not verify, Unavailable while it is full."""
        verification = self.ledger.check()
        if not verification.ok:
            raise IntegrityError(f"ledger: {verification.problem}; nothing is promoted or rolled out until it is restored")
        with self.rollouts.lock(self.project.model(model).name):
            self.orders().recorder.catch_up(model)
