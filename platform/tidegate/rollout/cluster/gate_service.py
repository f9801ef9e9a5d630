"""What the gate service answers when a cluster asks for the verdict of one gate on the release that it rolls out.

The gates, their limits and the record of their verdicts are those of the local engine; only who moves the traffic differs.
Closed: a release that is not under way, a gate that its plan has not, a stage at which the gate has nothing to say, a
person's freeze, an evaluation that has not ended: none of them is a PASS. Nor is anything that an analysis asks which leaves
out a gate of the release's own plan, or while the ledger does not verify: each of its questions is answered with ERROR, which
ends the rollout. A decisive verdict is in the ledger before it is answered, and stays what it is for the rest of the stage,
through restarts of the service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tidegate.domain.errors import Conflict, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import Evidence, GateResult, Verdict, to_json
from tidegate.ports.cluster_rollouts import ClusterRollouts, UnderWay
from tidegate.ports.gates import GateContext
from tidegate.ports.ledger import Ledger
from tidegate.rollout.cluster.retraining import ASKED
from tidegate.rollout.evaluation import Evaluations
from tidegate.rollout.plan import Bake, Check, RolloutConfig

ReleaseSource = Callable[[str], tuple[ReleaseManifest, Path]]
Key = tuple[str, str, float]  # release, gate, when the stage began
VERDICT, OVERRIDE = "verdict", "override.used"
SAMPLES = {Verdict.PASS: 1, Verdict.FAIL: 0, Verdict.ERROR: -1}


@dataclass(frozen=True)
class Answer:
    """`sample` is 1 for PASS, 0 for FAIL, -1 for ERROR, None while the verdict is open; `reason` is for people; `result`
    is what was evaluated last, as `tidegate.domain.verdict.to_json` has it."""

    gate: str
    release: str
    sample: int | None
    reason: str
    result: Mapping[str, Any] | None = None


@dataclass
class GateService:
    """`plan_of` gives the checks and the bake that a release asks for, `evaluations` those of a model's gates; `mirrored` says
    whether all of a model's live traffic is mirrored to the candidate by now: a check looks at traffic after that."""

    rollouts: ClusterRollouts
    releases: ReleaseSource
    plan_of: Callable[[ReleaseManifest, Path], RolloutConfig]
    evaluations: Callable[[str], Evaluations]
    ledger: Ledger
    mirrored: Callable[[str], bool]
    clock: Callable[[], float] = time.time
    ask_retraining: Callable[[str, dict[str, Any]], None] | None = None  # records it and more; without, it is only recorded
    _last: dict[Key, GateResult] = field(default_factory=dict)
    _mirrored_at: dict[tuple[str, float], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, model: str, digest: str, gate: str) -> Answer:
        """The verdict of `gate` on release `digest`, as far as it is known now; never waits for an evaluation.

        Raises NotFound for a model, release or gate that is not known, Conflict for a release that is not under way,
        Unavailable when the cluster or the ledger cannot be reached.
        """
        state = self.rollouts.under_way(model)
        if state.candidate != digest:
            raise Conflict(
                f"gate '{gate}' on release {digest[:12]} of model {model}: the release under way is {state.candidate[:12]}"
            )
        manifest, folder = self.releases(digest)
        plan = self.plan_of(manifest, folder)
        stage = _stage(gate, manifest, plan)
        if damage := self.ledger.verify().problem:  # what it says was decided does not count, and nothing can be recorded
            return Answer(gate, manifest.id, SAMPLES[Verdict.ERROR], f"the ledger does not verify: {damage}")
        if state.judged_since is None:
            last = next((a for key, a in reversed(list(self._decided.items())) if key[:2] == (manifest.id, gate)), None)
            said = f"; its last verdict: {last.reason}" if last else ""
            return self._open(
                gate, manifest, f"the cluster does not judge this release now{said}", last.result if last else None
            )
        if isinstance(stage, Check) and state.switched:
            return self._open(gate, manifest, "the release has live traffic already, so this gate has nothing more to say")
        if isinstance(stage, Bake) and not state.switched:
            return self._open(gate, manifest, "the release has no live traffic yet")
        key = (manifest.id, gate, state.judged_since)
        with self._lock:  # one writer, and each verdict recorded once
            if key not in self._decided:
                answer = self._incomplete(state, plan, gate, key) or self._judge(state, stage, gate, key)
                if answer.sample is None:
                    return answer
                self._decided[key] = answer
            decided = self._decided[key]
        return self._held(state, decided, manifest)

    @cached_property
    def _decided(self) -> dict[Key, Answer]:
        """What was decided, begun with what the ledger has from before a restart."""
        decided = {}
        for entry in self.ledger.entries():
            body = entry.body
            if entry.action in (VERDICT, OVERRIDE) and "judged_since" in body:
                sample = SAMPLES[Verdict(body["verdict"]) if entry.action == VERDICT else Verdict.PASS]
                result = body if entry.action == VERDICT else None
                answer = Answer(body["gate"], entry.subject, sample, body["message"], result)
                decided[entry.subject, answer.gate, body["judged_since"]] = answer
        return decided

    def _incomplete(self, state: UnderWay, plan: RolloutConfig, gate: str, key: Key) -> Answer | None:
        """ERROR where the cluster does not ask for every gate that the release's plan has at this stage."""
        wanted = plan.gates_after if state.switched else plan.gates_before
        missing = [name for name in wanted if name not in state.asked]
        if not missing:
            return None
        why = (
            f"the cluster's analysis asks for {', '.join(state.asked) or 'no gate that only a PASS opens'}, but the plan of "
            f"the release also has {', '.join(missing)}; apply the model's chart with all of them, as 'tidegate rollout' does"
        )
        return self._decide(key, GateResult(gate, key[0], Verdict.ERROR, Evidence(why)))

    def _judge(self, state: UnderWay, stage: Check | Bake, gate: str, key: Key) -> Answer:
        candidate, folder = self.releases(state.candidate)
        if isinstance(stage, Check) and gate in state.overrides:
            order = state.overrides[gate]
            said = f"overridden by {order['actor']}: {order['reason']}"
            body = {**order, "message": said, "gate": gate, "judged_since": key[2]}
            self.ledger.append(OVERRIDE, candidate.id, body, str(order["actor"]))
            return Answer(gate, candidate.id, SAMPLES[Verdict.PASS], said)
        beside = state.live if isinstance(stage, Check) else state.previous  # what clients reach, or did before
        active, active_folder = self.releases(beside) if beside else (None, None)
        since, deadline = self._since(state, stage, key[0], key[2]), key[2] + stage.deadline_seconds
        context = GateContext(state.model, candidate, folder, state.slot, active, active_folder, since or deadline, deadline)
        evaluations = self.evaluations(state.model)
        result = evaluations.poll(gate, context, stage.interval_seconds) if since is not None else None
        if isinstance(stage, Bake) and evaluations.running_seconds(gate, context) > stage.evaluation_seconds:
            why = f"it has not answered for {stage.evaluation_seconds:g} s, and what is not watched is not served"
            result = GateResult(gate, candidate.id, Verdict.ERROR, Evidence(why))
        if result is not None:
            self._last[key] = result
        last = self._last.get(key)
        early = last is not None and last.verdict is Verdict.PASS and self.clock() - context.since < stage.min_seconds
        if self.clock() >= deadline and (last is None or last.verdict is Verdict.INCONCLUSIVE):
            never = "it never answered" if since is not None else "mirroring was not confirmed"
            seen = last.evidence.summary if last else never
            late = Evidence(f"it did not PASS within {stage.deadline_seconds:g} s: {seen}")
            last = GateResult(gate, candidate.id, Verdict.ERROR, late)
        if last is None or last.verdict is Verdict.INCONCLUSIVE or early:
            waiting = "it is being evaluated" if since is not None else "live traffic is not mirrored to it yet"
            return self._open(gate, candidate, last.evidence.summary if last else waiting, to_json(last) if last else None)
        drifted = last.verdict is Verdict.FAIL and isinstance(stage, Check) and stage.on_fail == "freeze"
        if drifted and last.evidence.numbers.get("kind") != "fault":
            ask = self.ask_retraining or (lambda release, about: self.ledger.append(ASKED, release, about) and None)
            ask(candidate.id, {"gate": gate, "reason": last.describe()})  # first: what has a verdict is not judged again
        return self._decide(key, last)

    def _decide(self, key: Key, result: GateResult) -> Answer:
        """A decisive verdict, recorded before it is answered."""
        recorded = {"message": result.describe(), **to_json(result), "judged_since": key[2]}
        self.ledger.append(VERDICT, result.subject, recorded)
        return Answer(result.gate, result.subject, SAMPLES[result.verdict], result.describe(), recorded)

    def _since(self, state: UnderWay, stage: Check | Bake, release: str, judged_since: float) -> float | None:
        """When the traffic that counts began; None while a check still waits for all of it to be mirrored."""
        if isinstance(stage, Bake) or not stage.mirror:
            return judged_since
        key = (release, judged_since)
        if key not in self._mirrored_at and self.mirrored(state.model):
            self._mirrored_at[key] = self.clock()
        return self._mirrored_at.get(key)

    def _held(self, state: UnderWay, answer: Answer, manifest: ReleaseManifest) -> Answer:
        """A person's freeze lets nothing forward; harm is told all the same."""
        if state.hold is None or answer.sample != SAMPLES[Verdict.PASS]:
            return answer
        reason = f"model {state.model} is frozen by {state.hold['actor']}: {state.hold['reason']}"
        return self._open(answer.gate, manifest, reason, answer.result)

    @staticmethod
    def _open(gate: str, manifest: ReleaseManifest, reason: str, result: Mapping[str, Any] | None = None) -> Answer:
        return Answer(gate, manifest.id, None, reason, result)


def _stage(gate: str, manifest: ReleaseManifest, plan: RolloutConfig) -> Check | Bake:
    """The stage of the plan at which `gate` is asked for; raises NotFound."""
    stages: dict[str, Check | Bake] = {check.gate: check for check in plan.checks}
    if plan.bake:
        stages |= dict.fromkeys(plan.bake.gates, plan.bake)
    if gate not in stages:
        raise NotFound(f"release {manifest.id} has no gate '{gate}'; it has {', '.join(stages) or 'none'}")
    return stages[gate]
