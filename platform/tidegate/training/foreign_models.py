"""Bringing a model that was trained elsewhere: its ONNX file, reference vectors and evaluation become a training output.

What is asked for is what the gates need and nothing else: vectors the model was fitted to (drift is judged against them) and
its forecasts on held-out rows beside a baseline's (promotion is judged on them).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import Lineage
from tidegate.files.digests import file_digest, files_digest
from tidegate.files.release_folder import CONTRACT, MODEL, REFERENCE
from tidegate.files.training_output import EVALUATION, LINEAGE, SUMMARY, TrainingOutput, open_output

Scorer = Callable[[Path, np.ndarray], dict[str, np.ndarray]]  # (model.onnx, float32 [n, F]) -> outputs by name, first axis n


def external_output(
    into: Path,
    onnx: Path,
    contract: FeatureContract,
    on_demand: Path | None,
    reference: Path,
    evaluation: Path,
    score: Scorer,
    trained_until: str,
) -> TrainingOutput:
    """Validate the parts and lay them out as a training output in `into` (which must not exist or be empty).

    `reference` is a parquet file with the contract's columns, the entity and `event_timestamp`; `evaluation` one with the
    entity, `actual`, `model_q50`, `NAME_q50` for at least one baseline, and any `segment_*`. `on_demand` is the module that
    the contract's on-demand transformation names.
    """
    for path in (onnx, reference, evaluation):
        if not path.is_file():
            raise InvalidInput(f"model to register: there is no file {path}")
    if into.exists() and any(into.iterdir()):
        raise InvalidInput(f"model to register: {into} is not empty; name a new folder")
    vectors = _columns(reference, [*contract.vector, contract.entity, "event_timestamp"])
    rows = _columns(evaluation, [contract.entity, "actual", "model_q50"])
    baselines = _baselines(evaluation, rows)
    outputs = score(onnx, vectors.select(contract.vector).to_numpy().astype(np.float32)[:64])
    if not outputs:
        raise InvalidInput(f"model to register: {onnx.name} has no output")
    (into / "model").mkdir(parents=True)
    (into / "features").mkdir()
    (into / "profile").mkdir()
    shutil.copyfile(onnx, into / MODEL)
    (into / CONTRACT).write_bytes(canonical_json(contract.to_json()))
    if on_demand is not None:
        shutil.copyfile(on_demand, into / "features" / on_demand.name)
    shutil.copyfile(reference, into / REFERENCE)
    shutil.copyfile(evaluation, into / EVALUATION)
    summary = {"n": len(rows), "baselines": baselines, "champion": None, "forecasts": _errors(rows, ["model", *baselines])}
    (into / SUMMARY).write_text(json.dumps(summary, indent=2))
    sources = [into / "features"]
    lineage = Lineage(
        data=files_digest([reference, evaluation]),
        features=files_digest(sources),
        code=file_digest(onnx),
        pipeline="external",
        run_id="external",
        trained_until=trained_until,
    )
    (into / LINEAGE).write_text(json.dumps(asdict(lineage), indent=2))
    return open_output(into)


def _columns(path: Path, required: Sequence[str]) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"model to register: {path} is not a parquet file ({error})") from error
    missing = [name for name in required if name not in frame.columns]
    if missing or frame.is_empty():
        what = f"no column '{missing[0]}'" if missing else "no row"
        raise InvalidInput(f"model to register: {path} has {what}, required columns: {', '.join(required)}")
    return frame


def _baselines(path: Path, rows: pl.DataFrame) -> list[str]:
    names = [name.removesuffix("_q50") for name in rows.columns if name.endswith("_q50")]
    baselines = [name for name in names if name not in ("model", "champion")]
    if not baselines:
        raise InvalidInput(f"model to register: {path} has no baseline, required: a column NAME_q50 beside model_q50")
    return baselines


def _errors(rows: pl.DataFrame, forecasts: Sequence[str]) -> dict[str, dict[str, float]]:
    """WAPE of the median: sum of absolute errors over the sum of absolute actuals."""
    total = float(rows["actual"].abs().sum())
    return {
        name: {"wape": float((rows[f"{name}_q50"] - rows["actual"]).abs().sum()) / total if total else float("nan")}
        for name in forecasts
    }
