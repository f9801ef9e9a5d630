"""What the registry was not told: noted before it is told, kept while it is away, told later, and part of the command's end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fakes.registry_world import World
from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.apps import gates, registry_updates, rollouts, wiring
from tidegate.apps.reconcile import note_what_is_due
from tidegate.cli.rollouts import require_recorded
from tidegate.domain.errors import Unavailable
from tidegate.files.layout import StateFolder
from tidegate.ports.delivery import RolloutView, Standing
from tidegate.registry.pending import PendingUpdates
from tidegate.registry.promotion import CHAMPION, activate, aliased


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    made.ledger = FileLedger(StateFolder(made.project.state).ledger, StateFolder(made.project.state).keys)
    monkeypatch.setattr(wiring, "registry", lambda _: made.registry)
    return made


def finish(world: World) -> SimpleNamespace:
    rollout = SimpleNamespace(candidate=world.live(world.release(world.trained())).digest)
    gates.finish_rollout(world.project, rollout)
    return rollout


def test_a_registry_that_is_away_at_the_finish_is_told_when_it_is_back(world: World) -> None:
    rollout = SimpleNamespace(candidate=world.live(world.release(world.trained())).digest)
    world.registry.away = True
    for _ in range(3):  # the engine asks again until its deadline
        with pytest.raises(Unavailable):
            gates.finish_rollout(world.project, rollout)
    due = world.pending.due("demand")
    assert (due.version, due.reason) == ("1", "the registry is away")
    waits: list[float] = []
    assert registry_updates.update(world, "demand", waits.append) == 7
    assert waits == [registry_updates.RETRY_S]
    assert world.pending.due("demand").reason == "the registry is away"
    world.registry.away = False
    assert registry_updates.update(world, "demand", waits.append) == 0
    assert world.pending.due("demand") is None
    assert aliased(world.registry, "demand", CHAMPION).version == "1"
    assert len(world.actions("champion")) == 1


def test_a_finish_that_was_told_leaves_no_note(world: World) -> None:
    finish(world)
    assert world.pending.due("demand") is None
    assert aliased(world.registry, "demand", CHAMPION).version == "1"


def test_a_process_that_is_killed_while_it_tells_leaves_the_note(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(world.registry, "set_alias", killed)
    with pytest.raises(Killed):
        finish(world)
    assert PendingUpdates(StateFolder(world.project.state).rollouts).due("demand").version == "1"


def test_what_went_back_after_it_was_recorded_is_due(world: World) -> None:
    first, second = (world.trained() for _ in range(2))
    for version in (first, second):
        world.live(world.release(version))
        activate(world.registry, world.ledger, "demand", version.version)
    note_what_is_due(world, "demand")
    assert world.pending.due("demand") is None
    world.live(world.release(first))
    note_what_is_due(world, "demand")
    assert world.pending.due("demand").version == "1"
    assert registry_updates.update(world, "demand") == 0
    assert aliased(world.registry, "demand", CHAMPION).version == "1"


def test_the_supervisor_keeps_a_process_while_something_is_due_and_no_rollout_is_under_way(world: World) -> None:
    wanted = rollouts.wanted_controllers(world.project, "gates", "finish")
    world.rollouts.folder.joinpath("demand").mkdir(parents=True)
    assert not names(wanted)
    world.pending.note("demand", "demand@1", "1")
    assert names(wanted) == ["registry-demand"]
    world.pending.done("demand")
    assert not names(wanted)


def names(wanted) -> list[str]:
    controller = wanted("demand")
    return [controller.name] if controller else []


def test_a_rollout_that_is_done_and_not_recorded_ends_in_a_sentence(world: World) -> None:
    done = Standing("demand", rollout=RolloutView("demand@1234", "DONE"))
    require_recorded(done)
    world.pending.note("demand", "demand@1234", "1", "its database was locked")
    with pytest.raises(
        Unavailable, match=r"DONE, but not recorded .* version 1 \(demand@1234\) is live \(its database was locked\)"
    ):
        require_recorded(replace(done, registry=vars(world.pending.due("demand"))))
