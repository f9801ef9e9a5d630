"""Facts are counted from logs: each count against a log small enough to count by hand."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demo import facts
from demo.christmas import Comparison
from demo.load import classify


def request(at: float, slot: str | None = "blue", release: str | None = "demand@aa", status: int = 200, **more: object) -> dict:
    return {"id": f"r{at}", "at": at, "ms": 10.0, "slot": slot, "release": release, "status": status} | {
        "outcome": "answered" if release else "lost",
        "mixed": False,
        **more,
    }


LOG = [
    request(1.0),
    request(1.5, slot="green", release="demand@bb"),
    request(2.0, slot="green", release="demand@bb", status=500),
    request(4.5, slot="green", release="demand@bb", status=500),
    request(5.0, slot=None, release=None, status=503),
    request(6.0, mixed=True),
]


def test_requests_are_counted_once_each() -> None:
    counted = facts.request_facts(LOG)
    assert counted["sent"] == 6
    assert counted["answered"] + counted["lost"] == counted["sent"]
    assert (counted["lost"], counted["mixed"]) == (1, 1)
    assert counted["by_slot"] == {"blue": 2, "green": 3}
    assert counted["by_status"] == {"200": 3, "500": 2, "503": 1}


def test_rollback_runs_from_the_first_bad_answer_to_the_last() -> None:
    rollback = facts.rollback_facts(LOG, "demand@bb")
    assert rollback["first_bad"] == pytest.approx(2.01)
    assert rollback["seconds"] == pytest.approx(2.5)
    assert (rollback["bad"], rollback["served"]) == (2, 3)


def test_a_release_that_served_nothing_badly_has_no_rollback_time() -> None:
    assert facts.rollback_facts(LOG, "demand@aa")["seconds"] is None


def test_an_unfinished_last_line_is_not_a_request(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    log.write_text(json.dumps(LOG[1]) + "\n" + json.dumps(LOG[0]) + "\n" + '{"id": "torn')
    assert [r["at"] for r in facts.read_requests(log)] == [1.0, 1.5]


def test_series_add_up_to_the_requests() -> None:
    _, series = facts.requests_per_second(LOG)
    assert sum(int(values.sum()) for values in series.values()) == len(LOG)


@pytest.mark.parametrize(
    ("status", "release", "body", "expected"),
    [
        (200, "demand@aa", "demand@aa", ("answered", False)),
        (200, "demand@aa", "demand@bb", ("answered", True)),
        (200, "demand@aa", None, ("answered", True)),
        (500, "demand@aa", None, ("answered", False)),
        (503, None, None, ("lost", False)),
    ],
)
def test_an_answer_without_a_release_is_lost(status: int, release: str | None, body: str | None, expected: tuple) -> None:
    assert classify(status, release, body) == expected


def test_a_change_is_told_only_where_the_skus_agree() -> None:
    rng = np.random.default_rng(1)
    actual = rng.gamma(2, 5, 3000)
    rows = pl.DataFrame({"sku": [f"S{i % 60}" for i in range(3000)], "actual": actual})
    noise = rng.normal(size=(2, 3000))

    def change(scale: float) -> dict[str, float]:
        both = rows.with_columns(before_q50=actual + noise[0], after_q50=actual + scale * noise[1])
        return Comparison(both).change()

    same, better = change(1.0), change(0.8)
    assert same["low"] < 1 < same["high"]
    assert better["high"] < 1
    assert better["ratio"] == pytest.approx(0.8, abs=0.05)
