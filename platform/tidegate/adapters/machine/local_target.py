"""The local target: what is wanted is a file, what is comes from the supervisor's observations and from Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.adapters.envoy.routes import EnvoyRouter
from tidegate.adapters.envoy.stats import slot_traffic
from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LOOPBACK, LocalConfig
from tidegate.domain.slots import Desired, Slot
from tidegate.files.layout import StateFolder
from tidegate.ports.traffic import SlotStatus, SlotTraffic
from tidegate.rollout.wanted import read_desired, read_observed, write_desired


class LocalTarget:
    """The Target port over a state folder and a running supervisor (`tidegate.rollout.local.supervisor`)."""

    def __init__(self, state: Path, config: LocalConfig) -> None:
        self.state = StateFolder(state)
        self.config = config
        self.router = EnvoyRouter(self.state.envoy, self.state.logs, config)

    @property
    def gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.config.gateway_port}"

    def desired(self, model: str) -> Desired:
        return read_desired(self.state, model)

    def set_desired(self, desired: Desired, expected_generation: int) -> Desired:
        return write_desired(self.state, desired, expected_generation)

    def slots(self, model: str) -> Mapping[Slot, SlotStatus]:
        """Raises Unavailable when no supervisor looked within the last seconds: an old look proves nothing."""
        observed = self._observed(model)
        return {
            slot: SlotStatus(
                slot,
                value.get("release"),
                int(value.get("wanted", 0)),
                int(value.get("ready", 0)),
                str(value.get("problem", "")),
            )
            for slot in Slot
            for value in [observed.get(str(slot), {})]
        }

    def problems(self) -> list[str]:
        """What the supervisor could not do at its latest look, and what was set after it began; [] when there is none."""
        observed = read_observed(self.state) or {}
        found = [str(problem) for problem in observed.get("problems", {}).values()]
        store = observed.get("onlineStore", self.config.online_place)
        if store != self.config.online_place:
            found.append(
                f"slots read features from {store}, as it was set when the platform was started; targets.local.onlineStore is "
                f"{self.config.online_place} now: run 'tidegate features materialize' for each model, then 'tidegate down' and "
                "'tidegate up'"
            )
        return found

    def endpoints(self, model: str) -> Mapping[Slot, tuple[str, ...]]:
        """Base URLs of the ready replicas of each slot, to ask one of them past the gateway."""
        observed = self._observed(model)
        return {
            slot: tuple(
                f"http://{LOOPBACK}:{replica['port']}"
                for replica in observed.get(str(slot), {}).get("replicas", ())
                if replica["ready"]
            )
            for slot in Slot
        }

    def routed(self, model: str) -> tuple[Slot | None, bool]:
        return self.router.routed(model)

    def traffic(self, model: str) -> Mapping[Slot, SlotTraffic]:
        return slot_traffic(self.router.admin, model)

    def mirrored_traffic(self, model: str) -> Mapping[Slot, SlotTraffic]:
        return slot_traffic(self.router.admin, model, shadow=True)

    def _observed(self, model: str) -> dict[str, Any]:
        observed = read_observed(self.state)
        if observed is None:
            raise Unavailable(
                f"looking at the slots of model {model}: no supervisor is running; start it with 'tidegate serve'"
            )
        models: dict[str, dict[str, Any]] = observed.get("models", {})
        return models.get(model, {})
