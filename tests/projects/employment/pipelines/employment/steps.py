"""The steps of a training, each a function of folders: what one wrote, the next reads, in whatever process it runs.

train      data            -> model/   model.onnx, learned from the people of all years before the last one that is over
evaluate   data, model/    -> output/  the whole training output, scored on the people of that last year
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.api.project import open_onnx
from tidegate.api.training import Finding, Run, lineage, read_rows, require, say, write_output

from .card import model_card
from .evaluation import BASELINES, baselines, fairness, metrics, segments
from .learn import AGE, CODES, EMPLOYED, LABELS, NOT, learn, tensors

MODEL = "model.onnx"
LOSSES = {"kind": "log_loss", "output": "probabilities", "labels": list(LABELS)}


def train(run: Run, out: str) -> int:
    """Learn from the people of earlier years; returns their number."""
    known, held_out = people(run)
    require(check(known, held_out, int(run.settings["min_people"])))
    path = Path(out) / MODEL
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(learn(known, run.settings))
    say(f"learned from {len(known):,} people of {_years(known)}")
    return len(known)


def evaluate(run: Run, model: str, out: str) -> str:
    """Score the model and the baselines on the last year; returns the metrics as JSON. The platform scores the champion on the
    same people when a version is promoted."""
    known, held_out = people(run)
    onnx = (Path(model) / MODEL).read_bytes()
    forecasts = {"model": scored(onnx, held_out)["probabilities"][:, 0], **baselines(held_out, known)}
    employed, groups = held_out["employed"].to_numpy(), segments(held_out)
    measured = {name: metrics(employed, p) for name, p in forecasts.items()}
    counts = (_years(known), len(known), _years(held_out), len(held_out))
    report, made_of = fairness(employed, forecasts["model"], groups), lineage(run)
    output = write_output(
        out,
        onnx=onnx,
        lineage=made_of,
        reference=reference(known, onnx, int(run.settings["reference_people"])),
        evaluation=rows_to_score(held_out, groups, forecasts),
        losses=LOSSES,
        identity=("person",),
        metrics=measured,
        details={"fairness": report, "years": {"learned": _years(known), "scored": _years(held_out)}},
        card=model_card(run.model, measured, report, made_of, run.settings, counts),
    )
    say(", ".join(f"{name} log loss {measured[name]['log_loss']:.3f}" for name in ("model", *BASELINES)))
    return json.dumps(output.summary["forecasts"], sort_keys=True)


def rows_to_score(held_out: pl.DataFrame, groups: pl.DataFrame, forecasts: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """The people as the model reads them, what came about, and the baselines' probabilities in the form of the model's."""
    both = {name: np.stack([forecasts[name], 1 - forecasts[name]], axis=1) for name in BASELINES}
    return held_out.select(
        "person",
        pl.col(AGE).cast(pl.Float32),
        *CODES,
        outcome=pl.when("employed").then(pl.lit(EMPLOYED)).otherwise(pl.lit(NOT)),
    ).with_columns(
        *groups.get_columns(),
        *(pl.Series(f"baseline_{name}", p.astype(np.float32), dtype=pl.Array(pl.Float32, 2)) for name, p in both.items()),
    )


def people(run: Run) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The people of the last year before `until`, after those of all earlier years."""
    rows = read_rows(run, "rows").filter(pl.col("asked") < run.moment).sort("year", "person")
    last = rows["year"].max()
    return rows.filter(pl.col("year") < last), rows.filter(pl.col("year") == last)


def check(known: pl.DataFrame, held_out: pl.DataFrame, least: int) -> list[Finding]:
    found = [
        Finding(f"people to {what}", float(len(rows)), f"at least {least}", len(rows) >= least)
        for what, rows in (("learn from", known), ("be scored on", held_out))
    ]
    share = known["employed"].mean() if len(known) else None
    return [*found, Finding("share employed", share, "between 0.2 and 0.8", share is not None and 0.2 <= share <= 0.8)]  # type: ignore[operator, arg-type]


def scored(onnx: bytes, rows: pl.DataFrame) -> Mapping[str, np.ndarray]:
    return open_onnx(onnx, "employment").run(tensors(rows))


def reference(known: pl.DataFrame, onnx: bytes, count: int) -> pl.DataFrame:
    """People of the last year that was learned from, as the model reads them, and what it answers."""
    part = known.filter(pl.col("year") == pl.col("year").max()).sort("person").head(count)
    answers = scored(onnx, part)
    return part.select(pl.col(AGE).cast(pl.Float32), *CODES).with_columns(
        label=pl.Series(answers["label"].astype(str)),
        probabilities=pl.Series(answers["probabilities"], dtype=pl.Array(pl.Float32, 2)),
    )


def _years(rows: pl.DataFrame) -> str:
    years = rows["year"].unique().sort()
    return f"{years[0]}" if len(years) == 1 else f"{years[0]}-{years[-1]}"
