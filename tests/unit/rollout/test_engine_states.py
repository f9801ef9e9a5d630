"""Whatever gates, people, kills and outages do in whatever order: the rules of rollouts hold."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tidegate.domain.errors import TidegateError
from tidegate.domain.verdict import Verdict
from tidegate.rollout.plan import Check

SPEC = importlib.util.spec_from_file_location("rollout_world", Path(__file__).parent / "conftest.py")
CONFTEST = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(CONFTEST)
GATE = st.sampled_from(["parity", "shadow", "drift", "bake"])


class Rollouts(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.unsynced = mock.patch("os.fsync")  # kills are simulated, not power cuts
        self.unsynced.start()
        self.world = CONFTEST.World(Path(self.folder.name))
        self.first = self.world.releases[0].digest
        self.ended: dict[str, dict] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            assert self.world.ledger.verify().ok
            self.unsynced.stop()
            self.folder.cleanup()

    def order(self, act) -> None:
        try:
            act()
        except TidegateError:
            return  # refused with a sentence

    @rule(number=st.sampled_from([1, 2, 3]))
    def start(self, number: int) -> None:
        self.order(lambda: self.world.start(number))

    @rule(number=st.sampled_from([2, 3]), gate=GATE, verdict=st.sampled_from(list(Verdict)), count=st.integers(10, 40))
    def rollout_with_one_odd_gate(self, number: int, gate: str, verdict: Verdict, count: int) -> None:
        """The long way, which rules drawn one by one seldom go."""
        self.target_behaves(away=False, stuck=False)
        self.everything_passes()
        self.gate_says(gate, verdict)
        self.start(number)
        self.steps(count, 1.0)

    @rule(count=st.integers(1, 12), seconds=st.sampled_from([0.1, 1.0, 20.0]))
    def steps(self, count: int, seconds: float) -> None:
        for _ in range(count):
            if self.world.id:
                served = len(self.world.target.served)
                self.world.step(seconds)
                if len(self.world.target.served) > served:
                    self.rules_hold()  # proven before it was served, not after

    @rule(gate=GATE, verdict=st.sampled_from(list(Verdict)))
    def gate_says(self, gate: str, verdict: Verdict) -> None:
        self.world.gates[gate].verdict = verdict

    @rule()
    def everything_passes(self) -> None:
        for gate in self.world.gates.values():
            gate.verdict = Verdict.PASS

    @rule(away=st.booleans(), stuck=st.booleans())
    def target_behaves(self, away: bool, stuck: bool) -> None:
        self.world.target.away, self.world.target.stuck = away, stuck

    @rule()
    def controller_is_killed(self) -> None:
        self.world.restart()

    @rule(what=st.sampled_from(["abort", "freeze", "unfreeze"]))
    def person_orders(self, what: str) -> None:
        self.order(lambda: getattr(self.world.orders, what)("demand", "because"))

    @rule(gate=GATE)
    def person_overrides(self, gate: str) -> None:
        self.order(lambda: self.world.orders.override("demand", gate, "because"))

    @invariant()
    def rules_hold(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        records = world.store.all("demand")
        assert sum(not record.status.terminal for record in records) <= 1
        for record in records:
            if record.id in self.ended:
                assert record.to_json() == self.ended[record.id], "a terminal record never changes"
            elif record.status.terminal:
                self.ended[record.id] = record.to_json()
        for release in set(world.target.served) - {self.first}:
            assert any(self.proven(record) for record in records if record.candidate == release), "live without proof"
        desired = world.target.desired("demand")
        assert desired.active is not None
        assert desired.active_release is not None, "there is always one active release"

    @staticmethod
    def proven(record) -> bool:
        switched = "switch_requested" in record.times
        said = {event["verdict"]["gate"] for event in record.history if event.get("verdict", {}).get("verdict") == "PASS"}
        checks = {stage.gate for stage in record.plan.stages if isinstance(stage, Check)}
        return switched and checks <= said | set(record.overrides)

    @rule()
    def settles_when_all_is_well(self) -> None:
        """From any state: with a target that answers and gates that pass, it comes to an end."""
        if not self.world.id:
            return
        self.target_behaves(away=False, stuck=False)
        self.everything_passes()
        for _ in range(200):
            if not self.world.rollout.needs_controller or self.world.rollout.status.value == "FROZEN":
                return
            self.world.step(1.0)
        raise AssertionError(f"no end: {self.world.rollout}")


Rollouts.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestRollouts = Rollouts.TestCase
