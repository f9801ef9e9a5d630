"""An evaluation says of itself what its rows say, whatever version wrote it."""

import importlib.util
import json
from pathlib import Path

import polars as pl
import pytest

from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.files.evaluation import Evaluation, read
from tidegate.files.training_output import TrainingOutput
from tidegate.training.output import summarised

spec = importlib.util.spec_from_file_location("outputs", Path(__file__).with_name("outputs.py"))
outputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(outputs)


def of_version_1(folder: Path, eligible: bool) -> TrainingOutput:
    rows = outputs.of_version_1(outputs.evaluation())
    said = rows
    if eligible:
        rows = rows.with_columns(eligible=pl.int_range(pl.len()) % 2 == 0)
        said = rows.filter("eligible")
    error = float((said["model_q50"] - said["actual"]).abs().sum() / said["actual"].sum())
    output = outputs.write_output(folder, outputs.evaluation(), schema=1)
    rows.write_parquet(folder / "evaluation.parquet")
    summary = json.loads((folder / "evaluation.json").read_bytes())
    summary["forecasts"]["model"] = {"pinball": 3.0, "wape": error}
    (folder / "evaluation.json").write_text(json.dumps(summary))
    return output


@pytest.mark.parametrize("eligible", [False, True])
def test_the_first_version_s_summary_is_held_against_its_rows(tmp_path: Path, eligible: bool) -> None:
    output = of_version_1(tmp_path, eligible)
    assert list(output.evaluation.contradictions()) == []
    text = (tmp_path / "evaluation.json").read_text()
    (tmp_path / "evaluation.json").write_text(text.replace('"wape": 0.', '"wape": 1.'))
    assert "relative error" in next(TrainingOutput(tmp_path).evaluation.contradictions())


def test_a_summary_that_says_another_loss_than_the_rows_contradicts_them(tmp_path: Path) -> None:
    output = outputs.write_output(tmp_path, outputs.evaluation(champion=1.5), "1")
    assert list(output.evaluation.contradictions()) == []
    better = outputs.evaluation(model=0.5).head(10)
    found = list(read(better, output.summary, ("sku",), "here").contradictions())
    assert any("10 rows" in each for each in found)
    assert any("mean loss of 'model'" in each for each in found)


def test_a_newer_evaluation_is_refused_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="schema 3"):
        read(outputs.evaluation(), {"schema": 3}, ("sku",), "here")


def made(rows: pl.DataFrame, **more: object) -> Evaluation:
    said = {"loss": "absolute error", "scored": "pipeline", "losses": {}}
    arguments = {**said, "champion": None, "identity": (), "metrics": {}} | more
    return summarised(rows, outputs.CONTRACT, **arguments)


def test_what_a_pipeline_writes_is_summarised_with_its_own_metrics_beside_the_losses() -> None:
    metrics = {"model": {"auc": 0.9}, "model_at_night": {"auc": 0.8}}
    found = made(outputs.evaluation(champion=1.5), champion="3", metrics=metrics)
    assert found.summary.baselines == ("naive",)
    assert found.summary.champion == "3"
    assert found.summary.forecasts["model"] == {"loss": found.rows["loss_model"].mean(), "auc": 0.9}
    assert found.summary.forecasts["model_at_night"] == {"auc": 0.8}
    unseen = outputs.evaluation().with_columns(loss_champion=pl.lit(None, pl.Float64))
    assert made(unseen, champion="3").summary.champion is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (pl.lit(None, pl.Float64).alias("loss_naive"), "without a finite loss of 'naive'"),
        (pl.lit(-1.0).alias("loss_model"), "below 0"),
        (pl.lit(None, pl.String).alias("sku"), "rows without 'sku'"),
        (pl.lit("S1").alias("sku"), "rows of the same sku, event_timestamp"),
    ],
)
def test_rows_that_no_gate_could_judge_are_refused_as_they_are_written(change: pl.Expr, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        made(outputs.evaluation().with_columns(change))
