"""A model whose release 1 is live, releases 1 to 3, gates that pass, a clock that stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import rollouts as fakes
from tidegate.domain.actor import Actor
from tidegate.domain.slots import Desired, Slot
from tidegate.ledger.memory import MemoryLedger
from tidegate.rollout.engine import Engine
from tidegate.rollout.orders import Orders
from tidegate.rollout.plan import RolloutConfig
from tidegate.rollout.state import Rollout, RolloutStore


class World:
    """Everything an engine needs; `restart` forgets what only its process knew."""

    def __init__(self, folder: Path, config: RolloutConfig | None = None) -> None:
        self.clock = fakes.Clock()
        self.releases = [fakes.manifest(str(n)) for n in (1, 2, 3)]
        self.target = fakes.FakeTarget()
        self.gates = {name: fakes.FakeGate(name) for name in ("parity", "shadow", "drift", "bake")}
        self.store = RolloutStore(folder)
        self.ledger = MemoryLedger(self.clock)
        self.config = config or fakes.CONFIG
        self.finished: list[str] = []
        self.orders = Orders(self.store, self.target, self.ledger, Actor("ada"), self.clock)
        self.restart()
        self.target.set_desired(Desired("demand", blue=self.releases[0].digest, active=Slot.BLUE), 0)
        self.id = ""

    def restart(self) -> None:
        self.evaluations = fakes.InlineEvaluations(self.gates, self.clock)
        self.engine = Engine(
            RolloutStore(self.store.folder),
            self.target,
            self.ledger,
            self.evaluations,
            fakes.Releases(*self.releases),
            lambda rollout: self.finished.append(rollout.candidate),
            self.clock,
        )

    def start(self, number: int = 2) -> Rollout | None:
        rollout = self.orders.start(self.releases[number - 1], self.config)
        if rollout is not None:
            self.id = rollout.id
        return rollout

    @property
    def rollout(self) -> Rollout:
        return self.store.load("demand", self.id)

    def step(self, seconds: float = 1.0) -> Rollout:
        self.clock.now += seconds
        return self.engine.step("demand", self.id)

    def run(self, until: str = "", steps: int = 400) -> Rollout:
        """Step until the stage of kind or gate `until`, or the end of the rollout."""
        for _ in range(steps):
            stage = self.rollout.current
            if not self.rollout.needs_controller or (until and until in (getattr(stage, "gate", ""), stage and stage.kind)):
                break
            self.step()
        return self.rollout

    def actions(self) -> list[str]:
        return [entry.action for entry in self.ledger.entries()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)
