"""The steps of a training, each a function of folders.

extract    data           -> rows/    telemetry before `until`
validate   rows/          -> findings, or InvalidInput
train      rows/          -> model/   model.onnx with its threshold
evaluate   rows/, model/  -> output/  the whole training output
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.api.training import Finding, InvalidInput, Run, lineage, read_rows, require, say, write_output

from . import baseline, detector, judging, nab
from .card import model_card
from .corpus import Telemetry, corpus
from .graph import graph
from .parameters import Parameters
from .scoring import outputs

ROWS, FINDINGS, MODEL, LEARNED = "rows.parquet", "findings.json", "model.onnx", "learned.json"
LOSS = "what NAB's standard profile takes off a perfect detector"
CHECKED = 256  # windows on which the exported model must answer what the evaluation computed


def extract(run: Run, out: str) -> int:
    rows = read_rows(run, "rows").filter(pl.col("at") < run.moment)
    _parent(Path(out) / ROWS)
    rows.select("series", "number", "at", "value", "incident").write_parquet(Path(out) / ROWS)
    say(f"extracted {len(rows):,} readings of {rows['series'].n_unique()} series before {run.moment:%Y-%m-%d}")
    return len(rows)


def validate(run: Run, rows: str, out: str) -> int:
    """Each series is numbered from 0 without a gap, and long enough to have a probation."""
    found = _corpus(rows)
    table = pl.read_parquet(Path(rows) / ROWS).group_by("series").agg(gap=pl.col("number").max() + 1 - pl.len())
    findings = [
        Finding(f"numbers missing in {name}", int(gap), "0", gap == 0, "readings of a series are numbered from 0")
        for name, gap in table.sort("series").iter_rows()
    ]
    findings += [
        Finding(f"readings of {each.name}", len(each), "100 or more", len(each) >= 100, "for a probation of 15 %")
        for each in found
    ]
    _write(Path(out) / FINDINGS, json.dumps(list(map(asdict, findings)), indent=2).encode())
    require(findings)
    say(f"{len(findings)} checks of {len(found)} series passed")
    return len(findings)


def train(run: Run, rows: str, model: str) -> int:
    """Choose the threshold on the second half of each series' probation, without labels; returns the number of series."""
    parameters, found = Parameters.of(run.settings), _corpus(rows)
    threshold, weeks = _threshold(found, _scores(found, parameters), parameters)
    made = graph(parameters.window, parameters.quiet, threshold, detector.HIGHEST_NOVELTY, detector.SMALLEST_RANGE)
    _write(Path(model) / MODEL, made.SerializeToString())
    _write(Path(model) / LEARNED, json.dumps({"threshold": threshold, "weeks": weeks}).encode())
    say(f"threshold {threshold:.4f}: {parameters.alarms_a_week} alarms a week in {weeks:.1f} weeks of probation")
    return len(found)


def evaluate(run: Run, rows: str, model: str, out: str) -> str:
    """NAB's profiles for the model and for a simple baseline; writes the training output, returns the metrics as JSON."""
    parameters, found = Parameters.of(run.settings), _corpus(rows)
    onnx, learned = (Path(model) / MODEL).read_bytes(), json.loads((Path(model) / LEARNED).read_bytes())
    scores, threshold = _scores(found, parameters), float(np.float32(learned["threshold"]))
    simple = [baseline.series_scores(each.values, parameters.window, parameters.quiet) for each in found]
    simple_threshold, _ = _threshold(found, simple, parameters)
    table = judging.losses(found, scores, threshold, "model").with_columns(
        judging.losses(found, simple, simple_threshold, baseline.NAME)[f"loss_{baseline.NAME}"]
    )
    windows = _some_windows(found, scores, parameters)
    _require_same(onnx, windows, parameters)
    measured = {
        "model": judging.figures(found, scores, threshold),
        baseline.NAME: judging.figures(found, simple, simple_threshold),
    }
    made_of = lineage(run)
    output = write_output(
        out,
        onnx=onnx,
        lineage=made_of,
        reference=_reference(onnx, windows),
        evaluation=_with_champion(table, run),
        loss=LOSS,
        champion=run.champion_version or None,
        identity=("series", "event"),
        metrics=measured,
        details={"threshold": threshold, "parameters": asdict(parameters)},
        card=model_card(run.model, measured, made_of, parameters, threshold),
    )
    say(f"NAB: {judging.told(measured['model'])}")
    return json.dumps(output.summary["forecasts"], sort_keys=True)


def _threshold(found: list[Telemetry], scores: list[np.ndarray], parameters: Parameters) -> tuple[float, float]:
    """The first half of a probation is left out: its ranges are of few readings."""
    spans = [(nab.probation(len(each)) // 2, nab.probation(len(each))) for each in found]
    weeks = sum(each.weeks(first, last - 1) for each, (first, last) in zip(found, spans, strict=True))
    seen = np.concatenate([score[first:last] for score, (first, last) in zip(scores, spans, strict=True)])
    return detector.threshold(seen, weeks, parameters.alarms_a_week), weeks


def _scores(found: list[Telemetry], parameters: Parameters) -> list[np.ndarray]:
    return [detector.series_scores(each.values, parameters.window, parameters.quiet) for each in found]


def _some_windows(found: list[Telemetry], scores: list[np.ndarray], parameters: Parameters) -> np.ndarray:
    """Of every series alike, spread evenly over what comes after its probation; and of every third one its newest reading of
    all, since evenly spread readings are hardly ever new and a model that never answers anything else is none."""
    each = max(1, parameters.reference_rows // len(found))
    parts = []
    for number, (telemetry, score) in enumerate(zip(found, scores, strict=True)):
        begun = nab.probation(len(telemetry))
        rows = np.linspace(begun, len(telemetry) - 1, each).astype(int)
        rows = np.append(rows, begun + score[begun:].argmax()) if number % 3 == 0 else rows
        parts.append(detector.windows_of(telemetry.values, parameters.window)[rows])
    return np.concatenate(parts)


def _require_same(onnx: bytes, windows: np.ndarray, parameters: Parameters) -> None:
    some = windows[:CHECKED]
    answered, computed = outputs(onnx, some)["score"][:, 0], detector.scores(some, parameters.quiet)
    if not np.array_equal(answered, computed):
        raise InvalidInput(f"the exported model answers other scores than were evaluated: {answered[:3]}, {computed[:3]}")


def _reference(onnx: bytes, windows: np.ndarray) -> pl.DataFrame:
    answered = outputs(onnx, windows)
    return pl.DataFrame({"readings": windows, "score": answered["score"][:, 0], "alarm": answered["alarm"]})


def _with_champion(table: pl.DataFrame, run: Run) -> pl.DataFrame:
    """The champion's losses on the same events: it was judged by the same rows, all of them after its training part."""
    if run.champion_output is None:
        return table
    before = run.champion_output.evaluation.rows.select("series", "event", loss_champion="loss_model")
    return table.join(before, on=["series", "event"], how="left", maintain_order="left")


def _corpus(rows: str) -> list[Telemetry]:
    return corpus(pl.read_parquet(Path(rows) / ROWS))


def _write(path: Path, content: bytes) -> None:
    _parent(path).write_bytes(content)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
