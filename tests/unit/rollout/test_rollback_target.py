"""Going back, and going on after a freeze: to a good release, and with what a person said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tidegate.domain.errors import Conflict, IntegrityError, InvalidInput, NotFound
from tidegate.domain.verdict import Verdict
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.ledger import Entry
from tidegate.rollout.state import Status


def done(world, number: int) -> None:
    world.start(number)
    assert world.run().status is Status.DONE


def rollback(world, to: int | None = None):
    digest = world.releases[to - 1].digest if to else None

    def release(reference: str):
        return next(each for each in world.releases if each.digest.startswith(reference))

    ordered = world.orders.rollback("demand", "complaints", release, world.config, digest)
    world.id = ordered.id
    return world.run()


def live(world) -> int:
    digest = world.target.desired("demand").active_release
    return 1 + [release.digest for release in world.releases].index(digest)


@pytest.fixture
def told(world):
    """Release 1 was rolled out as the first one."""
    world.target.wants.clear()
    done(world, 1)
    return world


def test_a_second_rollback_does_not_bring_the_bad_release_back(told) -> None:
    done(told, 2)
    rollback(told)
    assert live(told) == 1
    with pytest.raises(NotFound, match=rf"rolled back from by ada: complaints.*--to {told.releases[1].id} --reason TEXT"):
        rollback(told)
    assert live(told) == 1
    assert rollback(told, to=2).status is Status.DONE
    assert live(told) == 2


def test_a_second_rollback_goes_on_to_the_release_before(told) -> None:
    done(told, 2)
    done(told, 3)
    rollback(told)
    assert live(told) == 2
    assert told.orders.goes_back_to("demand") == told.releases[0].digest
    rollback(told)
    assert live(told) == 1


def test_a_release_that_a_gate_took_back_is_not_gone_back_to(told) -> None:
    told.gates["bake"].verdict = Verdict.FAIL
    told.start(2)
    assert told.run().status is Status.ROLLED_BACK
    told.gates["bake"].verdict = Verdict.PASS
    done(told, 3)
    rollback(told)
    assert live(told) == 1
    with pytest.raises(InvalidInput, match="no rollout of it was ever done"):
        rollback(told, to=2)


def test_a_release_that_passed_anew_is_good_again(told) -> None:
    done(told, 2)
    rollback(told)
    done(told, 2)
    done(told, 3)
    rollback(told)
    assert live(told) == 2


def test_a_rollback_that_is_ordered_twice_is_one(told) -> None:
    done(told, 2)
    by_digest = {release.digest: release for release in told.releases}
    first = told.orders.rollback("demand", "complaints", by_digest.__getitem__, told.config)
    told.id = first.id
    told.run("retire")
    assert told.orders.rollback("demand", "again", by_digest.__getitem__, told.config).id == first.id
    with pytest.raises(Conflict, match=r"the rollback to .* is under way"):
        rollback(told, to=2)
    assert told.run().status is Status.DONE
    assert live(told) == 1


def test_what_is_live_cannot_be_gone_back_to(told) -> None:
    done(told, 2)
    with pytest.raises(InvalidInput, match="is live already"):
        rollback(told, to=2)


def frozen_by_drift(world):
    world.gates["drift"].verdict = Verdict.FAIL
    world.start(2)
    assert world.run().status is Status.FROZEN


def test_a_frozen_rollout_goes_on_when_the_gate_that_froze_it_is_overridden(world) -> None:
    frozen_by_drift(world)
    assert world.orders.override("demand", "drift", "Christmas, known").status is Status.RUNNING
    ended = world.run()
    assert (ended.status, live(world)) == (Status.DONE, 2)
    assert len(world.gates["parity"].contexts) > 1, "what was proven before the freeze is proven again"


def test_an_override_of_another_gate_leaves_it_frozen(world) -> None:
    frozen_by_drift(world)
    assert world.orders.override("demand", "shadow", "known").status is Status.FROZEN


def test_a_persons_freeze_outlasts_an_override(world) -> None:
    frozen_by_drift(world)
    world.orders.freeze("demand", "stocktaking")
    assert world.orders.override("demand", "drift", "Christmas, known").status is Status.FROZEN
    world.orders.unfreeze("demand", "done")
    assert world.run().status is Status.DONE


def test_starting_again_keeps_the_overrides_of_the_same_release_and_says_so(world) -> None:
    frozen_by_drift(world)
    world.orders.override("demand", "shadow", "known")
    again = world.start(2)
    assert again.overrides["shadow"]["reason"] == "known"
    assert any("override of gate shadow by ada (known) stays" in event["message"] for event in again.history)
    start = [entry for entry in world.ledger.entries() if entry.action == "rollout.start"][-1]
    assert start.body["overrides"]["shadow"]["reason"] == "known"


def test_starting_another_release_states_the_overrides_that_end(world) -> None:
    frozen_by_drift(world)
    world.orders.override("demand", "shadow", "known")
    other = world.start(3)
    assert other.overrides == {}
    assert any(f"was for {world.releases[1].id} alone" in event["message"] for event in other.history)


def test_overrides_given_to_a_rollout_under_way_count(world) -> None:
    world.start(2)
    world.gates["drift"].verdict = Verdict.FAIL
    joined = world.orders.start(world.releases[1], world.config, {"drift": "Christmas, known"})
    assert (joined.id, joined.overrides["drift"]["actor"]) == (world.id, "ada")
    assert world.run().status is Status.DONE
    assert [entry.body["gate"] for entry in world.ledger.entries() if entry.action == "override"] == ["drift"]


def damage(world, id: str) -> None:
    (world.store.folder / "demand" / f"{id}.json").write_bytes(b'{"id": ')


def test_a_damaged_record_of_a_rollback_does_not_bring_the_bad_release_back(told) -> None:
    done(told, 2)
    done(told, 3)
    rollback(told)
    assert live(told) == 2
    damage(told, told.id)
    assert told.orders.goes_back_to("demand") == told.releases[0].digest, "3 was gone back from, as the ledger knows"
    rollback(told)
    assert live(told) == 1


def test_a_damaged_record_of_a_good_release_leaves_it_good(told) -> None:
    done(told, 2)
    second = told.id
    done(told, 3)
    damage(told, second)
    damage(told, told.id)
    rollback(told)
    assert live(told) == 2


@pytest.mark.parametrize("ledger", ["damaged", "without it"])
def test_a_damaged_record_that_the_ledger_does_not_tell_about_needs_a_person_to_name_the_release(told, ledger: str) -> None:
    done(told, 2)
    done(told, 3)
    rollback(told)
    damage(told, told.id)

    class Silent(MemoryLedger):
        def entries(self, *about: object, **more: object) -> Iterator[Entry]:  # type: ignore[override]
            if ledger == "damaged":
                raise IntegrityError("entry 3 was edited")
            return iter(())

    told.orders = replace(told.orders, ledger=Silent())
    with pytest.raises(Conflict, match=r"which release is good is not known: name one with .*--to RELEASE.*demand@"):
        rollback(told)
    assert live(told) == 2
    rollback(told, to=1)
    assert live(told) == 1


def test_a_freeze_that_is_lifted_before_it_was_carried_out_freezes_nothing(world) -> None:
    world.start()
    world.run("shadow")
    world.orders.freeze("demand", "stocktaking")
    assert world.orders.unfreeze("demand", "never mind") is None
    assert world.run().status is Status.DONE
