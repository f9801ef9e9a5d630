"""Offline gates: each passes, fails, and stays shut on no data and on NaN."""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidegate.domain.actor import Actor
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.files.training_output import open_output
from tidegate.registry.offline_gates import Approval, offline_gates
from tidegate.statistics.resampling import blocks_of, ratio

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
    without_baseline: str = "fail"
    without_champion: str = "pass"
    without_segments: str = "fail"
    without_scores: str = "pipeline"


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
    rows = rows.with_columns(pl.when(abroad).then(pl.col("loss_model") + 3).otherwise(pl.col("loss_model")).alias("loss_model"))
    result = judge(tmp_path, rows, champion="1")["segments"]
    assert result.verdict is Verdict.FAIL
    assert "country=abroad" in result.evidence.summary


def test_segments_too_small_to_judge_are_not_a_pass(tmp_path: Path) -> None:
    rules = replace(Rules(), segments=Segments(min_rows=10_000))
    assert judge(tmp_path, outputs.evaluation(), rules=rules)["segments"].verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("gate", ["beats_baseline", "segments"])
def test_nan_is_an_error(tmp_path: Path, gate: str) -> None:
    rows = outputs.evaluation().with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(float("nan")).otherwise(pl.col("loss_model")).alias("loss_model")
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
    .otherwise(pl.col("loss_model"))
    .alias("loss_model"),
    "a missing forecast": pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col("loss_model")).alias("loss_model"),
    "a loss below nothing": pl.when(pl.int_range(pl.len()) == 5).then(-1.0).otherwise(pl.col("loss_model")).alias("loss_model"),
    "a row of nobody": pl.when(pl.int_range(pl.len()) == 5).then(None).otherwise(pl.col("sku")).alias("sku"),
    "a baseline that forecast half": pl.when(pl.int_range(pl.len()) % 2 == 0)
    .then(None)
    .otherwise("loss_naive")
    .alias("loss_naive"),
    "errors beyond any sum": pl.lit(1e308).alias("loss_naive"),
    "text": pl.lit("three").alias("loss_model"),
}


@pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
def test_an_evaluation_that_cannot_be_judged_never_passes(tmp_path: Path, change: pl.Expr) -> None:
    rows = outputs.evaluation(champion=1.5)
    assert not closed(tmp_path / "sound", rows, "1")
    assert "beats_baseline" in closed(tmp_path / "changed", rows.with_columns(change), "1")


def test_a_forecast_counted_twice_is_an_error(tmp_path: Path) -> None:
    rows = outputs.evaluation(rows=600, champion=1.5)
    results = judge(tmp_path, pl.concat([rows, rows, rows]), "1")
    for gate in ("beats_baseline", "no_worse_than_champion", "segments"):
        assert results[gate].verdict is Verdict.ERROR, gate
        assert "1800 rows of the same sku, event_timestamp" in results[gate].evidence.summary


def test_the_rows_say_which_baseline_is_the_best(tmp_path: Path) -> None:
    """A summary that names a worse one alone, or calls it better, changes nothing."""
    rows = outputs.evaluation(model=1.0, baseline=2.0)
    rows = rows.with_columns(loss_good=pl.lit(0.1))
    assert "good" in judge(tmp_path, rows)["beats_baseline"].evidence.summary
    assert judge(tmp_path, rows)["beats_baseline"].verdict is Verdict.FAIL


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_row_is_never_a_pass(tmp_path: Path, rows: int) -> None:
    rules = replace(Rules(), min_rows=1, segments=Segments(min_rows=1))
    few = judge(tmp_path, outputs.evaluation(champion=1.5).head(rows), "1", rules=rules)
    assert not {name for name, result in few.items() if result.verdict.opens} - {"artifact_digest", "approval", "segments"}


@pytest.mark.parametrize("schema", [1, 2])
def test_what_the_first_version_wrote_is_judged_alike(tmp_path: Path, schema: int) -> None:
    output = outputs.write_output(tmp_path, outputs.evaluation(champion=1.5), "1", schema)
    results = {r.gate: r for r in offline_gates(output, "demand/2", output.artifact_digest, "1", Rules())}
    assert {name: r.verdict for name, r in results.items()} == dict.fromkeys(results, Verdict.PASS)
    assert results["beats_baseline"].evidence.numbers["ratio"] == pytest.approx(0.498, abs=0.01)


def test_one_key_is_judged_over_blocks_of_time_and_not_without_any(tmp_path: Path) -> None:
    one = outputs.evaluation(champion=1.5).with_columns(
        sku=pl.lit("S1"), event_timestamp=pl.lit(outputs.FIRST) + pl.duration(hours=pl.int_range(pl.len()))
    )
    result = judge(tmp_path / "over time", one, "1")["beats_baseline"]
    assert result.verdict is Verdict.PASS
    assert "250 blocks of time" in result.evidence.summary
    assert result.evidence.numbers["upper"] > result.evidence.numbers["ratio"] + 0.005  # a bound of some width
    timeless = judge(tmp_path / "timeless", one.drop("event_timestamp"), "1")["beats_baseline"]
    assert timeless.verdict is Verdict.INCONCLUSIVE
    assert "1 keys were evaluated, required 10, or a column 'event_timestamp'" in timeless.evidence.summary


def test_errors_that_come_in_spells_make_the_bound_wider() -> None:
    """Rows drawn one by one would claim more than is known."""
    rng = np.random.default_rng(1)
    moments = np.arange(1000)
    spells = np.repeat(rng.gamma(1.0, 1.0, 100), 10)
    by_row = ratio(spells, np.ones(1000), moments)
    by_block = ratio(spells, np.ones(1000), blocks_of(moments))
    assert by_block.units == 100
    assert by_block.upper - by_block.value > 2 * (by_row.upper - by_row.value)


def test_nothing_to_compare_with_is_decided_by_rule_and_said(tmp_path: Path) -> None:
    alone = outputs.evaluation().drop("loss_naive")
    folder = tmp_path / "alone"
    output = outputs.write_output(folder, alone)
    said = json.loads((folder / "evaluation.json").read_bytes())
    (folder / "evaluation.json").write_text(json.dumps({**said, "baselines": []}))
    output = open_output(folder)

    def verdicts(rules: Rules, champion: str | None = None) -> dict[str, GateResult]:
        return {r.gate: r for r in offline_gates(output, "demand/1", output.artifact_digest, champion, rules)}

    closed = verdicts(Rules())
    assert closed["beats_baseline"].verdict is closed["segments"].verdict is Verdict.FAIL
    assert "no baseline was evaluated, and promotion.without_baseline is 'fail'" in closed["beats_baseline"].evidence.summary
    opened = verdicts(Rules(without_baseline="pass"))
    assert opened["beats_baseline"].verdict is opened["segments"].verdict is Verdict.PASS
    assert "nothing was compared" in opened["beats_baseline"].evidence.summary
    assert verdicts(Rules(without_champion="fail"))["no_worse_than_champion"].verdict is Verdict.FAIL
    whole = outputs.evaluation().drop("segment_country")
    assert judge(tmp_path / "whole", whole)["segments"].verdict is Verdict.FAIL
    assert judge(tmp_path / "all", whole, rules=Rules(without_segments="pass"))["segments"].verdict is Verdict.PASS


def test_a_segment_without_a_loss_is_no_error_of_the_gate(tmp_path: Path) -> None:
    home = pl.col("segment_country") == "home"
    easy = outputs.evaluation(champion=1.0, model=0.9).with_columns(
        pl.when(home).then(pl.col(name)).otherwise(0.0).alias(name) for name in ("loss_model", "loss_champion")
    )
    assert judge(tmp_path / "easy", easy, champion="1")["segments"].verdict is Verdict.PASS
    wrong = easy.with_columns(loss_model=pl.when(home).then("loss_model").otherwise(0.1))
    result = judge(tmp_path / "wrong", wrong, champion="1")["segments"]
    assert result.verdict is Verdict.FAIL
    assert "country=abroad at a loss where it has none" in result.evidence.summary
