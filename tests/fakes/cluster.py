"""A cluster's rollouts for tests: what is under way is set by the test, and mirroring remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tidegate.domain.errors import NotFound, Unavailable
from tidegate.domain.slots import Slot
from tidegate.ports.cluster_rollouts import UnderWay


@dataclass
class FakeCluster:
    """`away` makes every look fail."""

    models: dict[str, UnderWay] = field(default_factory=dict)
    mirrors: dict[str, bool] = field(default_factory=dict)
    shown: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)  # what the registry does not have
    away: bool = False

    def under_way(self, model: str) -> UnderWay:
        if self.away:
            raise Unavailable("the cluster is away")
        if model not in self.models:
            raise NotFound(f"no model '{model}'")
        return self.models[model]

    def mirror(self, model: str, on: bool) -> None:
        self.mirrors[model] = on

    def show_registry(self, model: str, due: Mapping[str, Any] | None) -> None:
        if self.away:
            raise Unavailable("the cluster is away")
        self.shown[model] = due

    def judges(self, model: str, candidate: str, live: str, since: float, asked: tuple[str, ...]) -> None:
        """The candidate is in preview, and verdicts of the gates `asked` about it are asked for."""
        self.models[model] = UnderWay(model, candidate, Slot.GREEN, live, Slot.BLUE, live, judged_since=since, asked=asked)

    def change(self, model: str, **fields: Any) -> None:
        self.models[model] = replace(self.models[model], **fields)
