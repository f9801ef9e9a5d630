"""The graph answers as the forests do, for texts that nobody has seen too; bands hold what they say."""

from __future__ import annotations

import functools
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from pipelines.lead_time import evaluation, model
from pipelines.lead_time.encoding import codes, encoded
from pipelines.lead_time.questions import TIME, questions

from definitions.lead_time.deliveries import UNTIL, deliveries
from definitions.lead_time.test_features import TABLES, VIEWS
from tidegate.api.project import open_onnx

SETTINGS = {
    "trees": 12,
    "leaves": 6,
    "learning_rate": 0.2,
    "min_rows_in_leaf": 10,
    "feature_fraction": 0.8,
    "seed": 7,
    "calibration_days": 182,
    "calibration_folds": 2,
    "calibration_min_rows": 50,
    "origins": 2,
    "margin_days": 90,
}
VECTOR = [f"{view}__{name}" for view in VIEWS for name in TABLES["numbers"](view)]


@functools.cache
def rows() -> pl.DataFrame:
    """Questions with the features that were known, joined by time alone."""
    asked, shipments = questions(deliveries(), UNTIL), deliveries()
    for view, table in TABLES["build"]({"shipments": shipments}, UNTIL).items():
        named = table.rename({name: f"{view}__{name}" for name in TABLES["numbers"](view)})
        asked = asked.sort(TIME).join_asof(named.sort(TIME), on=TIME, by=list(VIEWS[view][0]), check_sortedness=False)
    return asked.sort(TIME, "line")


@functools.cache
def learned() -> dict[str, model.Part]:
    return model.learn(rows(), VECTOR, UNTIL, SETTINGS)


def run(onnx: bytes, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return open_onnx(onnx, "lead_time").run(inputs)


def test_the_graph_answers_as_the_forests_do() -> None:
    onnx = model.to_onnx(learned(), VECTOR)
    found = run(onnx, model.tensors(rows(), VECTOR))[model.OUTPUT]
    for basis, part in learned().items():
        mine = (rows()["counted_from"] == basis).to_numpy()
        wanted = part.quantiles(rows().filter(pl.Series(mine)), VECTOR)
        np.testing.assert_allclose(found[mine], wanted, atol=1e-3)
    assert (np.diff(found, axis=1) >= 0).all()


def test_equal_inputs_give_equal_bytes() -> None:
    again = model.learn(rows(), VECTOR, UNTIL, SETTINGS)
    assert model.to_onnx(again, VECTOR) == model.to_onnx(learned(), VECTOR)


def test_what_nobody_has_seen_is_missing_and_no_question_at_all_has_no_answer() -> None:
    onnx = model.to_onnx(learned(), VECTOR)
    inputs = model.tensors(rows().tail(2), VECTOR)
    inputs["incoterm"] = np.array([["never seen"], [""]], object)
    inputs["features"] = np.full_like(inputs["features"], np.nan)
    assert np.isfinite(run(onnx, inputs)[model.OUTPUT]).all()
    inputs["counted_from"] = np.array([["wish"], [""]], object)
    assert np.isnan(run(onnx, inputs)[model.OUTPUT]).all()


def test_categories_stand_for_their_medians_and_rare_ones_for_nothing() -> None:
    table = pl.DataFrame(
        {"mode": ["Air"] * 40 + ["Truck"] * 40 + ["Ocean"] * 3, "days": [10.0] * 40 + [50.0] * 40 + [90.0] * 3}
    )
    known = codes(table, ["mode"], "days")
    assert set(known["mode"]) == {"Air", "Truck"}
    assert known["mode"]["Air"] < known["mode"]["Truck"]
    assert np.isnan(encoded(pl.DataFrame({"mode": ["Ocean", "Sledge"]}), known)).all()


def test_half_years_end_well_before_the_data_do() -> None:
    spans = evaluation.half_years(UNTIL, 3, 365)
    assert [f"{begin:%Y-%m}" for begin, _ in spans] == ["2011-07", "2012-01", "2012-07"]
    assert all(UNTIL - end >= timedelta(days=365) for _, end in spans)


def test_the_loss_is_the_pinball_loss() -> None:
    loss = evaluation.pinball(np.array([10.0]), np.array([[0.0, 12.0, 12.0]]))
    assert loss.tolist() == [[pytest.approx(1.0), pytest.approx(1.0), pytest.approx(0.2)]]


def test_rolling_origins_compare_the_model_with_what_was_known_then() -> None:
    table = evaluation.rolling(rows(), VECTOR, UNTIL, SETTINGS, run)
    measured = evaluation.summary(table)
    forecasts = measured["forecasts"]
    assert forecasts["model"]["pinball"] < forecasts["global"]["pinball"]
    assert 0.6 <= forecasts["model"]["coverage"] <= 0.95
    found = evaluation.losses(table)
    assert found["loss_model"].mean() == pytest.approx(forecasts["model"]["pinball"])
    champion = found.head(10).select("line", loss_model=pl.col("loss_model") + 1)
    compared = evaluation.losses(table, champion)
    assert compared["loss_champion"].count() == 10
    assert len(compared) == len(found)
