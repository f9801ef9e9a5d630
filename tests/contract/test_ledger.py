"""One suite for every ledger: in memory and as a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.adapters.files.ledger_file import SEGMENT_BYTES, FileLedger
from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import InvalidInput
from tidegate.ledger.chain import GENESIS
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.ledger import Draft, Ledger, Query


@pytest.fixture(params=["memory", "file", "file of many segments"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    seconds = iter(range(1000, 2000))
    if request.param == "memory":
        return MemoryLedger(lambda: next(seconds))
    limit = SEGMENT_BYTES if request.param == "file" else 500
    return FileLedger(tmp_path / "ledger", tmp_path / "keys", lambda: next(seconds), segment_bytes=limit)


def test_an_empty_ledger_is_whole(ledger: Ledger) -> None:
    assert list(ledger.entries()) == []
    verification = ledger.verify()
    assert (verification.ok, verification.entries, verification.head) == (True, 0, GENESIS)


def test_entries_come_back_in_order_and_chained(ledger: Ledger) -> None:
    written = [ledger.append("verdict", f"demand@{i}", {"value": i, "of": ("a", None)}, actor=Actor("ada")) for i in range(4)]
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


def test_a_batch_is_recorded_in_order_or_not_at_all(ledger: Ledger) -> None:
    ledger.append("verdict", "demand@0", {})
    written = ledger.append_many([Draft("decision", f"order/{i}", {"units": i}, Actor("planner")) for i in range(5)])
    assert [entry.sequence for entry in written] == [2, 3, 4, 5, 6]
    with pytest.raises(InvalidInput, match="not plain JSON"):
        ledger.append_many([Draft("decision", "order/5", {}), Draft("decision", "order/6", {"units": float("inf")})])
    assert list(ledger.append_many([])) == []
    assert list(ledger.entries())[1:] == list(written)
    assert ledger.verify().ok


QUERIES: dict[str, tuple[Query, list[int]]] = {
    "all": (Query(), list(range(1, 13))),
    "of a subject": (Query(subject="demand@1"), [2, 5, 8, 11]),
    "of a subject that only begins like one": (Query(subject="demand"), []),
    "of an actor": (Query(actor="ada"), [1, 5, 9]),
    "of actions": (Query(actions=("promotion", "champion")), [1, 3, 5, 7, 9, 11]),
    "after a sequence number": (Query(after=9), [10, 11, 12]),
    "of a time": (Query(since=1002, until=1005), [3, 4, 5]),
    "of several at once": (Query(subject="demand@1", actions=("verdict",), after=2), [8]),
    "of nothing": (Query(actor="nobody"), []),
}


@pytest.mark.parametrize("case", QUERIES)
def test_a_query_finds_what_matches_in_either_order(case: str, ledger: Ledger) -> None:
    for i in range(12):
        action = ("promotion" if i % 4 else "champion") if i % 2 == 0 else "verdict"
        ledger.append(action, f"demand@{i % 3}", {"value": i}, actor=PLATFORM if i % 4 else Actor("ada"))
    query, found = QUERIES[case]
    assert [entry.sequence for entry in ledger.entries(query)] == found
    assert [entry.sequence for entry in ledger.entries(query, newest_first=True)] == found[::-1]


def test_a_check_and_a_whole_verification_say_the_same_of_a_sound_ledger(ledger: Ledger) -> None:
    for i in range(12):
        ledger.append("verdict", f"demand@{i}", {})
        assert ledger.check() == ledger.verify()
    assert ledger.check().ok
