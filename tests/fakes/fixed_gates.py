"""Gates for controllers under test: all pass before the switch; the bake fails once Envoy counts an error of the candidate."""

from __future__ import annotations

from tidegate.adapters.machine.local_target import LocalTarget
from tidegate.domain.local import LocalConfig
from tidegate.domain.verdict import Evidence, GateResult, Verdict


class Passes:
    def __init__(self, name: str) -> None:
        self.name = name

    def evaluate(self, context) -> GateResult:
        return GateResult(self.name, context.candidate.id, Verdict.PASS, Evidence("fine", sample_size=1))


class Errors:
    name = "bake"

    def __init__(self, target: LocalTarget) -> None:
        self.target = target

    def evaluate(self, context) -> GateResult:
        traffic = self.target.traffic(context.model)[context.candidate_slot]
        verdict = Verdict.FAIL if traffic.errors_5xx else Verdict.PASS if traffic.completed else Verdict.INCONCLUSIVE
        evidence = Evidence(f"{traffic.errors_5xx} errors in {traffic.completed} requests", sample_size=traffic.completed)
        return GateResult(self.name, context.candidate.id, verdict, evidence)


def build_gates(project, model):
    target = LocalTarget(project.state, LocalConfig.of(project))
    gates = {"parity": Passes("parity"), "shadow": Passes("shadow"), "drift": Passes("drift"), "bake": Errors(target)}
    return lambda name, context: gates[name].evaluate(context)


def finish(project, rollout) -> None:
    with (project.state / "finished").open("a") as log:
        log.write(rollout.candidate_id + "\n")
