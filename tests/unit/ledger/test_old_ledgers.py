"""A ledger that an older version wrote verifies, and what is asked of it is answered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.apps.inspection import recorded_verdicts
from tidegate.apps.trust import named_releases
from tidegate.domain.digests import is_digest
from tidegate.ports.ledger import Query
from tidegate.ports.registry import ModelVersion
from tidegate.registry.evidence import promoted, recorded_digest
from tidegate.registry.promotion import Champion, recorded_champion

GOLDEN = Path(__file__).parents[2] / "golden/documents/ledger-5228c61"
MADE_BY_A_PERSON = [3, 4, 5, 6, 7, 9, 10, *range(13, 26), 27, 28, 29]


@pytest.fixture
def ledger(tmp_path: Path) -> FileLedger:
    return old(tmp_path)


def old(folder: Path) -> FileLedger:
    for name, place in (("ledger.jsonl", "ledger"), ("head.json", "keys"), ("ledger.pub", "keys")):
        (folder / place).mkdir(exist_ok=True)
        shutil.copy(GOLDEN / name, folder / place)
    return FileLedger(folder / "ledger", folder / "keys")


def test_it_verifies(ledger: FileLedger) -> None:
    assert (ledger.verify().problem, ledger.verify().entries, ledger.check().ok) == ("", 29, True)
    assert not any(line.problem for line in ledger.lines())


def test_its_bodies_are_read(ledger: FileLedger) -> None:
    version = ModelVersion("demand", "2", "", "run")
    assert recorded_champion(ledger, "demand") == Champion("2", "1")
    assert promoted(ledger, version)
    assert recorded_digest(ledger, version) is None  # there were none then
    releases = named_releases(ledger)
    assert len(releases) == 2
    assert all(is_digest(each) for each in releases)
    verdicts = [(found["gate"], found["verdict"]) for found in recorded_verdicts(ledger, "demand", None)]
    assert verdicts[-4:] == [("parity", "PASS"), ("shadow", "PASS"), ("drift", "PASS"), ("bake", "PASS")]


def test_its_actors_are_found_by_name(ledger: FileLedger) -> None:
    assert [entry.sequence for entry in ledger.entries(Query(actor="maker"))] == MADE_BY_A_PERSON


def test_its_actors_are_names_that_nothing_proves(ledger: FileLedger) -> None:
    assert {str(entry.who) for entry in ledger.entries()} == {"maker (unproven)", "tidegate (unproven)"}
