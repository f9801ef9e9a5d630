"""Gates evaluated in the background, so that a slow or stuck one holds up neither the engine nor a person's order.

Closed: an exception, an answer about another release or gate, and silence are never a PASS.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.ports.gates import Evaluate, Evaluations, GateContext


def evaluate(gates: Evaluate, name: str, context: GateContext) -> GateResult:
    """One evaluation, never an exception."""
    started = time.monotonic()
    subject = context.candidate.id
    try:
        result = gates(name, context)
        if not isinstance(result, GateResult) or (result.gate, result.subject) != (name, subject):
            raise ValueError(f"the gate answered {result!r}, required is a result of '{name}' on {subject}")
        return result
    except Exception as error:  # closed by design: whatever goes wrong is an ERROR that carries its reason
        evidence = Evidence(summary=f"{type(error).__name__}: {error}")
        return GateResult(name, subject, Verdict.ERROR, evidence, seconds=time.monotonic() - started)


class ThreadedEvaluations:
    """One daemon thread an evaluation; a stuck thread ends with the process."""

    def __init__(self, gates: Evaluate, clock: Callable[[], float] = time.monotonic) -> None:
        self.gates, self.clock = gates, clock
        self._lock = threading.Lock()
        self._running: dict[tuple[str, float], float] = {}
        self._finished: dict[tuple[str, float], GateResult] = {}
        self._last: dict[tuple[str, float], float] = {}

    def poll(self, gate: str, context: GateContext, interval: float) -> GateResult | None:
        key = (gate, context.since)
        with self._lock:
            if (result := self._finished.pop(key, None)) is not None:
                return result
            waited = self.clock() - self._last.get(key, float("-inf"))
            if key not in self._running and waited >= interval:
                self._running[key] = self._last[key] = self.clock()
                threading.Thread(target=self._evaluate, args=(key, context), daemon=True, name=f"gate-{gate}").start()
        return None

    def running_seconds(self, gate: str, context: GateContext) -> float:
        with self._lock:
            started = self._running.get((gate, context.since))
            return 0.0 if started is None else self.clock() - started

    def _evaluate(self, key: tuple[str, float], context: GateContext) -> None:
        result = evaluate(self.gates, key[0], context)
        with self._lock:
            self._running.pop(key, None)
            self._finished[key] = result


@dataclass(frozen=True)
class Observation:
    """The latest result of one gate at one stage, known at `reached`; how long the evaluation under way has been running."""

    result: GateResult | None
    reached: float
    running_seconds: float


@dataclass
class Observed:
    """What evaluations yielded so far, by gate and stage; lost with the process, so that another one evaluates anew."""

    clock: Callable[[], float] = time.time
    _latest: dict[tuple[str, str, float], tuple[GateResult, float]] = field(default_factory=dict)

    def look(self, evaluations: Evaluations, gate: str, context: GateContext, interval: float) -> tuple[bool, Observation]:
        """Whether there is a new result, and what is known with it."""
        key = (context.candidate.id, gate, context.since)
        result = evaluations.poll(gate, context, interval)
        if result is not None:
            self._latest[key] = (result, self.clock())
        latest, reached = self._latest.get(key, (None, 0.0))
        return result is not None, Observation(latest, reached, evaluations.running_seconds(gate, context))
