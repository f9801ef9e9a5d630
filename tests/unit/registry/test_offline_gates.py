"""Offline gates: each passes, fails, and stays shut on no data and on NaN."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

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
    nobody = Approval(" ", "fine")
    assert judge(tmp_path, rows, approval_required=True, approved=nobody)["approval"].verdict is Verdict.INCONCLUSIVE
    given = Approval("Ada", "reviewed the card")
    assert judge(tmp_path, rows, approval_required=True, approved=given)["approval"].verdict is Verdict.PASS
