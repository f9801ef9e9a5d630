"""The order in which files of tests begin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tests.conftest import LONGEST, pytest_collection_modifyitems

TESTS = Path(__file__).parents[1]


def test_files_that_are_said_to_take_longest_are_there() -> None:
    assert [name for name in LONGEST if not list(TESTS.rglob(name))] == []


def test_they_come_first_and_the_others_keep_their_order() -> None:
    names = ["test_b.py", LONGEST[1], "test_a.py", LONGEST[0]]
    items = [SimpleNamespace(path=TESTS / name) for name in names]
    pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert [item.path.name for item in items] == [LONGEST[0], LONGEST[1], "test_b.py", "test_a.py"]
