"""The steps of a training, each a function of folders: what one wrote, the next reads, in whatever process it runs.

    extract    data, features  -> rows/    rows.parquet (vectors and targets), sales, features/ (contract, code)
    validate   rows/           -> findings, or InvalidInput
    train      rows/           -> model/   model.onnx, native text, importance.json
    evaluate   rows/, model/   -> output/  the whole training output (tidegate.files.training_output)

The feature store, the learner and the point-in-time check are passed in, so the steps know no vendor.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import Lineage
from tidegate.domain.verdict import Finding
from tidegate.files.release_folder import CONTRACT, MODEL, REFERENCE
from tidegate.files.training_folder import CARD, EVALUATION, LINEAGE, NATIVE, PLOTS, QUANTILE_COLUMNS, SUMMARY
from tidegate.forecasting import frame
from tidegate.forecasting.card import model_card
from tidegate.forecasting.evaluation import Champion, Progress, rolling_forecasts, summary
from tidegate.forecasting.panel import Panel, build_panel
from tidegate.forecasting.parameters import TrainingParameters
from tidegate.forecasting.plots import draw
from tidegate.forecasting.scoring import score
from tidegate.forecasting.validation import check_rows, check_sales, require
from tidegate.ports.features import FeatureStore
from tidegate.ports.training import QuantileLearner

ROWS, SALES, FINDINGS, IMPORTANCE = "rows.parquet", "sales.parquet", "findings.json", "importance.json"
PointInTime = Callable[[], list[Finding]]


def extract(
    store: FeatureStore, service: str, repo: Path, data: Path, until: datetime, parameters: TrainingParameters, out: Path
) -> int:
    """Write `rows/`: sampled rows with point-in-time vectors; returns their number. Raises InvalidInput when one was lost."""
    sales = read_sales(data, until)
    require(check_sales(sales, until, parameters))
    contract = store.contract(service)
    panel = build_panel(sales, until, parameters.home_country)
    rows = frame.sample_rows(panel, parameters, contract.entity)
    with_vectors = store.historical(contract, rows)
    if not with_vectors.select(rows.columns).equals(rows):
        raise InvalidInput(
            f"training: the feature store answered {len(with_vectors)} rows to {len(rows)}, or others than asked for"
        )
    (out / "features").mkdir(parents=True, exist_ok=True)
    with_vectors.write_parquet(out / ROWS, compression="zstd", compression_level=1)
    sales.write_parquet(out / SALES, compression="zstd", compression_level=1)
    (out / CONTRACT).write_bytes(canonical_json(contract.to_json()))
    if contract.on_demand:
        module = contract.on_demand.partition(":")[0]
        shutil.copyfile(repo / module, out / "features" / module)
    return len(with_vectors)


def read_sales(data: Path, until: datetime) -> pl.DataFrame:
    """Sales before `until` of the ingestion in `data`; raises InvalidInput."""
    path = data / SALES
    if not path.is_file():
        raise InvalidInput(f"training: there is no {path}; run 'tidegate ingest' first")
    try:
        sales = pl.read_parquet(path)
        return sales.filter(pl.col("at") < until)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"training: {path} cannot be read ({error}); ingest again") from error


def validate(
    rows: Path, until: datetime, parameters: TrainingParameters, point_in_time: PointInTime, out: Path
) -> list[Finding]:
    """Check `rows/` and the features' honesty; writes every finding. Raises InvalidInput naming what is wrong."""
    sales, panel = _panel(rows, until, parameters)
    findings = [*check_sales(sales, until, parameters), *check_rows(read_rows(rows), panel, read_contract(rows))]
    findings += point_in_time() or [Finding("point-in-time", None, "a finding", False, "the check found nothing to compare")]
    out.mkdir(parents=True, exist_ok=True)
    (out / FINDINGS).write_text(json.dumps([asdict(finding) for finding in findings], indent=2))
    require(findings)
    return findings


def train(rows: Path, parameters: TrainingParameters, learner: QuantileLearner, out: Path) -> int:
    """Learn from all training rows; writes `model/`, returns the number of rows learned from."""
    contract = read_contract(rows)
    training = read_rows(rows).filter(pl.col("use") == frame.TRAINING)
    target = training["target"].to_numpy()
    trained = learner.fit(frame.vectors(training, contract.vector), target, contract.vector, parameters.learner)
    _write(out / MODEL, trained.onnx)
    for name, text in trained.native.items():
        _write(out / NATIVE / name, text.encode())
    _write(out / IMPORTANCE, json.dumps(trained.importance, indent=2).encode())
    return len(training)


def evaluate(
    rows: Path,
    model: Path,
    name: str,
    until: datetime,
    parameters: TrainingParameters,
    learner: QuantileLearner,
    champion: Champion | None,
    lineage: Lineage,
    out: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the training output to `out`; returns evaluation.json."""
    contract, table = read_contract(rows), read_rows(rows)
    _, panel = _panel(rows, until, parameters)
    forecasts = rolling_forecasts(table, panel, contract.vector, learner, parameters, champion, progress)
    result = summary(forecasts, champion.version if champion else None)
    shutil.copytree(rows / "features", out / "features", dirs_exist_ok=True)
    shutil.copytree(model / "model", out / "model", dirs_exist_ok=True)
    forecasts.write_parquet(_parent(out / EVALUATION), compression="zstd")
    reference(table, contract, (out / MODEL).read_bytes()).write_parquet(_parent(out / REFERENCE), compression="zstd")
    _write(out / SUMMARY, json.dumps(result, indent=2, allow_nan=False).encode())
    _write(out / LINEAGE, json.dumps(asdict(lineage), indent=2).encode())
    importance = json.loads((model / IMPORTANCE).read_bytes())
    draw(forecasts, importance, out / PLOTS)
    _write(out / CARD, model_card(name, result, lineage, parameters, importance, contract).encode())
    return result


def reference(rows: pl.DataFrame, contract: FeatureContract, onnx: bytes) -> pl.DataFrame:
    """Reference vectors with the model's outputs; sorted by time and entity."""
    part = rows.filter(pl.col("use") == frame.REFERENCE).sort(frame.TIME, contract.entity)
    outputs = score(onnx, frame.vectors(part, contract.vector))
    # A vector's column may have the name of a request input; it is kept once, as the model reads it.
    inputs = [name for name in contract.request if name not in contract.vector]
    columns = [*contract.vector, frame.TIME, contract.entity, *inputs]
    quantiles = [pl.Series(name, outputs[:, i].astype(np.float32)) for i, name in enumerate(QUANTILE_COLUMNS)]
    return part.select(columns).with_columns(*quantiles)


def read_rows(rows: Path) -> pl.DataFrame:
    return pl.read_parquet(rows / ROWS)


def read_contract(rows: Path) -> FeatureContract:
    return FeatureContract.from_bytes((rows / CONTRACT).read_bytes(), "rows of this run")


def _panel(rows: Path, until: datetime, parameters: TrainingParameters) -> tuple[pl.DataFrame, Panel]:
    sales = pl.read_parquet(rows / SALES)
    return sales, build_panel(sales, until, parameters.home_country)


def _write(path: Path, content: bytes) -> None:
    _parent(path).write_bytes(content)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
