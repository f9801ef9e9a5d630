"""What a training looks at, and rolling origins: nothing from after an origin reaches a forecast made at it."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from pipelines.demand import frame
from pipelines.demand.evaluation import Champion, rolling_forecasts, summary
from pipelines.demand.panel import Panel, build_panel, segments
from pipelines.demand.parameters import TrainingParameters
from pipelines.demand.validation import check_rows, check_sales
from shop import DAYS, FIRST, PARAMETERS, UNTIL, QuantilesOfTarget, constant_onnx, sales

from tidegate.api.training import require
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput

NAMES = ("v__mean", "horizon_days")
CONTRACT = FeatureContract("demand", "sku", {"v": ("mean",)}, NAMES)


def panel_of(lines: pl.DataFrame) -> Panel:
    return build_panel(lines, UNTIL, PARAMETERS.home_country)


def with_vectors(rows: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    means = [float(panel.units[s, :o].mean()) for s, o in zip(rows["sku_index"], rows["origin"], strict=True)]
    return rows.with_columns(pl.Series("v__mean", means), pl.col("horizon").cast(pl.Float64).alias("horizon_days"))


@pytest.fixture(scope="module")
def panel() -> Panel:
    return panel_of(sales())


@pytest.fixture(scope="module")
def rows(panel: Panel) -> pl.DataFrame:
    return with_vectors(frame.sample_rows(panel, PARAMETERS, "sku"), panel)


def test_the_panel_is_the_sales_by_day(panel: Panel) -> None:
    assert (panel.skus, panel.days, panel.first_day) == (("S0", "S1", "S2", "S3", "S4"), DAYS, FIRST.date())
    daily = sales().group_by("sku", pl.col("at").dt.date().alias("day")).agg(pl.col("units").sum())
    assert panel.units.sum() == daily["units"].sum()
    for sku, day, units in daily.sample(50, seed=1).iter_rows():
        assert panel.units[panel.skus.index(sku), (day - FIRST.date()).days] == units
    assert panel.first_sale[3] >= 30
    within = build_panel(sales(), UNTIL - timedelta(hours=1), "United Kingdom")  # the day that is not over is not seen
    assert within.units.tolist() == build_panel(sales(), UNTIL - timedelta(days=1), "United Kingdom").units.tolist()
    with pytest.raises(InvalidInput, match="no sale before"):
        build_panel(sales(), FIRST - timedelta(days=1), "United Kingdom")


def test_segments_know_only_the_past(panel: Panel) -> None:
    later = Panel(
        **{
            **vars(panel),
            **{n: np.where(np.arange(DAYS) >= 100, 999.0, getattr(panel, n)) for n in ("units", "home_units", "revenue")},
        }
    )
    for kind, values in segments(panel, 100).items():
        assert (values == segments(later, 100)[kind]).all(), kind
    assert set(segments(panel, 5)["country"][1:]) == {"unknown"}


def test_rows_have_true_targets_and_no_target_ahead(panel: Panel, rows: pl.DataFrame) -> None:
    again = frame.sample_rows(panel, PARAMETERS, "sku")
    assert again.equals(rows.select(again.columns)), "the same seed, the same rows"
    for use in (frame.TRAINING, frame.EVALUATION, frame.REFERENCE):
        assert len(rows.filter(pl.col("use") == use))
    learned = rows.filter(pl.col("use") != frame.REFERENCE)
    assert learned["target_day"].max() < DAYS
    for sku, day, target in learned.select("sku_index", "target_day", "target").sample(60, seed=1).iter_rows():
        assert panel.units[sku, day] == target
    training = rows.filter(pl.col("use") == frame.TRAINING)
    assert training.select("sku", "origin", "horizon").is_duplicated().sum() == 0
    assert training["origin"].min() >= PARAMETERS.warmup_days
    assert (rows["target_day"] == rows["origin"] + rows["horizon"] - 1).all()
    assert (rows[frame.TIME].dt.date() == pl.Series([panel.day(o) for o in rows["origin"]])).all()


def test_forecasts_at_an_origin_do_not_change_with_what_came_after(rows: pl.DataFrame, panel: Panel) -> None:
    table = rolling_forecasts(rows, panel, NAMES, QuantilesOfTarget(), PARAMETERS)
    first = min(frame.evaluation_origins(panel, PARAMETERS))
    changed_panel = Panel(**{**vars(panel), "units": np.where(np.arange(DAYS) >= first, 500.0, panel.units)})
    ahead = pl.col("target_day") >= first
    changed_rows = rows.with_columns(pl.when(ahead).then(500.0).otherwise(pl.col("target")).alias("target"))
    changed = rolling_forecasts(changed_rows, changed_panel, NAMES, QuantilesOfTarget(), PARAMETERS)
    forecasts = [c for c in table.columns if c.rpartition("_")[2] in ("q10", "q50", "q90", "point")]
    assert len(forecasts) == 4 * 3 + 3
    at_first = pl.col("origin") == panel.origin_time(first)
    assert table.filter(at_first).select(forecasts).equals(changed.filter(at_first).select(forecasts))
    assert not table.filter(~at_first).select(forecasts).equals(changed.filter(~at_first).select(forecasts))
    assert changed.filter(at_first)["actual"].unique().to_list() == [500.0]


def test_each_origin_learns_from_days_that_are_over(rows: pl.DataFrame, panel: Panel) -> None:
    learner = QuantilesOfTarget()
    one = PARAMETERS.__class__(**{**vars(PARAMETERS), "threads": 1})
    rolling_forecasts(rows, panel, NAMES, learner, one)
    training = rows.filter(pl.col("use") == frame.TRAINING)
    origins = frame.evaluation_origins(panel, PARAMETERS)
    assert origins == [DAYS - 14, DAYS - 7]
    assert [len(t) for t in learner.shown] == [len(training.filter(pl.col("target_day") < o)) for o in origins]
    none = rows.filter((pl.col("use") != frame.TRAINING) | (pl.col("target_day") >= origins[0]))
    with pytest.raises(InvalidInput, match="no row whose target is known"):
        rolling_forecasts(none, panel, NAMES, learner, one)


def test_a_champion_is_judged_only_on_what_it_had_not_seen(rows: pl.DataFrame, panel: Panel) -> None:
    origins = frame.evaluation_origins(panel, PARAMETERS)
    champion = Champion("7", constant_onnx(2, [0, 1, 2]), NAMES, panel.origin_time(origins[1]), pl.DataFrame())
    table = rolling_forecasts(rows, panel, NAMES, QuantilesOfTarget(), PARAMETERS, champion)
    counts = table.group_by("origin").agg(pl.col("champion_q50").count()).sort("origin")["champion_q50"].to_list()
    assert counts[0] == 0
    assert counts[1] > 0
    measured = summary(table)
    assert {"champion", "model_on_champion_rows"} <= set(measured["forecasts"])
    eligible = table.filter(pl.col("eligible"), pl.col("champion_q50").is_not_null())
    expected = (eligible["actual"] - 1).abs().sum() / eligible["actual"].sum()
    assert measured["forecasts"]["champion"]["wape"] == pytest.approx(expected)
    late = Champion("7", champion.onnx, NAMES, UNTIL + timedelta(days=1), pl.DataFrame())
    unseen = rolling_forecasts(rows, panel, NAMES, QuantilesOfTarget(), PARAMETERS, late)
    assert unseen["loss_champion"].null_count() == len(unseen)


def failing(findings: list) -> set[str]:
    return {finding.subject for finding in findings if not finding.ok}


def test_checks_of_sales_pass_and_fail_by_name() -> None:
    lines = sales()
    assert failing(check_sales(lines, UNTIL, PARAMETERS)) == set()
    assert failing(check_sales(lines.with_columns(pl.col("units").cast(pl.Float64)), UNTIL, PARAMETERS)) == {"sales.units"}
    assert failing(check_sales(lines.drop("country"), UNTIL, PARAMETERS)) == {"sales.country"}
    for column, value in (("units", 0), ("unit_price", 0.0), ("unit_price", float("nan"))):
        bad = lines.with_columns(pl.when(pl.int_range(len(lines)) == 3).then(value).otherwise(pl.col(column)).alias(column))
        bad = bad.with_columns(pl.col("units").cast(pl.Int64))
        assert failing(check_sales(bad, UNTIL, PARAMETERS)) == {"sales without positive units and price"}
    assert failing(check_sales(lines, UNTIL + timedelta(days=20), PARAMETERS)) == {"age of the newest sale, days"}
    assert "sales rows" in failing(check_sales(lines.head(0), UNTIL, PARAMETERS))


def test_checks_of_rows_pass_and_fail_by_name(rows: pl.DataFrame, panel: Panel) -> None:
    assert failing(check_rows(rows, panel, CONTRACT)) == set()
    assert failing(check_rows(rows.filter(pl.col("use") != frame.REFERENCE), panel, CONTRACT)) == {"reference rows"}
    late = rows.with_columns(target_day=pl.lit(DAYS))
    assert failing(check_rows(late, panel, CONTRACT)) == {"targets of days that are not over"}
    assert failing(check_rows(rows.drop("v__mean"), panel, CONTRACT)) == {"features missing"}
    empty = rows.with_columns(pl.lit(None, pl.Float64).alias("v__mean"))
    assert failing(check_rows(empty, panel, CONTRACT)) == {"feature v__mean"}
    with pytest.raises(InvalidInput, match=r"1 of 6 checks failed: feature v__mean"):
        require(check_rows(empty, panel, CONTRACT))
    with pytest.raises(InvalidInput, match="nothing was checked"):
        require([])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trees": 0}, "'trees' is 0"),
        ({"learning_rate": float("nan")}, "'learning_rate' is nan"),
        ({"horizons": 3}, "'horizons' is 3"),
    ],
)
def test_parameters_that_make_no_sense_are_named(changes: dict[str, float], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        TrainingParameters(**{**vars(PARAMETERS), **changes})


def test_parameters_go_through_json() -> None:
    text = PARAMETERS.to_json()
    assert TrainingParameters.from_json(text) == PARAMETERS
    for wrong, named in (
        ("[", "no JSON object"),
        ("[]", "missing"),
        (text.replace('"trees"', '"tres"'), "unknown"),
        (text.replace('"trees": 5', '"trees": "5"'), "'trees' is '5'"),
    ):
        with pytest.raises(InvalidInput, match=named):
            TrainingParameters.from_json(wrong)
