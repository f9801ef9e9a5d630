"""Promotion and building of releases: on the evidence that was registered, against the champion that answers requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import registry_world
from tidegate.apps import versions
from tidegate.apps.reconcile import reconcile
from tidegate.domain.actor import Actor
from tidegate.domain.errors import Conflict, IntegrityError, NotFound, TidegateError, Unavailable
from tidegate.files.layout import StateFolder
from tidegate.files.training_folder import output_digest
from tidegate.ports.registry import OUTPUT_TAG, ModelVersion
from tidegate.registry.promotion import CANDIDATE, CHAMPION, activate, aliased

outputs, World = registry_world.outputs, registry_world.World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def promote(world: World, version: ModelVersion, dry_run: bool = False) -> versions.Promotion:
    return versions.promote(world, "demand", version.version, None, dry_run)


def better_evaluation(folder: Path) -> None:
    outputs.evaluation(model=0.1).write_parquet(folder / "evaluation.parquet")


@pytest.mark.parametrize("where", ["in the registry", "in the copy of it here", "in both, and the tag"])
def test_a_refused_version_whose_evaluation_was_overwritten_is_not_promoted(world: World, where: str) -> None:
    version = world.trained(model=2.5)
    assert not promote(world, version).opens
    kept = next((world.project.state / "outputs/demand").iterdir())
    if where != "in the copy of it here":
        better_evaluation(world.stored(version))
    if where != "in the registry":
        better_evaluation(kept)
    else:
        for path in sorted(kept.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        kept.rmdir()
    if "tag" in where:
        world.registry.set_tags("demand", "1", {OUTPUT_TAG: output_digest(kept)})
    said = "evidence of demand/1: the registry names digest .*, the ledger" if "tag" in where else "evidence"
    with pytest.raises(IntegrityError, match=said):
        promote(world, version)
    assert aliased(world.registry, "demand", CANDIDATE) is None
    with pytest.raises((Conflict, IntegrityError)):
        versions.build_release(world, "demand", "1", None)


def test_a_promotion_says_in_the_ledger_which_evidence_it_judged(world: World) -> None:
    version = world.trained()
    assert promote(world, version).opens
    assert [entry.body["output"] for entry in world.actions("registration")] == [version.output_digest]
    assert [entry.body["output"] for entry in world.actions("promotion")] == [version.output_digest]


def test_a_release_is_built_of_the_evidence_that_was_promoted_and_of_no_other(world: World) -> None:
    version = world.trained()
    assert promote(world, version).opens
    for folder in (world.stored(version), next((world.project.state / "outputs/demand").iterdir())):
        (folder / "features/features.json").write_text("{}")
    with pytest.raises(IntegrityError, match="changed or damaged after the version was registered"):
        versions.build_release(world, "demand", None, None)


def test_a_tag_that_says_passed_does_not_promote(world: World) -> None:
    version = world.trained()
    world.registry.set_tags("demand", "1", {"tidegate.promotion": "passed"})
    world.registry.set_alias("demand", CANDIDATE, "1")
    with pytest.raises(Conflict, match="the ledger has no promotion of it that passed"):
        versions.build_release(world, "demand", version.version, None)


def test_a_version_from_before_digests_waits_for_a_person_unless_it_was_promoted(world: World) -> None:
    version = world.from_before(world.trained())
    with pytest.raises(Conflict, match="'tidegate registry accept demand 1 --reason TEXT'"):
        promote(world, version)
    versions.accept_evidence(world, "demand", "1", "trained by me last week", Actor("ada"))
    assert [(e.actor, e.body["reason"]) for e in world.actions("evidence.bound")] == [("ada", "trained by me last week")]
    assert promote(world, version).opens
    with pytest.raises(Conflict, match="bound already"):
        versions.accept_evidence(world, "demand", "1", "again", Actor("ada"))

    world.from_before(version)  # what an earlier state has: promoted, and no digest anywhere
    world.ledger = without(world, "evidence.bound")
    assert promote(world, version, dry_run=True).opens
    assert not world.actions("evidence.bound"), "a dry run records nothing"
    assert promote(world, version).opens
    assert len(world.actions("evidence.bound")) == 1
    better_evaluation(next((world.project.state / "outputs/demand").iterdir()))
    with pytest.raises(IntegrityError):
        promote(world, version)


def without(world: World, action: str) -> registry_world.MemoryLedger:
    ledger = registry_world.MemoryLedger()
    for entry in world.ledger.entries():
        if entry.action != action:
            ledger.append(entry.action, entry.subject, entry.body, entry.who)
    return ledger


def change_evaluation(folder: Path) -> None:
    better_evaluation(folder)


def change_summary(folder: Path) -> None:
    path = folder / "evaluation.json"
    path.write_text(path.read_text().replace('"wape": 0.75', '"wape": 0.25'))


def change_lineage(folder: Path) -> None:
    path = folder / "lineage.json"
    path.write_text(path.read_text().replace("2011-06-01", "2011-07-01"))


@pytest.mark.parametrize("change", [change_evaluation, change_summary, change_lineage])
def test_evidence_that_differs_from_what_the_registry_recorded_is_accepted_by_nobody(world: World, change) -> None:
    version = world.from_before(world.trained(model=2.5))
    change(world.stored(version))
    with pytest.raises(IntegrityError, match="it is not what was registered"):
        versions.accept_evidence(world, "demand", "1", "looks fine", Actor("ada"))
    assert not world.actions("evidence.bound")


def with_champion(world: World) -> None:
    first = world.trained()
    assert promote(world, first).opens
    world.live(world.release(first))
    activate(world.registry, world.ledger, "demand", "1")


@pytest.mark.parametrize("known_by", ["the live release", "the ledger"])
def test_a_deleted_alias_does_not_open_the_gate(world: World, known_by: str) -> None:
    with_champion(world)
    world.registry.delete_alias("demand", CHAMPION)
    if known_by == "the ledger":
        world.target.wants.clear()
    else:
        world.ledger = without(world, "champion")
    worse = world.trained(model=1.5)
    result = next(r for r in promote(world, worse, dry_run=True).results if r.gate == "no_worse_than_champion")
    assert not result.verdict.opens
    assert "the champion is version 1" in result.evidence.summary


def test_a_promotion_sets_a_deleted_alias_again_and_says_so(world: World) -> None:
    with_champion(world)
    world.registry.delete_alias("demand", CHAMPION)
    promote(world, world.trained())
    assert aliased(world.registry, "demand", CHAMPION).version == "1"
    assert world.actions("registry.reconciled")[0].body["differences"] == [
        "champion is version 1, the registry names no version"
    ]


def test_a_champion_that_the_registry_lacks_closes_the_gate(world: World) -> None:
    with_champion(world)
    world.registry = registry_world.MemoryRegistry()  # another one, or one that was emptied
    stranger = world.trained()
    world.live(world.releases.list("demand")[0])
    lost = registry_world.ReleaseManifest("demand", "9", "demand", "x", world.releases.list("demand")[0].lineage)
    (StateFolder(world.project.state).releases / lost.digest).mkdir(parents=True)
    (StateFolder(world.project.state).releases / lost.digest / "manifest.json").write_bytes(lost.to_bytes())
    world.live(lost)
    for ask in (lambda: promote(world, stranger), lambda: reconcile(world, "demand")):
        with pytest.raises(Conflict, match=r"version 9 is live as demand@.* the registry has no such version"):
            ask()
    assert not [entry for entry in world.actions("champion") if entry.subject == "demand/9"]


def test_the_evidence_of_another_registrys_version_of_the_same_number_is_refused(world: World) -> None:
    with_champion(world)
    world.registry = registry_world.MemoryRegistry()
    other = world.trained(model=0.5)
    with pytest.raises(IntegrityError, match="evidence"):
        promote(world, other)


def test_evidence_that_cannot_be_reached_is_never_a_pass(world: World) -> None:
    version = world.trained()
    world.registry.away = True
    with pytest.raises(Unavailable):
        promote(world, version)
    world.registry.away = False
    assert not world.actions("promotion")
    assert aliased(world.registry, "demand", CANDIDATE) is None


def test_a_release_is_built_of_the_candidate_or_else_of_the_champion(world: World) -> None:
    with pytest.raises(NotFound, match="neither a candidate nor a champion; promote a version"):
        versions.version_to_release(world, "demand")
    with_champion(world)
    assert versions.version_to_release(world, "demand").version == "1"
    second = world.trained()
    world.registry.set_alias("demand", CANDIDATE, second.version)
    assert versions.version_to_release(world, "demand").version == "2"


def test_what_is_live_and_was_not_recorded_is_told_by_the_next_promotion(world: World) -> None:
    with_champion(world)
    second = world.trained()
    manifest = world.live(world.release(second))
    world.pending.note("demand", manifest.id, "2", "its database was locked")
    promote(world, world.trained(), dry_run=True)
    assert aliased(world.registry, "demand", CHAMPION).version == "1", "a dry run tells nothing"
    promote(world, world.trained())
    assert aliased(world.registry, "demand", CHAMPION).version == "2"
    assert world.pending.due("demand") is None


def test_reconcile_makes_the_aliases_follow_what_is_live_and_says_what_differed(world: World) -> None:
    with_champion(world)
    second = world.trained()
    manifest = world.live(world.release(second))
    world.pending.note("demand", manifest.id, "2")
    tried = reconcile(world, "demand", dry_run=True)
    assert (tried.version, tried.ledger, tried.registry, tried.mended) == ("2", "1", "1", False)
    assert tried.differences == (
        f"{manifest.id} of version 2 is live, the ledger names version 1 as champion",
        "champion is version 2, the registry names version 1",
    )
    assert world.pending.due("demand") is not None
    assert reconcile(world, "demand").mended
    assert {a: v.version for a in (CHAMPION, "previous") if (v := aliased(world.registry, "demand", a))} == {
        CHAMPION: "2",
        "previous": "1",
    }
    assert world.pending.due("demand") is None
    assert world.actions("registry.reconciled")[0].body["differences"] == list(tried.differences)
    assert reconcile(world, "demand").differences == ()
    assert len(world.actions("registry.reconciled")) == 1


def test_a_registry_that_is_away_stays_due(world: World) -> None:
    with_champion(world)
    manifest = world.live(world.release(world.trained()))
    world.pending.note("demand", manifest.id, "2")
    world.registry.away = True
    with pytest.raises(Unavailable):
        reconcile(world, "demand")
    assert world.pending.due("demand") is not None


def test_a_rollout_that_switched_and_is_undecided_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with_champion(world)
    before = world.releases.list("demand")[0]
    candidate = world.live(world.release(world.trained()))
    running = registry_world.under_way(candidate.digest, before.digest, switched=True)
    monkeypatch.setattr(world.rollouts, "unfinished", lambda _: running)
    assert versions.champion(world, "demand").version == "1"
    with pytest.raises(Conflict, match="has switched and is not decided"):
        reconcile(world, "demand")
    assert reconcile(world, "demand", dry_run=True).differences == ()


@pytest.mark.parametrize("name", ["registry-pending", "untold"])  # the second as earlier versions called it
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"release": 1}'])
def test_a_damaged_note_is_due_all_the_same(world: World, content: bytes, name: str) -> None:
    with_champion(world)
    path = StateFolder(world.project.state).rollouts / "demand" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert "is damaged" in world.pending.due("demand").reason
    reconcile(world, "demand")
    assert world.pending.due("demand") is None


def test_a_failure_while_it_is_being_told_is_a_sentence_with_its_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with_champion(world)
    manifest = world.live(world.release(world.trained()))

    def fail(*_: object) -> None:
        raise Unavailable("the registry cannot write")

    monkeypatch.setattr(world.registry, "set_alias", fail)
    with pytest.raises(TidegateError):
        reconcile(world, "demand")
    assert world.pending.due("demand").reason == "the registry cannot write"
    assert world.pending.due("demand").release == manifest.id
