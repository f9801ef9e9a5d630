"""On a cluster the registry's aliases follow what is live and decided; what a registry that is away lacks is made up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fakes.cluster import FakeCluster
from fakes.memory_registry import MemoryRegistry
from tidegate.apps.cluster_aliases import COMPARE_S, RETRY_S, ClusterAliases
from tidegate.domain.errors import NotFound
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.registry.pending import PendingUpdates
from tidegate.registry.promotion import CANDIDATE, CHAMPION, PREVIOUS, aliased

LINEAGE = Lineage("data", "features", "code", "pipeline", "run", "2011-01-01T00:00:00")


@dataclass
class World:
    """Versions 1 and 2 are registered, and a release was built of each; `look` is the service's look at the cluster."""

    folder: Path
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    releases: dict[str, ReleaseManifest] = field(default_factory=dict)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.one, self.two = (self.registered(number) for number in "12")
        self.restart()

    def registered(self, number: str) -> str:
        output = self.folder / f"output-{number}"
        for name in (MODEL, CONTRACT):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(number)
        self.registry.register("demand", output, {}, {})
        return self.released(number, number)

    def released(self, version: str, content: str) -> str:
        files = {MODEL: hashlib.sha256(content.encode()).hexdigest()}
        made = ReleaseManifest("demand", version, "demand", "schema", LINEAGE, files)
        self.releases[made.digest] = made
        return made.digest

    def release(self, digest: str) -> ReleaseManifest:
        if digest not in self.releases:
            raise NotFound(f"the store has no release {digest[:12]}")
        return self.releases[digest]

    def restart(self) -> None:
        self.pending = PendingUpdates(self.folder / "registry")
        self.aliases = ClusterAliases(
            self.registry, self.ledger, self.release, self.pending, self.cluster.show_registry, lambda: self.now
        )

    def look(self, live: str, previous: str, seconds: float = 1.0) -> None:
        self.now += seconds
        self.aliases.follow(UnderWay("demand", live, Slot.BLUE, live, Slot.BLUE, previous))

    def named(self) -> dict[str, str | None]:
        found = {alias: aliased(self.registry, "demand", alias) for alias in (CHAMPION, PREVIOUS, CANDIDATE)}
        return {alias: version.version if version else None for alias, version in found.items()}

    def recorded(self) -> list[str]:
        return [entry.subject for entry in self.ledger.entries() if entry.action == "champion"]

    def shown(self) -> str:
        """Why the registry does not have what is live, as the cluster shows it."""
        due = self.cluster.shown["demand"]
        assert due is not None
        return str(due["reason"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.look(made.one, made.one)
    return made


def test_what_is_live_and_decided_is_champion_and_a_release_in_its_bake_is_not(world: World) -> None:
    assert world.named() == {CHAMPION: "1", PREVIOUS: None, CANDIDATE: None}
    world.registry.set_alias("demand", CANDIDATE, "2")
    world.look(world.two, world.one)
    assert world.named() == {CHAMPION: "1", PREVIOUS: None, CANDIDATE: "2"}
    world.look(world.two, world.two)
    assert world.named() == {CHAMPION: "2", PREVIOUS: "1", CANDIDATE: None}
    world.look(world.one, world.one)  # a person went back
    assert world.named() == {CHAMPION: "1", PREVIOUS: "2", CANDIDATE: None}
    assert world.recorded() == ["demand/1", "demand/2", "demand/1"]
    assert (world.pending.due("demand"), world.cluster.shown) == (None, {"demand": None})


def test_nothing_is_recorded_twice_by_a_service_that_is_restarted_and_an_alias_moved_by_hand_is_put_back(world: World) -> None:
    world.look(world.two, world.two)
    world.restart()
    world.look(world.two, world.two)
    assert world.recorded() == ["demand/1", "demand/2"]
    world.registry.set_alias("demand", CHAMPION, "1")
    world.look(world.two, world.two)
    assert world.named()[CHAMPION] == "1", "it is not asked at each look"
    world.look(world.two, world.two, COMPARE_S)
    assert world.named() == {CHAMPION: "2", PREVIOUS: "1", CANDIDATE: None}


def test_what_a_registry_that_is_away_lacks_is_kept_shown_and_made_up(world: World) -> None:
    world.registry.away = True
    world.look(world.two, world.two)
    assert world.shown() == "the registry is away"
    world.restart()
    world.look(world.two, world.two)
    due = world.pending.due("demand")
    assert due is not None
    assert (due.version, due.reason) == ("2", "the registry is away")
    world.registry.away = False
    world.look(world.two, world.two)
    assert world.named()[CHAMPION] == "1", "it is not asked again at once"
    world.look(world.two, world.two, RETRY_S)
    assert world.named() == {CHAMPION: "2", PREVIOUS: "1", CANDIDATE: None}
    assert (world.pending.due("demand"), world.cluster.shown["demand"]) == (None, None)


@pytest.mark.parametrize(("version", "said"), [("9", "no such version"), ("2", "another model under that number")])
def test_a_registry_that_has_not_that_very_version_is_left_alone_and_that_is_shown(
    world: World, version: str, said: str
) -> None:
    digest = world.released(version, "of another registry")
    world.look(digest, digest)
    assert world.named() == {CHAMPION: "1", PREVIOUS: None, CANDIDATE: None}
    assert said in world.shown()
    assert "gates.registry" in world.shown()
    assert world.recorded() == ["demand/1"]


def test_a_release_that_the_store_has_not_is_shown(world: World) -> None:
    world.look("f" * 64, "f" * 64)
    assert "the store has no release" in world.shown()


def test_a_cluster_that_cannot_be_shown_anything_is_shown_it_later(world: World) -> None:
    world.cluster.away = True
    world.look(world.two, world.two)
    assert world.named()[CHAMPION] == "2"
    world.cluster.away = False
    world.look(world.two, world.two, RETRY_S)
    assert (world.pending.due("demand"), world.cluster.shown["demand"]) == (None, None)
