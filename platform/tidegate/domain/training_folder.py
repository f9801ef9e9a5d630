"""Names of the files of a training output; `tidegate.registry.training_output` says what each holds."""

from __future__ import annotations

MODEL = "model/model.onnx"
CONTRACT = "features/features.json"
REFERENCE = "profile/reference.parquet"
EVALUATION = "evaluation.parquet"
METRICS = "evaluation.json"
LINEAGE = "lineage.json"
CARD = "card.md"
PLOTS = "plots"
NATIVE = "model/native"  # the trees as LightGBM's own text, one file a quantile; nothing loads them to serve

QUANTILES = (0.1, 0.5, 0.9)
QUANTILE_COLUMNS = ("q10", "q50", "q90")
INPUT, OUTPUT = "features", "quantiles"
MODEL_FORECAST = "model"
BASELINES = ("seasonal_naive", "mean_28", "croston_sba")
CHAMPION_FORECAST = "champion"
ALL_ROWS = "all"
