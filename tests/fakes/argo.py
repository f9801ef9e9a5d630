"""Argo Rollouts for tests: blue/green with an analysis before the switch and one after it, asking a gate service in steps.

It treats answers as the chart's metrics do (one sample of 1 is a success, of 0 or less a failure, none is asked for again, an
error counts towards the limit of errors in a row). What the real one does with them is tested on a real cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fakes.cluster import FakeCluster
from fakes.rollouts import Clock
from tidegate.domain.errors import TidegateError
from tidegate.domain.slots import Slot
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.rollout.cluster.gate_service import Answer

ERRORS_IN_A_ROW = 3


@dataclass
class FakeArgo:
    cluster: FakeCluster
    ask: Callable[[str, str, str], Answer]
    clock: Clock
    model: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    served: list[str] = field(default_factory=list)
    _open: set[str] = field(default_factory=set)
    _errors: dict[str, int] = field(default_factory=dict)

    def apply(self, candidate: str, live: str) -> None:
        self.cluster.models[self.model] = UnderWay(
            self.model, candidate, Slot.GREEN, live, Slot.BLUE, live, judged_since=self.clock.now, asked=self.before
        )
        self.served = [live]
        self._begin(self.before)

    def step(self) -> None:
        state = self.cluster.models[self.model]
        if state.stopped or state.done:
            return
        failed = self._ask_all(state)
        if failed:
            self._change(stopped=failed, judged_since=None, live=state.previous)
        elif not self._open and not state.switched:
            self._change(live=state.candidate, judged_since=self.clock.now, asked=self.after)
            self._begin(self.after)
        elif not self._open:
            self._change(previous=state.candidate, judged_since=None)

    def _ask_all(self, state: UnderWay) -> str:
        """Why the analysis fails; empty while it does not."""
        for gate in sorted(self._open):
            try:
                sample = self.ask(self.model, state.candidate, gate).sample
                self._errors[gate] = 0
            except TidegateError as error:
                self._errors[gate] = self._errors.get(gate, 0) + 1
                if self._errors[gate] > ERRORS_IN_A_ROW:
                    return f"metric '{gate}': {error}"
                continue
            if sample == 1:
                self._open.discard(gate)
            elif sample is not None:
                return f"metric '{gate}' failed"
        return ""

    def _begin(self, gates: tuple[str, ...]) -> None:
        self._open, self._errors = set(gates), {}

    def _change(self, **fields: object) -> None:
        state = self.cluster.models[self.model] = replace(self.cluster.models[self.model], **fields)  # type: ignore[arg-type]
        if state.live and self.served[-1] != state.live:
            self.served.append(state.live)
