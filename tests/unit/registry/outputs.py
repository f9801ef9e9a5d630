"""Training outputs for tests: small, honest folders with a real evaluation table (the ONNX file is only ever hashed)."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.release import Lineage
from tidegate.files.training_output import TrainingOutput, open_output

CONTRACT = FeatureContract("demand", "sku", {"view": ("a", "b")}, ("view__a", "view__b"))


def evaluation(rows: int = 4000, model: float = 1.0, baseline: float = 2.0, champion: float | None = None) -> pl.DataFrame:
    """Rows whose forecasts miss by the given scale."""
    rng = np.random.default_rng(3)
    actual = rng.gamma(2.0, 5.0, rows)
    frame = pl.DataFrame(
        {
            "sku": [f"S{i % 80}" for i in range(rows)],
            "actual": actual,
            "model_q50": actual + model * rng.normal(size=rows),
            "naive_q50": actual + baseline * rng.normal(size=rows),
            "segment_country": ["home" if i % 80 < 60 else "abroad" for i in range(rows)],
        }
    )
    if champion is not None:
        frame = frame.with_columns(champion_q50=pl.Series(actual + champion * rng.normal(size=rows)))
    return frame


def write_output(folder: Path, rows: pl.DataFrame, champion: str | None = None) -> TrainingOutput:
    for part in ("model", "features", "profile"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "model/model.onnx").write_bytes(b"onnx")
    (folder / "features/features.json").write_text(json.dumps(CONTRACT.to_json()))
    reference = pl.DataFrame({"view__a": [1.0], "view__b": [2.0], "sku": ["S1"], "event_timestamp": [0]})
    reference.write_parquet(folder / "profile/reference.parquet")
    rows.write_parquet(folder / "evaluation.parquet")
    wape = float((rows["naive_q50"] - rows["actual"]).abs().sum() / max(rows["actual"].sum(), 1e-9))
    summary = {"n": len(rows), "baselines": ["naive"], "champion": champion, "forecasts": {"naive": {"wape": wape}}}
    (folder / "evaluation.json").write_text(json.dumps(summary))
    (folder / "lineage.json").write_text(json.dumps(asdict(Lineage("d", "f", "c", "p", "r", "2011-06-01T00:00:00"))))
    return open_output(folder)
