"""What status says of how the live release came to be, of its evidence, and of what it did not look at."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tidegate.apps.model_status import evidence_of, model_status, origin_of
from tidegate.cli.status_view import status_table
from tidegate.domain.errors import IntegrityError
from tidegate.domain.verdict import Verdict
from tidegate.files.layout import StateFolder
from tidegate.ports.delivery import Standing
from tidegate.registry.pending import PendingUpdates
from tidegate.rollout.state import Status

spec = importlib.util.spec_from_file_location("rollout_world", Path(__file__).parents[1] / "rollout/conftest.py")
rollout_world = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rollout_world)


PROBLEMS: list[str] = []  # what the supervisor names


@pytest.fixture
def world(tmp_path: Path) -> rollout_world.World:
    made = rollout_world.World(tmp_path)
    made.target.wants.clear()
    done(made, 1)
    return made


def done(world, number: int, overrides: dict[str, str] | None = None) -> None:
    world.id = world.orders.start(world.releases[number - 1], world.config, overrides).id
    assert world.run().status is Status.DONE


def roll_back(world) -> None:
    by_digest = {release.digest: release for release in world.releases}
    world.id = world.orders.rollback("demand", "complaints", by_digest.__getitem__, world.config).id
    assert world.run().status is Status.DONE


def looked_at(
    world, with_drift: bool = True, other: str = "", schedules: tuple[str, ...] = (), running: bool = True, damage: str = ""
) -> Standing:
    by_digest = {release.digest: release for release in world.releases}

    def startable(_: object) -> None:
        if damage:
            raise IntegrityError(damage)

    platform = SimpleNamespace(
        state=StateFolder(world.store.folder / "state"),
        target=SimpleNamespace(
            desired=world.target.desired, slots=world.target.slots, traffic=world.target.traffic, problems=lambda: PROBLEMS
        ),
        rollouts=world.store,
        pending=PendingUpdates(world.store.folder),
        release=by_digest.__getitem__,
        is_up=lambda: running,
        startable=startable,
        started_otherwise=lambda: other,
        schedule_problems=lambda model: [f"schedule '{name}' of {model} failed" for name in schedules],
        drift=lambda _: [],
        ledger_remarks=lambda _: ["1 entries of demand wait to be recorded (freeze)"],
        online_status=lambda _: {"until": "2011-09-01T00:00:00+00:00", "written_at": 1_000_000.0, "rows": 4_017},
    )
    return model_status(platform, "demand", with_drift)


def shown(status: Standing) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(status_table(status, now=1_000_500.0))
    return console.export_text()


def test_a_schedule_that_failed_is_a_problem(world) -> None:
    assert "schedule 'nightly' of demand failed" in looked_at(world, schedules=("nightly",)).problem


def test_the_first_release_is_called_so_and_no_other(world) -> None:
    assert looked_at(world).origin == "first"
    assert "first release of the model" in shown(looked_at(world))
    assert "wait to be recorded (freeze)" in shown(looked_at(world))
    done(world, 2)
    assert looked_at(world).origin == "rollout"
    assert "first release" not in shown(looked_at(world))


def test_the_age_of_the_online_features_is_shown(world) -> None:
    assert "online rows up to 2011-09-01 00:00, written" in shown(looked_at(world))
    assert "4,017 entities" in shown(looked_at(world))


def test_after_a_rollback_it_says_who_went_back_and_shows_the_evidence_of_the_release(world) -> None:
    done(world, 2)
    done(world, 3)
    roll_back(world)
    status = looked_at(world)
    assert (status.origin, status.live) == ("rollback", world.releases[1].id)
    assert status.origin_note == "gone back to by ada: complaints"
    assert [verdict["gate"] for verdict in status.evidence] == ["parity", "shadow", "drift", "bake"]
    assert "first release" not in shown(status)
    assert status.since == world.store.load("demand", world.id).times["switch_confirmed"]


def test_after_a_rollback_to_the_first_release_it_is_said_why_there_is_no_evidence(world) -> None:
    done(world, 2)
    roll_back(world)
    text = shown(looked_at(world))
    assert "gone back to by ada: complaints; it was the first release of the model" in text
    assert "none on record" not in text


def test_what_came_back_by_itself_is_live_since_then(world) -> None:
    done(world, 2)
    world.gates["bake"].verdict = Verdict.FAIL
    world.id = world.orders.start(world.releases[2], world.config).id
    taken_back = world.run()
    assert taken_back.status is Status.ROLLED_BACK
    status = looked_at(world)
    assert (status.origin, status.since) == ("returned", taken_back.times["rollback_confirmed"])
    assert f"came back when {world.releases[2].id} was taken back" in shown(status)
    assert len(status.evidence) == 4, "of its own rollout"


def test_an_overridden_gate_is_shown_with_who_and_why(world) -> None:
    done(world, 2, {"drift": "Christmas, known"})
    assert [(v["gate"], v["verdict"]) for v in looked_at(world).evidence] == [
        ("parity", "PASS"),
        ("shadow", "PASS"),
        ("drift", "OVERRIDDEN"),
        ("bake", "PASS"),
    ]
    assert "by ada: Christmas, known" in shown(looked_at(world))
    assert shown(looked_at(world)).count("OVERRIDDEN") == 1


def test_a_frozen_rollout_says_what_a_person_can_do_and_one_that_goes_on_does_not(world) -> None:
    world.gates["drift"].verdict = Verdict.FAIL
    world.id = world.orders.start(world.releases[1], world.config).id
    assert world.run().status is Status.FROZEN
    (told,) = looked_at(world).rollout.next_steps
    for said in (
        "frozen by gate drift",
        "'tidegate rollout override demand drift --reason TEXT' lets it past that gate",
        "'tidegate unfreeze demand --reason TEXT'",
        "'tidegate rollout abort demand --reason TEXT'",
    ):
        assert said in told
    world.orders.override("demand", "drift", "a sale")
    assert looked_at(world).rollout.next_steps == ()
    assert world.run().status is Status.DONE
    assert looked_at(world).rollout.next_steps == ()


def test_an_override_after_a_verdict_shows_both(world) -> None:
    world.id = world.orders.start(world.releases[1], world.config).id
    rollout = world.run("drift")
    judged = replace(
        rollout, gates={**rollout.gates, "drift": {"verdict": "FAIL", "gate": "drift", "evidence": {"summary": "moved"}}}
    )
    world.store.save(judged)
    overridden = world.orders.override("demand", "drift", "known")
    (drift,) = (value for value in evidence_of(overridden) if value["gate"] == "drift")
    assert drift["evidence"]["summary"] == "by ada: known; it said FAIL: moved"


@pytest.mark.parametrize(("with_drift", "says"), [(False, "not looked at (--no-drift)"), (True, "no traffic was seen yet")])
def test_why_there_is_no_drift_is_said_as_it_is(world, with_drift: bool, says: str) -> None:
    text = shown(looked_at(world, with_drift))
    assert says in text
    assert "nothing is live" not in text
    world.target.wants.clear()
    assert "nothing is live" in shown(looked_at(world, with_drift))


def test_what_the_registry_was_not_told_is_shown(world) -> None:
    assert looked_at(world).registry is None
    PendingUpdates(world.store.folder).note("demand", world.releases[0].id, "1", "its database was locked")
    text = " ".join(shown(looked_at(world)).replace("│", " ").split())
    assert f"does not have that version 1 ({world.releases[0].id}) is live (its database was locked)" in text
    assert "'tidegate registry reconcile demand'" in text


def test_a_part_that_cannot_be_read_is_a_problem_and_hides_nothing_else(world, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise IntegrityError("the record is damaged")

    monkeypatch.setattr(world.store, "all", damaged)
    monkeypatch.setattr(world.target, "slots", damaged)
    status = looked_at(world)
    assert (status.live, status.problem) == (world.releases[0].id, "the record is damaged")
    assert "none on record" in shown(status)


def test_a_live_release_that_cannot_be_started_any_more_is_a_problem_when_nothing_runs(world) -> None:
    damage = "release demand@1: file 'model/model.onnx' has digest 1, required 2"
    assert looked_at(world, running=False, damage=damage).problem == f"{damage}; nothing runs; start it with 'tidegate up'"


def test_long_evidence_wraps_below_itself(world) -> None:
    done(world, 2, {"drift": "known " * 60})
    lines = [line for line in shown(looked_at(world)).splitlines() if "known" in line]
    assert len(lines) > 2
    assert {line.index("known") for line in lines[1:]} == {lines[0].index("by ada")}


def test_a_damaged_record_is_named(world) -> None:
    (world.store.folder / "demand" / f"{world.id}.json").write_bytes(b"{")
    assert f"{world.id}.json" in looked_at(world).problem


def test_a_release_nobody_rolled_out_has_no_origin() -> None:
    assert origin_of("f" * 64, []).kind == ""


def test_a_supervisor_that_was_started_with_something_else_is_said_so(world) -> None:
    other = "the supervisor of state (pid 7) was started with gatewayPort 8800 (here: 9800): end it with 'tidegate down' first"
    assert "gatewayPort 8800 (here: 9800)" in looked_at(world, other=other).problem
    assert "gatewayPort" not in looked_at(world).problem
