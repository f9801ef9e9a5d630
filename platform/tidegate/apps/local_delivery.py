"""Rollouts of the local target: orders are left in the rollout's record, and its controller carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import NotFound
from tidegate.ports.delivery import UNCHANGED, Capabilities, RollbackTarget, RolloutView, Say, Standing

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform
    from tidegate.rollout.orders import Orders
    from tidegate.rollout.plan import Plan
    from tidegate.rollout.state import Rollout


class LocalDelivery:
    """`Delivery` on this machine. What starts a rollout starts the supervisor, whose controller drives it, whoever follows."""

    capabilities = Capabilities()

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def whoami(self) -> Actor:
        return self._platform.whoami

    def orders(self, actor: Actor = PLATFORM) -> Orders:
        return self._platform.orders(actor)

    def plan(self, model: str, release: str | None) -> Plan:
        manifest, config = self._platform.to_roll_out(model, release)
        return self.orders().plan(manifest, config)

    def start(
        self, model: str, release: str | None, actor: Actor, overrides: Mapping[str, str], image: str | None, say: Say
    ) -> Standing:
        platform = self._platform
        platform.before_a_step_forward(model)
        manifest, config = platform.to_roll_out(model, release)
        platform.releases.verify(manifest.digest)
        platform.admit(manifest)
        platform.up()
        begun = self.orders(actor).start(manifest, config, overrides)
        if begun is not None:
            return self._standing(begun)
        why = f"{manifest.id} is live already: nothing to do"
        return Standing(manifest.model, manifest.id, RolloutView(manifest.id, UNCHANGED, why))

    def follow(self, model: str, id: str, say: Say) -> Standing:
        """A way back is gone by this very process when no supervisor does it."""
        from tidegate.apps.standby import follow_as_standby

        return self._standing(follow_as_standby(self._platform.project, model, id, say, self._platform.up))

    def standing(self, model: str) -> Standing:
        found = self._platform.rollouts.latest(self._name(model))
        if found is None:
            raise NotFound(f"model '{model}' has had no rollout; start one with 'tidegate rollout {model}'")
        return self._standing(found)

    def overview(self, model: str, with_drift: bool) -> Standing:
        return self._platform.status(model, with_drift)

    def abort(self, model: str, reason: str, actor: Actor) -> Standing:
        return self._standing(self.orders(actor).abort(self._name(model), reason))

    def freeze(self, model: str, reason: str, actor: Actor) -> None:
        self.orders(actor).freeze(self._name(model), reason)

    def unfreeze(self, model: str, reason: str, actor: Actor) -> Standing | None:
        going = self.orders(actor).unfreeze(self._name(model), reason)
        return None if going is None else self._driven(going)

    def override(self, model: str, gate: str, reason: str, actor: Actor) -> Standing:
        """A rollout that this gate froze goes on."""
        return self._driven(self.orders(actor).override(self._name(model), gate, reason))

    def rollback_target(self, model: str, to: str | None) -> RollbackTarget:
        platform = self._platform
        live = platform.release(platform.live_release(model)).id
        back = self.orders().goes_back_to(self._name(model), self._digest(model, to))
        return RollbackTarget(live, platform.release(back).id if back else None)

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None, say: Say) -> Standing:
        from tidegate.apps.rollouts import rollout_config
        from tidegate.apps.standby import free_locks

        platform, digest = self._platform, self._digest(model, to)
        config = rollout_config(platform.monitor(model))
        free_locks(platform.project)
        ordered = self.orders(actor).rollback(self._name(model), reason, platform.release, config, digest)
        return self.follow(model, ordered.id, say)

    def _name(self, model: str) -> str:
        return self._platform.project.model(model).name

    def _digest(self, model: str, to: str | None) -> str | None:
        return self._platform.own_release(model, to).digest if to else None

    def _driven(self, rollout: Rollout) -> Standing:
        if rollout.needs_controller:
            self._platform.up()
        return self._standing(rollout)

    def _standing(self, found: Rollout) -> Standing:
        from tidegate.apps.model_status import standing_of

        return standing_of(self._platform, found)
