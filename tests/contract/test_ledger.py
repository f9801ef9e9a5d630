"""One suite for every ledger: in memory and as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.adapters.files.ledger_file import FileLedger
from tidegate.domain.errors import InvalidInput
from tidegate.ledger.chain import GENESIS
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.ledger import Ledger


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "memory":
        return MemoryLedger()
    return FileLedger(tmp_path / "ledger", tmp_path / "keys")


def test_an_empty_ledger_is_whole(ledger: Ledger) -> None:
    assert list(ledger.entries()) == []
    verification = ledger.verify()
    assert (verification.ok, verification.entries, verification.head) == (True, 0, GENESIS)


def test_entries_come_back_in_order_and_chained(ledger: Ledger) -> None:
    written = [ledger.append("verdict", f"demand@{i}", {"value": i, "of": ("a", None)}, actor="ada") for i in range(4)]
    read = list(ledger.entries())
    assert read == written
    assert [entry.sequence for entry in read] == [1, 2, 3, 4]
    assert [entry.previous for entry in read] == [GENESIS, *(entry.hash for entry in read[:-1])]
    assert read[0].body == {"value": 0, "of": ["a", None]}
    verification = ledger.verify()
    assert (verification.ok, verification.entries, verification.head, verification.problem) == (True, 4, read[-1].hash, "")


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}])
def test_a_body_that_is_not_plain_json_is_refused_and_leaves_no_trace(ledger: Ledger, body: dict[str, object]) -> None:
    ledger.append("verdict", "demand@1", {})
    with pytest.raises(InvalidInput, match="not plain JSON"):
        ledger.append("verdict", "demand@1", body)
    assert ledger.verify().ok
    assert ledger.append("verdict", "demand@1", {}).sequence == 2
