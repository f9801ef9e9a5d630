"""A delivery for tests of commands: it says what it is told, and remembers the orders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidegate.domain.actor import Actor
from tidegate.ports.delivery import Capabilities, RollbackTarget, RolloutView, Say, Standing

RELEASE = "demand@3f2c91a07b5d"


class FakePlan:
    def describe(self) -> list[str]:
        return ["1. start it", "2. switch to it"]

    def to_json(self) -> dict[str, Any]:
        return {"stages": 2}


class FakeDelivery:
    """A rollout that begins with status `begins` and `ends` so; `seen` is the model at a glance."""

    def __init__(self) -> None:
        self.capabilities = Capabilities()
        self.ends = Standing("demand", RELEASE, RolloutView(RELEASE, "DONE", "it is live", "20111201-1"))
        self.begins = "RUNNING"
        self.seen = Standing("demand", RELEASE, running=True)
        self.orders: list[tuple[Any, ...]] = []

    def whoami(self) -> Actor:
        return Actor("alice", "login of uid 1000")

    def ending(self, **changes: Any) -> Standing:
        assert self.ends.rollout is not None
        return replace(self.ends, rollout=replace(self.ends.rollout, **changes))

    def plan(self, model: str, release: str | None) -> FakePlan:
        return FakePlan()

    def start(
        self, model: str, release: str | None, actor: Actor, overrides: Mapping[str, str], image: str | None, say: Say
    ) -> Standing:
        self.orders.append(("start", release, actor.name, dict(overrides), image))
        return self.ending(status=self.begins, reason="it has begun")

    def follow(self, model: str, id: str, say: Say) -> Standing:
        self.orders.append(("follow", id))
        return self.ends

    def standing(self, model: str) -> Standing:
        return self.ends

    def overview(self, model: str, with_drift: bool) -> Standing:
        return self.seen

    def abort(self, model: str, reason: str, actor: Actor) -> Standing:
        self.orders.append(("abort", reason, actor.name))
        return self.ends

    def freeze(self, model: str, reason: str, actor: Actor) -> None:
        self.orders.append(("freeze", reason, actor.name))

    def unfreeze(self, model: str, reason: str, actor: Actor) -> Standing | None:
        self.orders.append(("unfreeze", reason, actor.name))
        return self.ends

    def override(self, model: str, gate: str, reason: str, actor: Actor) -> Standing:
        self.orders.append(("override", gate, reason, actor.name))
        return self.ending(status="RUNNING")

    def rollback_target(self, model: str, to: str | None) -> RollbackTarget:
        return RollbackTarget(RELEASE, to)

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None, say: Say) -> Standing:
        self.orders.append(("rollback", reason, actor.name, to))
        return self.ends
