"""The engine over a fake target: every way a rollout can end, and every way it can be interrupted."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import pytest

from tidegate.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from tidegate.domain.slots import Desired, Slot
from tidegate.domain.verdict import Verdict
from tidegate.ports.traffic import SlotTraffic
from tidegate.rollout.local.follow import follow
from tidegate.rollout.state import RolloutStore, Status


def live(world) -> str:
    return world.target.desired("demand").active_release


def test_a_good_release_goes_all_the_way(world) -> None:
    one, two, _ = (release.digest for release in world.releases)
    world.start()
    ended = world.run()
    assert (ended.status, live(world), world.finished) == (Status.DONE, two, [two])
    assert world.target.desired("demand").blue is None, "the old slot is emptied"
    assert world.target.served == [one, two]
    assert set(ended.times) == {"switch_requested", "switch_confirmed"}
    assert [gate for gate in ended.gates] == ["parity", "shadow", "drift", "bake"]
    actions = world.actions()
    assert (
        actions.index("rollout.switch")
        > actions.index("verdict")
        > actions.index("rollout.stage")
        > actions.index("rollout.start")
    )
    assert actions[-1] == "rollout.done"
    assert world.ledger.verify().ok


def test_the_first_release_needs_no_gate_and_is_switched_to_when_ready(world) -> None:
    world.target.wants.clear()
    world.target.ready = lambda release: world.clock.now > 1_000_010
    world.start()
    assert world.run("switch").gates == {}
    assert world.clock.now > 1_000_010
    assert world.run().status is Status.DONE
    assert world.orders.start(world.releases[1], world.config) is None, "active already"


@pytest.mark.parametrize("gate", ["parity", "shadow", "drift"])
@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_without_a_pass_there_is_no_live_traffic(world, gate: str, verdict: Verdict) -> None:
    world.gates[gate].verdict = verdict
    world.start()
    ended = world.run()
    expected = Status.ABORTED if verdict is not Verdict.FAIL else Status.FROZEN if gate == "drift" else Status.ROLLED_BACK
    assert ended.status is expected
    assert f"gate '{gate}'" in ended.reason or f"gate {gate} " in ended.reason
    assert world.target.served == [world.releases[0].digest]
    assert world.target.desired("demand").green is None, "the preview is emptied"
    assert not world.target.desired("demand").mirror
    assert ended.retraining_requested is (expected is Status.FROZEN)


@pytest.mark.parametrize("how", ["raises", "foreign", "missing", "stuck"])
def test_a_broken_gate_is_never_a_pass(world, how: str) -> None:
    if how == "raises":
        world.gates["shadow"].error = RuntimeError("no log")
    elif how == "foreign":
        world.gates["shadow"].name = "parity"
    elif how == "missing":
        del world.gates["shadow"]
    else:
        world.evaluations.stuck.add("shadow")
    world.start()
    assert world.run().status is Status.ABORTED
    assert live(world) == world.releases[0].digest


def test_a_fault_found_by_the_drift_gate_is_rolled_back_not_frozen(world) -> None:
    world.gates["drift"].verdict, world.gates["drift"].kind = Verdict.FAIL, "fault"
    world.start()
    assert (world.run().status, world.rollout.retraining_requested) == (Status.ROLLED_BACK, False)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_harm_after_the_switch_goes_back_in_the_same_step(world, verdict: Verdict) -> None:
    one, two, _ = (release.digest for release in world.releases)
    world.start()
    world.run("bake")
    assert live(world) == two
    world.gates["bake"].verdict = verdict
    world.step()
    assert live(world) == one
    ended = world.run()
    assert (ended.status, world.target.served, world.finished) == (Status.ROLLED_BACK, [one, two, one], [])
    assert world.target.desired("demand").green is None
    assert ended.times["rollback_requested"] <= ended.times["rollback_confirmed"]
    assert ended.times["rollback_requested"] > ended.times["switch_confirmed"]
    assert "rollout.rolled_back" in world.actions()


def test_a_stuck_or_undecided_bake_goes_back(world) -> None:
    world.start()
    world.run("bake")
    world.evaluations.stuck.add("bake")
    assert world.run().status is Status.ROLLED_BACK
    assert "has not answered" in world.rollout.reason


def test_a_release_that_never_gets_ready_fails_before_traffic(world) -> None:
    world.target.ready = lambda release: release == world.releases[0].digest
    world.start()
    ended = world.run()
    assert (ended.status, world.target.served) == (Status.FAILED, [world.releases[0].digest])
    assert "0 of 2 replicas" in ended.reason


def test_a_proxy_that_does_not_switch_is_told_to_go_back(world) -> None:
    world.start()
    world.run("switch")
    world.target.stuck = True
    assert world.run(steps=60).undo is not None, "the end is not told before the proxy confirms it"
    assert live(world) == world.releases[0].digest
    world.target.stuck = False
    assert (world.run().status, world.target.served) == (Status.FAILED, [world.releases[0].digest])


def test_a_target_that_is_away_is_waited_for_and_harm_is_undone_when_it_is_back(world) -> None:
    world.start()
    world.run("bake")
    world.gates["bake"].verdict = Verdict.FAIL
    world.target.away = True
    for _ in range(20):
        world.step()
    assert world.rollout.undo is not None
    assert not world.rollout.status.terminal
    world.target.away = False
    assert world.run().status is Status.ROLLED_BACK
    assert live(world) == world.releases[0].digest


def test_a_registry_that_is_away_does_not_take_back_a_sound_release(world) -> None:
    world.start()
    world.run("finish")

    def away(_) -> None:
        raise Unavailable("the registry is away")

    object.__setattr__(world.engine, "finish", away)
    ended = world.run()
    assert ended.status is Status.DONE
    assert any("registry was not told" in event["message"] for event in ended.history)


@pytest.mark.parametrize("fault", [None, "drift", "bake"])
def test_killed_before_and_after_every_step_it_ends_the_same(world, fault: str | None) -> None:
    if fault:
        world.gates[fault].verdict = Verdict.FAIL
    world.start()
    killed = 0

    class Killed(BaseException):
        pass

    def die_every_other_time(desired: Desired, generation: int) -> Desired:
        nonlocal killed
        killed += 1
        if killed % 2:
            raise Killed
        return real(desired, generation)

    real, world.target.set_desired = world.target.set_desired, die_every_other_time
    for _ in range(400):
        if not world.rollout.needs_controller:
            break
        world.restart()
        with suppress(Killed):
            world.step()
    expected = {None: Status.DONE, "drift": Status.FROZEN, "bake": Status.ROLLED_BACK}[fault]
    assert world.rollout.status is expected
    assert killed >= 6
    assert live(world) == world.releases[1 if fault is None else 0].digest


def test_people_abort_freeze_unfreeze_and_override(world) -> None:
    world.start()
    world.run("shadow")
    world.orders.freeze("demand", "stock taking")
    assert world.run().status is Status.FROZEN
    assert live(world) == world.releases[0].digest
    with pytest.raises(Conflict, match=r"frozen by ada \(stock taking\)"):
        world.orders.start(world.releases[2], world.config)
    world.gates["drift"].verdict = Verdict.FAIL
    assert world.orders.unfreeze("demand", "done").status is Status.RUNNING
    with pytest.raises(InvalidInput, match="needs a reason"):
        world.orders.override("demand", "drift", " ")
    with pytest.raises(InvalidInput, match="gate 'bake' cannot be overridden"):
        world.orders.override("demand", "bake", "trust me")
    world.orders.override("demand", "drift", "Christmas, known")
    assert len(world.gates["parity"].contexts) == 1
    world.run("bake")
    assert len(world.gates["parity"].contexts) > 1, "after a freeze everything is proven again"
    assert live(world) == world.releases[1].digest
    world.orders.abort("demand", "changed my mind")
    assert world.run().status is Status.ROLLED_BACK
    assert live(world) == world.releases[0].digest
    assert {"freeze", "unfreeze", "override", "rollout.abort_ordered"} <= set(world.actions())


def test_a_frozen_bake_is_watched_but_does_not_finish(world) -> None:
    world.start()
    world.run("bake")
    world.orders.freeze("demand", "wait")
    for _ in range(30):
        world.step()
    assert (world.rollout.status, live(world)) == (Status.FROZEN, world.releases[1].digest)
    world.gates["bake"].verdict = Verdict.FAIL
    assert world.run().status is Status.ROLLED_BACK


def test_a_rollout_frozen_by_drift_is_superseded_by_the_retrained_release(world) -> None:
    world.gates["drift"].verdict = Verdict.FAIL
    frozen = world.start(2)
    world.run()
    world.gates["drift"].verdict = Verdict.PASS
    world.start(3)
    assert world.run().status is Status.DONE
    old = world.store.load("demand", frozen.id)
    assert old.status is Status.ABORTED
    assert "superseded" in old.reason


def test_one_rollout_at_a_time_and_the_same_one_is_joined(world) -> None:
    first = world.start(2)
    assert world.start(2).id == first.id
    with pytest.raises(Conflict, match=first.id):
        world.start(3)


def test_going_back_to_the_previous_release(world) -> None:
    one, two, _ = world.releases
    with pytest.raises(NotFound):
        world.orders.rollback("demand", "wrong", lambda _: one, world.config)
    world.start()
    world.run()
    ordered = world.orders.rollback(
        "demand", "complaints", lambda digest: {one.digest: one, two.digest: two}[digest], world.config
    )
    world.id = ordered.id
    assert (world.run().status, live(world)) == (Status.DONE, one.digest)
    assert world.finished == [two.digest, one.digest]


def test_the_slot_is_kept_for_a_while_and_a_rollback_then_is_a_switch(world) -> None:
    world.config = replace(world.config, keep_previous_seconds=60)
    world.start()
    world.run("retire")
    world.step()
    assert world.target.desired("demand").blue == world.releases[0].digest
    world.orders.rollback("demand", "complaints", lambda _: world.releases[0], world.config)
    world.step()
    assert live(world) == world.releases[0].digest
    assert world.run().status is Status.ROLLED_BACK


def test_terminal_records_stay_and_following_tells_every_event(world) -> None:
    world.gates["shadow"].verdict = Verdict.FAIL
    world.start()
    ended = world.run()
    assert world.step() == ended == RolloutStore(world.store.folder).load("demand", ended.id)
    said: list = []
    assert follow(world.store, "demand", ended.id, said.append, sleep=lambda _: None) == ended
    messages = [event["message"] for event in ended.history]
    once = [text for index, text in enumerate(messages) if not index or text != messages[index - 1]]
    assert [event["message"] for event in said] == once

    def interrupted(_) -> None:
        raise KeyboardInterrupt

    world.start(3)
    follow(world.store, "demand", world.id, said.append, sleep=interrupted)
    assert "goes on without this command" in said[-1]["message"]
    assert world.rollout.status is Status.RUNNING


def test_a_target_refuses_what_could_serve_the_unproven(world) -> None:
    desired = world.target.desired("demand")
    for wrong in (replace(desired, active=Slot.GREEN), replace(desired, mirror=True)):
        with pytest.raises(InvalidInput):
            world.target.set_desired(wrong, desired.generation)
    with pytest.raises(Conflict, match="in place"):
        world.target.set_desired(replace(desired, blue="f" * 64), desired.generation)
    assert world.target.desired("demand") == desired == Desired("demand", blue=desired.blue, active=Slot.BLUE, generation=1)


def test_a_slot_that_cannot_start_ends_its_rollout_at_once_by_its_own_words(world) -> None:
    world.target.ready = lambda release: release == world.releases[0].digest
    world.start()
    world.step()
    world.step()
    world.target.problems[world.releases[1].digest] = "replica 0 ended with code 6: model.onnx is damaged"
    while not world.step().status.terminal:
        pass
    assert (world.rollout.status, world.rollout.reason) == (Status.FAILED, "replica 0 ended with code 6: model.onnx is damaged")
    assert world.clock.now < world.rollout.created_at + 20


def test_the_time_in_which_nobody_drove_a_rollout_is_not_the_releases(world) -> None:
    world.start()
    while world.rollout.current.kind != "bake":
        world.step()
    world.gates["bake"].verdict = Verdict.INCONCLUSIVE
    bake, began = world.rollout.current, world.rollout.stage_at
    for _ in range(5):
        world.step()
    world.clock.now += 10 * bake.deadline_seconds  # everything was down
    world.restart()
    resumed = world.engine.resume("demand", world.id)
    assert (resumed.stage_at, resumed.watched_at) == (began, world.clock.now)
    assert resumed.unwatched_seconds == 10 * bake.deadline_seconds
    assert world.step().status is Status.RUNNING
    world.gates["bake"].verdict = Verdict.PASS
    while not world.step().status.terminal:
        pass
    assert world.rollout.status is Status.DONE
    assert world.clock.now - began - 10 * bake.deadline_seconds < bake.min_seconds + 5, (
        "seconds watched before are not asked anew"
    )


def test_who_takes_over_a_bake_looks_at_the_traffic_since_the_switch(world) -> None:
    counted = SlotTraffic(1000, 7, 0, {250.0: 1000, math.inf: 1000})
    world.target.traffic = lambda model: {Slot.GREEN: counted, Slot.BLUE: SlotTraffic(0, 0, 0, {})}
    world.start()
    while world.rollout.current.kind != "bake":
        world.step()
    world.gates["bake"].verdict = Verdict.INCONCLUSIVE
    world.step()
    before = world.gates["bake"].contexts[-1]
    assert (before.since, before.counted_before) == (world.rollout.times["switch_requested"], counted)
    assert all(each.counted_before is None for each in world.gates["shadow"].contexts)
    world.clock.now += 30.0
    world.restart()
    world.engine.resume("demand", world.id)
    world.step()
    after = world.gates["bake"].contexts[-1]
    assert (after.since, after.counted_before, after.unwatched_seconds) == (before.since, counted, 30.0)
    assert after.deadline == before.deadline + 30.0


def test_counters_that_cannot_be_read_hold_up_no_switch(world) -> None:
    def away(model: str) -> None:
        raise Unavailable("the proxy does not answer")

    world.target.traffic = away
    world.start()
    while not world.step().status.terminal:
        pass
    assert (world.rollout.status, world.rollout.counted_before) == (Status.DONE, None)


def test_a_bake_that_people_freeze_has_its_time_left_when_they_let_it_go(world) -> None:
    world.start()
    while world.rollout.current.kind != "bake":
        world.step()
    world.gates["bake"].verdict = Verdict.INCONCLUSIVE
    deadline = world.rollout.current.deadline_seconds
    world.step()
    world.orders.freeze("demand", "stocktaking")
    assert world.step().status is Status.FROZEN
    assert world.step(10 * deadline).status is Status.FROZEN
    world.orders.unfreeze("demand", "counted")
    assert world.step(deadline / 2).undo is None
    assert world.step(deadline / 2).undo is not None


def test_a_stage_comes_to_its_deadline_although_its_drivers_die(world) -> None:
    world.start()
    while world.rollout.current.kind != "bake":
        world.step()
    world.gates["bake"].verdict = Verdict.INCONCLUSIVE
    for _ in range(200):
        if world.step(world.rollout.current.deadline_seconds / 2).status.terminal:
            break
        world.restart()
        world.engine.resume("demand", world.id)
        if world.rollout.undo is not None:
            break
    assert world.rollout.undo or world.rollout.status is Status.ROLLED_BACK
