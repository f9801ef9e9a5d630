"""The steps of a training, each a function of folders: what one wrote, the next reads, in whatever process it runs.

extract data, features -> rows/ rows.parquet (questions with point-in-time features and answers), features/ (contract)
validate rows/ -> findings, or InvalidInput train rows/ -> model/ model.onnx, shifts.json evaluate rows/, model/ -> output/
the whole training output
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.api.project import open_onnx
from tidegate.api.training import (
    Finding,
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

from .card import model_card
from .evaluation import ENDS, losses, rolling, summary
from .model import FIRST_LINE, OUTPUT, learn, tensors, to_onnx
from .questions import BASES, KEY, KNOWN, NUMBERS, TARGET, TEXTS, TIME, questions

ROWS, FINDINGS, MODEL, SHIFTS = "rows.parquet", "findings.json", "model.onnx", "shifts.json"
LOSS = "mean pinball loss of the quantiles 0.1, 0.5 and 0.9, in days"


def extract(run: Run, out: str) -> int:
    """Questions about the shipments that are known before `until`, with what was known when they were asked."""
    asked = questions(read_rows(run, "shipments"), run.moment)
    with historical_features(run) as features:
        rows = features.historical(asked)
        features.write(Path(out))
    rows.write_parquet(Path(out) / ROWS, compression="zstd")
    say(f"extracted {len(rows):,} questions with point-in-time features of deliveries known before {run.moment:%Y-%m-%d}")
    return len(rows)


def validate(run: Run, rows: str, out: str) -> int:
    """Check the rows, and that no feature sees the future; returns the number of checks."""
    table, _ = _rows(rows)
    findings = [*check(table, int(run.settings["min_rows"])), *point_in_time(run, KEY)]
    _write(Path(out) / FINDINGS, json.dumps([asdict(finding) for finding in findings], indent=2).encode())
    require(findings)
    say(f"{len(findings)} checks of questions and features passed, point-in-time included")
    return len(findings)


def check(table: pl.DataFrame, min_rows: int) -> list[Finding]:
    """Enough deliveries of both questions, answers within bounds, nothing known before it was asked."""
    counts = {basis: len(table.filter(pl.col("counted_from") == basis)) for basis in BASES}
    found = [
        Finding(f"deliveries counted from {basis}", float(count), f"at least {min_rows}", count >= min_rows)
        for basis, count in counts.items()
    ]
    if table.is_empty():
        return found
    longest = float(table[TARGET].abs().max())  # type: ignore[arg-type]
    early = table.filter(pl.col(KNOWN) < pl.col(TIME)).height
    seen = float(table.select(pl.col("vendor_name").is_not_null().mean()).item())
    return [
        *found,
        Finding("longest time in days", longest, "at most 1500", longest <= 1500),
        Finding("answers known before the question", float(early), "0", early == 0),
        Finding("questions about a vendor with a history", seen, "at least 0.5", seen >= 0.5),
    ]


def train(run: Run, rows: str, model: str) -> int:
    """Learn from all deliveries known before `until`; returns their number."""
    table, vector = _rows(rows)
    parts = learn(table, vector, run.moment, run.settings)
    _write(Path(model) / MODEL, to_onnx(parts, vector))
    _write(Path(model) / SHIFTS, json.dumps({basis: part.shifts for basis, part in parts.items()}).encode())
    say(f"learned from {len(table):,} deliveries")
    return len(table)


def evaluate(run: Run, rows: str, model: str, out: str) -> str:
    """Rolling origins against baselines and champion; writes the training output and returns the metrics as JSON."""
    table, vector = _rows(rows)
    onnx = (Path(model) / MODEL).read_bytes()
    answered = rolling(table, vector, run.moment, run.settings, scored, say)
    champion = run.champion_output
    measured, made_of = summary(answered), lineage(run)
    shifts = json.loads((Path(model) / SHIFTS).read_bytes())
    output = write_output(
        out,
        onnx=onnx,
        features=Path(rows),
        lineage=made_of,
        reference=reference(table, vector, onnx, int(run.settings["reference_days"])),
        evaluation=losses(answered, champion.evaluation.rows if champion else None),
        loss=LOSS,
        champion=run.champion_version or None,
        identity=("line", TIME),
        metrics=measured["forecasts"],
        details=measured,
        card=model_card(run.model, measured, made_of, run.settings, shifts, vector),
    )
    model_metrics = measured["forecasts"]["model"]
    say(f"pinball loss {model_metrics['pinball']:.2f} days, {model_metrics['coverage']:.1%} within the band of 80 %")
    return json.dumps(output.summary["forecasts"], sort_keys=True)


def reference(table: pl.DataFrame, vector: list[str], onnx: bytes, days: int) -> pl.DataFrame:
    """The questions of the last `days`, as the model reads them, and what it answers."""
    last = table[TIME].max()
    part = table.filter(pl.col(TIME) > last - timedelta(days=days), pl.col("vendor_name").is_not_null()).sort(TIME, "line")
    answers = scored(onnx, tensors(part, vector))[OUTPUT]
    quantiles = [pl.Series(name, answers[:, i].astype(np.float32)) for i, name in enumerate(ENDS)]
    stored = [name for name in table.columns if "__" in name]
    names = [*KEY, TIME, *stored, *TEXTS, *NUMBERS, FIRST_LINE]
    return part.select(names).with_columns(*quantiles)


def scored(onnx: bytes, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    return open_onnx(onnx, "lead_time").run(inputs)


def _rows(folder: str) -> tuple[pl.DataFrame, list[str]]:
    """The rows, stored texts by the names of their tensors too, and the numbers of the vector in their order."""
    contract = read_contract(folder)
    texts = {name.partition("__")[2]: pl.col(name) for name in contract.vector if name in contract.types}
    return pl.read_parquet(Path(folder) / ROWS).with_columns(**texts), [n for n in contract.vector if n not in contract.types]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
