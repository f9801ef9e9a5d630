"""Offline gates: each passes, fails, and stays shut on no data and on NaN."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from tidegate.domain.actor import Actor
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.registry.offline_gates import Approval, offline_gates

spec = importlib.util.spec_from_file_location("outputs", Path(__file__).with_name("outputs.py"))
outputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(outputs)


@dataclass(frozen=True)
class Margin:
    margin: float


@dataclass(frozen=True)
class Segments:
    max_worse: float = 0.15
    min_rows: int = 200


@dataclass(frozen=True)
class Rules:
    min_rows: int = 1000
    beats_baseline: Margin = Margin(0.05)
    no_worse_than_champion: Margin = Margin(0.02)
    segments: Segments = Segments()


def judge(folder: Path, rows: pl.DataFrame, champion: str | None = None, **more: object) -> dict[str, GateResult]:
    output = outputs.write_output(folder, rows, champion)
    arguments = {"registered_digest": output.artifact_digest, "champion": champion, "rules": Rules()} | more
    return {result.gate: result for result in offline_gates(output, "demand/1", **arguments)}


def test_a_better_model_passes_every_gate(tmp_path: Path) -> None:
    results = judge(tmp_path, outputs.evaluation(champion=1.5), champion="1")
    assert {name: r.verdict for name, r in results.items()} == dict.fromkeys(results, Verdict.PASS)
    assert results["beats_baseline"].evidence.sample_size == 4000


def test_a_model_no_better_than_the_baseline_fails(tmp_path: Path) -> None:
    assert judge(tmp_path, outputs.evaluation(model=2.0))["beats_baseline"].verdict is Verdict.FAIL


def test_being_unsure_is_not_a_pass(tmp_path: Path) -> None:
    rows = outputs.evaluation(rows=1000, model=1.0, baseline=1.09)
    assert judge(tmp_path, rows)["beats_baseline"].verdict is not Verdict.PASS


def test_a_model_worse_than_the_champion_fails(tmp_path: Path) -> None:
    results = judge(tmp_path, outputs.evaluation(champion=0.8), champion="1")
    assert results["no_worse_than_champion"].verdict is Verdict.FAIL


def test_an_evaluation_against_another_champion_says_nothing(tmp_path: Path) -> None:
    output = outputs.write_output(tmp_path, outputs.evaluation(champion=2.0), champion="1")
    results = {r.gate: r for r in offline_gates(output, "demand/3", output.artifact_digest, "2", Rules())}
    assert results["no_worse_than_champion"].verdict is Verdict.INCONCLUSIVE


def test_one_segment_much_worse_fails_by_its_name(tmp_path: Path) -> None:
    rows = outputs.evaluation(champion=1.0, model=0.9)
    abroad = pl.col("segment_country") == "abroad"
    rows = rows.with_columns(pl.when(abroad).then(pl.col("model_q50") + 3).otherwise(pl.col("model_q50")).alias("model_q50"))
    result = judge(tmp_path, rows, champion="1")["segments"]
    assert result.verdict is Verdict.FAIL
    assert "country=abroad" in result.evidence.summary


def test_segments_too_small_to_judge_are_not_a_pass(tmp_path: Path) -> None:
    rules = replace(Rules(), segments=Segments(min_rows=10_000))
    assert judge(tmp_path, outputs.evaluation(), rules=rules)["segments"].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("gate", ["beats_baseline", "segments"])
def test_nan_is_an_error(tmp_path: Path, gate: str) -> None:
    rows = outputs.evaluation().with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(float("nan")).otherwise(pl.col("model_q50")).alias("model_q50")
    )
    assert judge(tmp_path, rows)[gate].verdict is Verdict.ERROR


@pytest.mark.parametrize("gate", ["beats_baseline", "segments"])
def test_no_data_is_never_a_pass(tmp_path: Path, gate: str) -> None:
    assert judge(tmp_path, outputs.evaluation().head(0))[gate].verdict is not Verdict.PASS


def test_another_artifact_than_the_registered_fails(tmp_path: Path) -> None:
    assert judge(tmp_path, outputs.evaluation(), registered_digest="0" * 64)["artifact_digest"].verdict is Verdict.FAIL


def test_approval_waits_for_a_named_person_with_a_reason(tmp_path: Path) -> None:
    rows = outputs.evaluation()
    assert judge(tmp_path, rows, approval_required=True)["approval"].verdict is Verdict.INCONCLUSIVE
    nobody = Approval(Actor(" "), "fine")
    assert judge(tmp_path, rows, approval_required=True, approved=nobody)["approval"].verdict is Verdict.INCONCLUSIVE
    given = Approval(Actor("Ada"), "reviewed the card")
    assert judge(tmp_path, rows, approval_required=True, approved=given)["approval"].verdict is Verdict.PASS


def closed(folder: Path, rows: pl.DataFrame, champion: str | None = None, **more: object) -> set[str]:
    """The gates that did not pass."""
    return {name for name, result in judge(folder, rows, champion, **more).items() if not result.verdict.opens}


TABLES = {
    "an infinite forecast": pl.when(pl.int_range(pl.len()) == 5)
    .then(float("inf"))
    .otherwise(pl.col("model_q50"))
    .alias("model_q50"),
    "a missing forecast": pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col("model_q50")).alias("model_q50"),
    "a missing actual": pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col("actual")).alias("actual"),
    "a row of nobody": pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col("sku")).alias("sku"),
    "a baseline that forecast half": pl.when(pl.int_range(pl.len()) % 2 == 0)
    .then(None)
    .otherwise("naive_q50")
    .alias("naive_q50"),
    "errors beyond any sum": pl.lit(1e308).alias("naive_q50"),
    "text": pl.lit("three").alias("model_q50"),
    "one entity": pl.lit("S1").alias("sku"),
}


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_an_evaluation_that_cannot_be_judged_never_passes(tmp_path: Path, change: pl.Expr) -> None:
    rows = outputs.evaluation(champion=1.5)
    assert not closed(tmp_path / "sound", rows, "1")
    assert "beats_baseline" in closed(tmp_path / "changed", rows.with_columns(change), "1")


def test_a_forecast_counted_twice_is_an_error(tmp_path: Path) -> None:
    rows = outputs.evaluation(rows=600, champion=1.5).with_columns(origin=pl.int_range(pl.len()), horizon=pl.lit(1))
    results = judge(tmp_path, pl.concat([rows, rows, rows]), "1")
    for gate in ("beats_baseline", "no_worse_than_champion", "segments"):
        assert results[gate].verdict is Verdict.ERROR, gate
        assert "1800 rows of the same sku, origin, horizon" in results[gate].evidence.summary


def test_the_rows_say_which_baseline_is_the_best(tmp_path: Path) -> None:
    """A summary that names a worse one alone, or calls it better, changes nothing."""
    rows = outputs.evaluation(model=1.0, baseline=2.0)
    rows = rows.with_columns(good_q50=pl.col("actual") + 0.1)
    assert "good" in judge(tmp_path, rows)["beats_baseline"].evidence.summary
    assert judge(tmp_path, rows)["beats_baseline"].verdict is Verdict.FAIL


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_row_is_never_a_pass(tmp_path: Path, rows: int) -> None:
    rules = replace(Rules(), min_rows=1, segments=Segments(min_rows=1))
    few = judge(tmp_path, outputs.evaluation(champion=1.5).head(rows), "1", rules=rules)
    assert not {name for name, result in few.items() if result.verdict.opens} - {"artifact_digest", "approval", "segments"}
