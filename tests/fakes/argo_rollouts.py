"""What people's orders change on a cluster, without one: `ArgoRollouts` over a value that tests set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakes.cluster import FakeCluster
from tidegate.adapters.kubernetes.argo_rollouts import Earlier, Phase, Pods
from tidegate.domain.errors import NotFound


class FakeArgoRollouts(FakeCluster):
    """Changes come about at once: what is given up is `stopped`, what is gone back to is live."""

    def __init__(self) -> None:
        super().__init__()
        self.ordered: list[Mapping[str, Any]] = []
        self.back: Earlier | None = None
        self.undecided = False
        self.retried = 0
        self.deadlines_held: set[str] = set()

    def phase(self, model: str) -> Phase:
        return Phase("Healthy" if self.under_way(model).done else "Progressing", "", self.undecided)

    def registry_due(self, model: str) -> Mapping[str, Any] | None:
        return self.shown.get(model)

    def measured(self, model: str) -> dict[str, str]:
        return {"parity": "Successful"}

    def order(self, model: str, order: Mapping[str, Any]) -> None:
        self.ordered.append(order)

    def hold_deadlines(self, model: str) -> None:
        self.deadlines_held.add(model)

    def let_deadlines_go(self, model: str) -> None:
        self.deadlines_held.discard(model)

    def abort(self, model: str) -> None:
        state = self.under_way(model)
        self.undecided = False
        self.change(model, stopped="aborted", judged_since=None, live=state.previous)

    def retry(self, model: str) -> None:
        self.retried += 1
        self.change(model, stopped="")

    def pods(self, model: str) -> list[Pods]:
        return [Pods(self.under_way(model).candidate, "active", 2, 2)]

    def earlier(self, model: str, to: str = "") -> Earlier:
        if self.back is None or not self.back.release.startswith(to):
            raise NotFound("the cluster keeps no such release")
        return self.back

    def go_back(self, model: str, to: Earlier, order: Mapping[str, Any]) -> None:
        self.ordered.append(order)
        self.change(model, candidate=to.release, past_gates=True, stopped="")

    def wanted_pods(self, model: str) -> str:
        return "pods"

    def promote(self, model: str, pods: str) -> bool:
        state = self.under_way(model)
        self.change(model, live=state.candidate, previous=state.candidate)
        return True
