"""Names in a training output that its maker and its readers share; tidegate.files.training_output says what each holds."""

from __future__ import annotations

from pathlib import Path

from tidegate.domain.digests import digest_of
from tidegate.files.digests import folder_files

EVALUATION, SUMMARY, LINEAGE, CARD, PLOTS = "evaluation.parquet", "evaluation.json", "lineage.json", "card.md", "plots"
NATIVE = "model/native"  # the trees as LightGBM's own text, one file a quantile; nothing loads them to serve

INPUT, OUTPUT = "features", "quantiles"  # tensors of a forecast's model.onnx
QUANTILES = (0.1, 0.5, 0.9)
QUANTILE_COLUMNS = ("q10", "q50", "q90")
MODEL_FORECAST, CHAMPION_FORECAST = "model", "champion"
BASELINES = ("seasonal_naive", "mean_28", "croston_sba")


def output_digest(folder: Path) -> str:
    """Digest of a whole training output: the name and the bytes of each of its files."""
    return digest_of(folder_files(folder))
