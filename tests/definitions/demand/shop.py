"""A small shop with a weekly rhythm, training parameters for it, and learners that tests can see through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from pipelines.demand.learner import TrainedModel
from pipelines.demand.names import INPUT, OUTPUT, QUANTILES
from pipelines.demand.parameters import TrainingParameters

FIRST = datetime(2011, 1, 3, tzinfo=UTC)  # a Monday
DAYS = 140
UNTIL = FIRST + timedelta(days=DAYS)
PARAMETERS = TrainingParameters(
    horizons=7,
    training_rows=1500,
    warmup_days=28,
    recency_days=60,
    origins=2,
    origin_step_days=7,
    min_selling_days=20,
    baseline_residual_origins=3,
    reference_days=28,
    reference_rows=280,
    home_country="United Kingdom",
    max_age_days=7,
    trees=5,
    leaves=7,
    learning_rate=0.2,
    min_rows_in_leaf=10,
    feature_fraction=1.0,
    bagging_fraction=1.0,
    max_bin=63,
    seed=1,
    threads=2,
)


def sales(days: int = DAYS, seed: int = 5) -> pl.DataFrame:
    """Sales of five SKUs; each day's lines depend on nothing but the day and the seed."""
    rows = []
    for sku in range(5):
        rng = np.random.default_rng(seed * 100 + sku)
        for day in range(days):
            units = int(rng.poisson(1 + sku * 2 + 3 * (day % 7 == 0)))
            country = "France" if rng.random() < 0.3 else "United Kingdom"
            if units and day >= 10 * sku:
                rows.append((f"S{sku}", FIRST + timedelta(days=day, hours=9), units, 0.5 * (1 + sku * 2), country))
    schema = {
        "sku": pl.String,
        "at": pl.Datetime("us", "UTC"),
        "units": pl.Int64,
        "unit_price": pl.Float64,
        "country": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort("at")


def constant_onnx(width: int, values: Sequence[float]) -> bytes:
    """A graph that answers `values` to every row."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Shape", [INPUT], ["shape"], end=1),
        helper.make_node("Concat", ["shape", "three"], ["wanted"], axis=0),
        helper.make_node("Expand", ["values", "wanted"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(QUANTILES)])],
        [
            numpy_helper.from_array(np.array([len(QUANTILES)], np.int64), "three"),
            numpy_helper.from_array(np.array([values], np.float32), "values"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    model.ir_version = 9
    return bytes(model.SerializeToString())


class QuantilesOfTarget:
    """Learns the target's quantiles and nothing from the vectors; keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def fit(self, vectors: np.ndarray, target: np.ndarray, names: Sequence[str], settings: Mapping[str, float]) -> TrainedModel:
        self.shown.append(target)
        onnx = constant_onnx(vectors.shape[1], np.quantile(target, QUANTILES).tolist())
        return TrainedModel(onnx, {}, dict.fromkeys(names, 0.0))
