"""The steps of a training, each a function of folders: what one wrote, the next reads, in whatever process it runs.

extract    data, features  -> rows/    rows.parquet (vectors and targets), sales, features/ (contract, code)
validate   rows/           -> findings, or InvalidInput
train      rows/           -> model/   model.onnx, native text, importance.json
evaluate   rows/, model/   -> output/  the whole training output
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidegate.api.training import (
    FeatureContract,
    InvalidInput,
    Run,
    historical_features,
    lineage,
    point_in_time,
    read_contract,
    read_rows,
    require,
    say,
    write_output,
)

from . import frame
from .card import model_card
from .evaluation import LOSS, Champion, rolling_forecasts, summary
from .forests import LightgbmQuantiles
from .names import QUANTILE_COLUMNS
from .panel import Panel, build_panel
from .parameters import TrainingParameters
from .plots import draw
from .scoring import score
from .validation import check_rows, check_sales

ROWS, SALES, FINDINGS, IMPORTANCE, MODEL = "rows.parquet", "sales.parquet", "findings.json", "importance.json", "model.onnx"
NATIVE = "model/native"  # the trees as LightGBM's own text, one file a quantile; nothing loads them to serve


def extract(run: Run, out: str) -> int:
    """Features of the data before `until`, joined to sampled rows; returns their number."""
    parameters, into = TrainingParameters.from_json(run.parameters), Path(out)
    sales = sales_before(run, run.moment)
    require(check_sales(sales, run.moment, parameters))
    panel = build_panel(sales, run.moment, parameters.home_country)
    with historical_features(run) as features:
        rows = features.historical(frame.sample_rows(panel, parameters, features.contract.entity))
        features.write(into)
    rows.write_parquet(into / ROWS, compression="zstd", compression_level=1)
    sales.write_parquet(into / SALES, compression="zstd", compression_level=1)
    say(f"extracted {len(rows):,} rows with point-in-time features of data before {run.moment:%Y-%m-%d}")
    return len(rows)


def sales_before(run: Run, until: datetime) -> pl.DataFrame:
    try:
        return read_rows(run, "sales").filter(pl.col("at") < until)
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(f"training: the ingested sales cannot be read ({error}); ingest again") from error


def validate(run: Run, rows: str, out: str) -> int:
    """Check the rows, and that no feature sees the future; returns the number of checks."""
    parameters, folder = TrainingParameters.from_json(run.parameters), Path(rows)
    sales, panel = _panel(folder, run.moment, parameters)
    findings = [*check_sales(sales, run.moment, parameters), *check_rows(_rows(folder), panel, read_contract(folder))]
    findings += point_in_time(run, [part.name for part in read_contract(folder).key])
    _write(Path(out) / FINDINGS, _json(list(map(asdict, findings))))
    require(findings)
    say(f"{len(findings)} checks of data and features passed, point-in-time included")
    return len(findings)


def train(run: Run, rows: str, model: str) -> int:
    """Learn the quantile forests from all training rows; returns the number of rows learned from."""
    parameters, folder, into = TrainingParameters.from_json(run.parameters), Path(rows), Path(model)
    contract = read_contract(folder)
    training = _rows(folder).filter(pl.col("use") == frame.TRAINING)
    vectors, target = frame.vectors(training, contract.vector), training["target"].to_numpy()
    trained = LightgbmQuantiles().fit(vectors, target, contract.vector, parameters.learner)
    _write(into / MODEL, trained.onnx)
    for name, text in trained.native.items():
        _write(into / "native" / name, text.encode())
    _write(into / IMPORTANCE, _json(trained.importance))
    say(f"learned from {len(training):,} rows")
    return len(training)


def evaluate(run: Run, rows: str, model: str, out: str) -> str:
    """Rolling origins against baselines and champion; writes the training output and returns the metrics as JSON."""
    parameters, folder, trained = TrainingParameters.from_json(run.parameters), Path(rows), Path(model)
    contract, table = read_contract(folder), _rows(folder)
    _, panel = _panel(folder, run.moment, parameters)
    champion = champion_of(run)
    forecasts = rolling_forecasts(table, panel, contract.vector, LightgbmQuantiles(), parameters, champion, say)
    measured = summary(forecasts)
    onnx, importance = (trained / MODEL).read_bytes(), json.loads((trained / IMPORTANCE).read_bytes())
    files = {f"{NATIVE}/{path.name}": path.read_bytes() for path in sorted((trained / "native").iterdir())}
    made_of = lineage(run)
    with tempfile.TemporaryDirectory() as plots:
        files |= {f"plots/{path.name}": path.read_bytes() for path in draw(forecasts, importance, Path(plots))}
    output = write_output(
        out,
        onnx=onnx,
        features=folder,
        lineage=made_of,
        reference=reference(table, contract, onnx),
        evaluation=forecasts,
        loss=LOSS,
        champion=run.champion_version or None,
        identity=("origin", "horizon", "date"),
        metrics=measured["forecasts"],
        details=measured,
        card=model_card(run.model, measured, made_of, parameters, importance, contract),
        files=files,
    )
    errors = {name: values["wape"] for name, values in measured["forecasts"].items() if "wape" in values}
    say("WAPE on rolling origins: " + ", ".join(f"{name} {value:.3f}" for name, value in errors.items()))
    return json.dumps(output.summary["forecasts"], sort_keys=True)


def champion_of(run: Run) -> Champion | None:
    output = run.champion_output
    if output is None:
        return None
    trained_until = datetime.fromisoformat(output.lineage.trained_until)
    onnx = (output.folder / "model/model.onnx").read_bytes()
    return Champion(run.champion_version, onnx, output.contract.vector, trained_until, output.evaluation.rows)


def reference(rows: pl.DataFrame, contract: FeatureContract, onnx: bytes) -> pl.DataFrame:
    """Reference vectors with the model's outputs; sorted by time and entity."""
    part = rows.filter(pl.col("use") == frame.REFERENCE).sort(frame.TIME, contract.entity)
    outputs = score(onnx, frame.vectors(part, contract.vector))
    # A vector's column may have the name of a request input; it is kept once, as the model reads it.
    inputs = [name for name in contract.request if name not in contract.vector]
    columns = [*contract.vector, frame.TIME, contract.entity, *inputs]
    quantiles = [pl.Series(name, outputs[:, i].astype(np.float32)) for i, name in enumerate(QUANTILE_COLUMNS)]
    return part.select(columns).with_columns(*quantiles)


def _rows(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / ROWS)


def _panel(rows: Path, until: datetime, parameters: TrainingParameters) -> tuple[pl.DataFrame, Panel]:
    sales = pl.read_parquet(rows / SALES)
    return sales, build_panel(sales, until, parameters.home_country)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
