"""The classifier of the employment project: texts in, label and probabilities out; its scores, and its report by group."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from projects.employment.pipelines.employment import evaluation, learn
from tidegate.adapters.files.dataset_files import DatasetFiles
from tidegate.adapters.kfp.runner import compile_pipeline
from tidegate.api.project import open_onnx
from tidegate.data.dataset import load_dataset
from tidegate.data.ingest import ingest
from tidegate.gates.monitor_file import load_monitor
from tidegate.statistics.calibration import calibrate
from tidegate.statistics.distances import DISTANCES, comparable

PROJECT = Path(__file__).parents[1] / "projects/employment"

SETTINGS = {"trees": 15, "leaves": 8, "learning_rate": 0.2, "min_rows_in_leaf": 10, "seed": 7}


@functools.cache
def people() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    n = 1500
    age, schooling = rng.integers(0, 90, n), rng.integers(1, 25, n)
    working = (age > 17) & (age < 65) & (rng.random(n) < 0.4 + schooling / 50)
    codes = {name: [str(code) for code in rng.integers(1, 4, n)] for name in learn.CODES}
    return pl.DataFrame({"age": age.astype(float), **codes, "employed": working}).with_columns(
        schooling=pl.Series([str(s) for s in schooling]), sex=pl.Series([str(s) for s in rng.integers(1, 3, n)])
    )


@functools.cache
def onnx() -> bytes:
    return learn.learn(people().head(1000), SETTINGS)


def scored(rows: pl.DataFrame) -> dict[str, np.ndarray]:
    return dict(open_onnx(onnx(), "employment").run(learn.tensors(rows)))


def test_the_graph_takes_texts_and_answers_label_and_probabilities() -> None:
    answers = scored(people().tail(500))
    assert set(answers) == {"label", "probabilities"}
    chosen = np.array(learn.LABELS)[answers["probabilities"].argmax(axis=1)]
    assert (answers["label"].astype(str) == chosen).all()
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1.0, atol=1e-5)


def test_equal_people_give_equal_bytes() -> None:
    assert learn.learn(people().head(1000), SETTINGS) == onnx()


def test_a_code_that_nobody_has_seen_is_answered() -> None:
    odd = people().head(2).with_columns(schooling=pl.lit("99"), race=pl.lit("new"))
    assert np.isfinite(scored(odd)["probabilities"]).all()


def test_it_beats_what_age_alone_says() -> None:
    known, held_out = people().head(1000), people().tail(500)
    employed = held_out["employed"].to_numpy()
    measured = evaluation.metrics(employed, scored(held_out)["probabilities"][:, 0])
    plain = {name: evaluation.metrics(employed, p) for name, p in evaluation.baselines(held_out, known).items()}
    assert measured["log_loss"] < plain["by_age"]["log_loss"] < plain["base_rate"]["log_loss"]
    assert measured["auc"] > 0.8
    assert plain["base_rate"]["auc"] == 0.5


def test_the_losses_are_those_of_the_outcome() -> None:
    losses = evaluation.log_losses(np.array([True, False, True]), np.array([0.5, 0.5, 0.0]))
    assert losses.tolist() == [pytest.approx(np.log(2)), pytest.approx(np.log(2)), pytest.approx(-np.log(1e-6))]


def test_fairness_is_told_by_group_and_widest_difference() -> None:
    rows = people()
    employed, groups = rows["employed"].to_numpy(), evaluation.segments(rows)
    unfair = np.where(groups["segment_sex"] == "male", 0.9, 0.1)
    report = evaluation.fairness(employed, unfair, groups)
    assert report["sex"]["groups"]["male"]["selected"] == 1.0
    assert report["sex"]["widest"]["selected"] == 1.0
    assert set(report) == set(evaluation.SEGMENTS)
    lines = evaluation.told(report)
    assert any(line.startswith("| female |") for line in lines)
    everyone = evaluation.fairness(np.ones(3, bool), np.ones(3), groups.head(3))
    assert everyone["age"]["widest"]["selected"] is None


def test_the_compiled_pipeline_is_up_to_date_and_the_monitor_file_is_one(tmp_path: Path) -> None:
    compile_pipeline(PROJECT / "pipelines/employment/pipeline.py", tmp_path / "pipeline.yaml")
    assert (tmp_path / "pipeline.yaml").read_bytes() == (PROJECT / "pipelines/employment/pipeline.yaml").read_bytes()
    assert [gate.name for gate in load_monitor(PROJECT / "monitoring/employment.yaml").gates] == ["shadow", "drift", "bake"]


def test_every_person_of_the_sample_is_counted(tmp_path: Path) -> None:
    dataset = load_dataset(PROJECT / "definitions/people.py")
    report = ingest(dataset, DatasetFiles([PROJECT / "data/people.parquet"]), tmp_path / "data")
    assert report.counts == {"rows": 24_000, "quarantine": 0}
    assert set(learn.INPUTS) <= set(dataset.columns)


@pytest.mark.parametrize("year", [2017, 2018])
def test_a_years_change_of_people_is_hardly_ever_drift_and_an_older_people_always_is(year: int, tmp_path: Path) -> None:
    """Windows of one year's people by thresholds that come from the year before, as the gate measures inputs."""
    dataset = load_dataset(PROJECT / "definitions/people.py")
    ingest(dataset, DatasetFiles([PROJECT / "data/people.parquet"]), tmp_path)
    rows = pl.read_parquet(next(tmp_path.glob("**/rows.parquet")))
    known, asked = (rows.filter(pl.col("year") == each) for each in (year - 1, year))
    [rules] = [gate.rules for gate in load_monitor(PROJECT / "monitoring/employment.yaml").gates if gate.name == "drift"]
    window, names = int(rules["window"]), list(learn.INPUTS)
    limits = calibrate(known, names, window, 1.0, rules["false_alarm_budget"], 7, rules["draws"]).features
    measured = {name: counter(known[name], asked[name], limits[name].method) for name in names}

    def drifts(chosen: np.ndarray) -> bool:
        return any(measured[name](chosen) >= limits[name].threshold for name in names)

    rng, old = np.random.default_rng(1), np.flatnonzero(asked["age"].to_numpy() >= 55)
    alarms = [drifts(rng.choice(len(asked), window, replace=False)) for _ in range(200)]
    assert np.mean(alarms) <= 0.02
    assert all(drifts(rng.choice(old, window, replace=False)) for _ in range(20))


def counter(reference: pl.Series, current: pl.Series, method: str) -> Callable[[np.ndarray], float]:
    """The distance of those rows of `current` that are chosen."""
    sides = reference.to_numpy(), current.to_numpy()
    if DISTANCES[method].ranked:
        sides = tuple(comparable(sides[0].astype(float), side.astype(float), method) for side in sides)  # type: ignore[assignment]
    values, codes = np.unique(np.concatenate(sides), return_inverse=True)
    there, here = np.bincount(codes[: len(reference)], minlength=len(values)), codes[len(reference) :]
    return lambda chosen: DISTANCES[method].counted(values, there, np.bincount(here[chosen], minlength=len(values)))
