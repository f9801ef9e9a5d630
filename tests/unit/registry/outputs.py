"""Training outputs for tests: small, honest folders with a real evaluation table and a model that adds its two features."""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from tidegate.domain.contract import FeatureContract
from tidegate.domain.release import Lineage
from tidegate.files.training_output import TrainingOutput, open_output

CONTRACT = FeatureContract("demand", "sku", {"view": ("a", "b")}, ("view__a", "view__b"))
FIRST = datetime(2011, 1, 1, tzinfo=UTC)


@cache
def sum_of_two() -> bytes:
    tensors = (("features", 2), ("units", 1))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]) for name, width in tensors]
    node = helper.make_node("ReduceSum", ["features", "axes"], ["units"], keepdims=1)
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    graph = helper.make_graph([node], "sum", ends[:1], ends[1:], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def evaluation(rows: int = 4000, model: float = 1.0, baseline: float = 2.0, champion: float | None = None) -> pl.DataFrame:
    """Rows whose forecasts miss by the given scale."""
    rng = np.random.default_rng(3)
    frame = pl.DataFrame(
        {
            "sku": [f"S{i % 80}" for i in range(rows)],
            "event_timestamp": [FIRST + timedelta(days=i // 80) for i in range(rows)],
            "loss_model": np.abs(model * rng.normal(size=rows)),
            "loss_naive": np.abs(baseline * rng.normal(size=rows)),
            "segment_country": ["home" if i % 80 < 60 else "abroad" for i in range(rows)],
        }
    )
    if champion is not None:
        frame = frame.with_columns(loss_champion=pl.Series(np.abs(champion * rng.normal(size=rows))))
    return frame


def of_version_1(rows: pl.DataFrame) -> pl.DataFrame:
    """The same, as the first version wrote it: what was observed, and the median of each forecast."""
    observed = pl.Series("actual", np.random.default_rng(4).gamma(2.0, 5.0, len(rows)))
    medians = {name.replace("loss_", "") + "_q50": observed + rows[name] for name in rows.columns if name.startswith("loss_")}
    kept = rows.drop([name for name in rows.columns if name.startswith("loss_")])
    return kept.with_columns(observed, **medians)


def write_output(folder: Path, rows: pl.DataFrame, champion: str | None = None, schema: int = 2) -> TrainingOutput:
    for part in ("model", "features", "profile"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "model/model.onnx").write_bytes(sum_of_two())
    (folder / "features/features.json").write_text(json.dumps(CONTRACT.to_json()))
    reference = pl.DataFrame({"view__a": [1.0, 5.0], "view__b": [2.0, 2.0], "sku": ["S1", "S2"], "event_timestamp": [0, 1]})
    reference.write_parquet(folder / "profile/reference.parquet")
    (rows if schema == 2 else of_version_1(rows)).write_parquet(folder / "evaluation.parquet")
    summary = {"n": len(rows), "baselines": ["naive"], "champion": champion, "forecasts": {"naive": {"wape": 0.5}}}
    if schema == 2:
        losses = [name for name in rows.columns if name.startswith("loss_") and rows.schema[name].is_float()]
        means = {name.removeprefix("loss_"): {"loss": rows[name].mean()} for name in losses if len(rows)}
        summary |= {"schema": 2, "loss": "absolute error", "scored": "pipeline", "forecasts": means}
    (folder / "evaluation.json").write_text(json.dumps(summary))
    (folder / "lineage.json").write_text(json.dumps(asdict(Lineage("d", "f", "c", "p", "r", "2011-06-01T00:00:00"))))
    return open_output(folder)
