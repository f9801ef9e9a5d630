"""What the gate service answers when a cluster asks for the verdict of one gate on the release that it rolls out.

The gates, their limits, what their evidence means (`tidegate.rollout.judge`) and the record of their verdicts are those of the
local engine; only who moves the traffic differs. Closed: a release that is not under way, a gate that its plan has not, a stage
at which the gate has nothing to say: none of them is a PASS. Nor is anything that an analysis asks which leaves out a gate of
the release's own plan, or while the ledger does not verify: each of its questions is answered with ERROR, which ends the
rollout. A decisive verdict is in the ledger before it is answered, and stays what it is for the rest of the stage, through
restarts of the service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tidegate.domain.actor import named_in
from tidegate.domain.errors import Conflict, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.verdict import Verdict, to_json
from tidegate.ports.cluster_rollouts import ClusterRollouts, UnderWay
from tidegate.ports.gates import Evaluations, GateContext
from tidegate.ports.ledger import Ledger, Query
from tidegate.rollout import judge
from tidegate.rollout.cluster.retraining import ASKED
from tidegate.rollout.cluster.standing import frozen_seconds
from tidegate.rollout.evaluation import Observed
from tidegate.rollout.judge import Act, Judgement, Seen
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
    _decided: dict[str, dict[Key, Answer]] = field(default_factory=dict)
    _mirrored_at: dict[tuple[str, float], float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _observed(self) -> Observed:
        return Observed(self.clock)

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
        if damage := self.ledger.check().problem:  # what it says was decided does not count, and nothing can be recorded
            return Answer(gate, manifest.id, SAMPLES[Verdict.ERROR], f"the ledger does not verify: {damage}")
        if state.judged_since is None:
            decided = self._decided_on(manifest.id)
            last = next((answer for key, answer in reversed(list(decided.items())) if key[1] == gate), None)
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
            decided = self._decided_on(manifest.id)
            if key not in decided:
                if why := judge.unasked(plan, state.asked, state.switched):
                    judged = judge.refusal(stage, gate, manifest.id, why)
                else:
                    judged = self._judge(state, stage, gate, key)
                if judged.act is Act.WAIT:
                    return self._open(gate, manifest, judged.reason, to_json(judged.result) if judged.result else None)
                decided[key] = self._decide(state, gate, key, judged)
            answer = decided[key]
        held = judge.frozen_by(model, state.hold)  # what was decided before it
        return self._open(gate, manifest, held, answer.result) if held and answer.sample == SAMPLES[Verdict.PASS] else answer

    def _decided_on(self, release: str) -> dict[Key, Answer]:
        """What was decided on a release (id), begun with what the ledger has from before a restart."""
        if release in self._decided:
            return self._decided[release]
        decided: dict[Key, Answer] = {}
        for entry in self.ledger.entries(Query(subject=release, actions=(VERDICT, OVERRIDE))):
            body = entry.body
            if "judged_since" in body:
                sample = SAMPLES[Verdict(body["verdict"]) if entry.action == VERDICT else Verdict.PASS]
                result = body if entry.action == VERDICT else None
                answer = Answer(body["gate"], entry.subject, sample, body["message"], result)
                decided[entry.subject, answer.gate, body["judged_since"]] = answer
        return self._decided.setdefault(release, decided)

    def _judge(self, state: UnderWay, stage: Check | Bake, gate: str, key: Key) -> Judgement:
        """What is known of the gate now means; evaluates it where its traffic counts."""
        release, _, began = key
        override = state.overrides.get(gate) if isinstance(stage, Check) else None
        since = self._since(state, stage, release, began) if override is None else None
        held = judge.frozen_by(state.model, state.hold)
        late = began + frozen_seconds(state.orders, began, self.clock())  # a deadline does not come while people hold it up
        known = Seen(self.clock(), late, since, override=override, held=held)
        if since is not None:
            context = self._context(state, stage, since, late + stage.deadline_seconds)
            _, seen = self._observed.look(self.evaluations(state.model), gate, context, stage.interval_seconds)
            known = replace(known, result=seen.result, reached=seen.reached, running_seconds=seen.running_seconds)
        return judge.judge(stage, gate, release, known)

    def _context(self, state: UnderWay, stage: Check | Bake, since: float, deadline: float) -> GateContext:
        candidate, folder = self.releases(state.candidate)
        beside = state.live if isinstance(stage, Check) else state.previous  # what clients reach, or did before
        active, active_folder = self.releases(beside) if beside else (None, None)
        return GateContext(state.model, candidate, folder, state.slot, active, active_folder, since, deadline)

    def _decide(self, state: UnderWay, gate: str, key: Key, judged: Judgement) -> Answer:
        """A judgement that decides, recorded before it is answered."""
        release, about = key[0], {"gate": gate, "judged_since": key[2]}
        if judged.result is None:
            order = state.overrides[gate]
            plain = {name: value for name, value in order.items() if name != "by"}  # the entry says it
            self.ledger.append(OVERRIDE, release, {**plain, "message": judged.reason, **about}, named_in(order))
            return Answer(gate, release, SAMPLES[Verdict.PASS], judged.reason)
        said = judged.result.describe()
        if judged.retraining:
            ask = self.ask_retraining or (lambda release, about: self.ledger.append(ASKED, release, about) and None)
            ask(release, {"gate": gate, "reason": said})  # first: what has a verdict is not judged again
        recorded = {"message": said, **to_json(judged.result), **about}
        self.ledger.append(VERDICT, release, recorded)
        return Answer(gate, release, SAMPLES[judged.result.verdict], said, recorded)

    def _since(self, state: UnderWay, stage: Check | Bake, release: str, judged_since: float) -> float | None:
        """When the traffic that counts began; None while a check still waits for all of it to be mirrored."""
        if isinstance(stage, Bake) or not stage.mirror:
            return judged_since
        key = (release, judged_since)
        if key not in self._mirrored_at and self.mirrored(state.model):
            self._mirrored_at[key] = self.clock()
        return self._mirrored_at.get(key)

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
