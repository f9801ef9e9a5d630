"""The steps of a training, each a function of folders.

extract    data           -> rows/    images with their categories
validate   rows/          -> findings, or InvalidInput
train      rows/          -> model/   model.onnx with its temperatures and threshold
evaluate   rows/, model/  -> output/  the whole training output
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.api.training import Finding, Run, lineage, read_rows, require, say, write_output

from . import samples
from .baselines import ORDER, SINGLE_TASK, believing_the_order, joined
from .card import model_card
from .damage import CATEGORIES, CONDITIONS, SIDE, WRONG_SHARE
from .graph import graph
from .learning import TASKS, judge, learn
from .parameters import Parameters
from .scoring import Answers, answers, figures

ROWS, FINDINGS, MODEL, LEARNED = "rows.parquet", "findings.json", "model.onnx", "learned.json"
LOSS = "log loss of the category and of the condition, added"
CALIBRATED, JUDGED, REFERENCED = (10_000, 3), (20_000, 2), (30_000, 1)  # seeds, and how often each item comes back
LEAST = 30  # items of each category


def extract(run: Run, out: str) -> int:
    parameters = Parameters.of(run.settings)
    rows = read_rows(run, "rows").select("item", "category", "image").sort("item")
    rows = rows.head(parameters.items) if parameters.items else rows
    Path(out).mkdir(parents=True, exist_ok=True)
    rows.with_columns(part=pl.Series(samples.parts(rows["item"].to_list()))).write_parquet(Path(out) / ROWS)
    say(f"extracted {len(rows):,} images")
    return len(rows)


def validate(run: Run, rows: str, out: str) -> int:
    """Each part has items of each category."""
    table = pl.read_parquet(Path(rows) / ROWS)
    findings = []
    for part in (samples.TRAINING, samples.CALIBRATION, samples.TEST):
        for category in CATEGORIES:
            count = table.filter(part=part, category=category).height
            least = LEAST if part == samples.TRAINING else 1
            findings.append(Finding(f"{part} images of {category}", float(count), f"{least} or more", count >= least))
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / FINDINGS).write_text(json.dumps(list(map(asdict, findings)), indent=2))
    require(findings)
    say(f"{len(findings)} checks of {len(table):,} images passed")
    return len(findings)


def train(run: Run, rows: str, model: str) -> int:
    """Learn both answers with one network, and calibrate them on items of their own; returns the number trained on."""
    parameters, into = Parameters.of(run.settings), Path(model)
    lessons = _lessons(rows, parameters)
    weights = learn(lessons, TASKS, parameters, say)
    judgement = judge(weights, _returned(rows, samples.CALIBRATION, CALIBRATED, parameters), parameters)
    into.mkdir(parents=True, exist_ok=True)
    (into / MODEL).write_bytes(graph(weights, judgement, WRONG_SHARE).SerializeToString())
    (into / LEARNED).write_text(json.dumps(asdict(judgement)))
    below = f"{judgement.threshold:.3f}, or {judgement.threshold_without_order:.3f} without an order"
    say(f"learned from {lessons.items:,} items; people look below a confidence of {below}")
    return lessons.items


def evaluate(run: Run, rows: str, model: str, out: str) -> str:
    """Items that were not trained on, against the order and, if asked for, single-task models; writes the training output."""
    parameters, onnx = Parameters.of(run.settings), (Path(model) / MODEL).read_bytes()
    learned = json.loads((Path(model) / LEARNED).read_bytes())
    true = _returned(rows, samples.TEST, JUDGED, parameters)
    made = {"model": answers(onnx, true), ORDER: believing_the_order(true)}
    if parameters.single_task:
        held_out = _returned(rows, samples.CALIBRATION, CALIBRATED, parameters)
        lessons = _lessons(rows, parameters)
        size = parameters.size.alone
        category, condition = (learn(lessons, {task: TASKS[task]}, parameters, say, size) for task in ("category", "condition"))
        made[SINGLE_TASK] = joined(category, condition, held_out, true)
    if run.champion_output is not None:
        made["champion"] = answers((run.champion_output.folder / "model/model.onnx").read_bytes(), true)
    measured = {name: figures(each, true) for name, each in made.items()}
    unknown = samples.not_known(true)
    measured["model_without_order"] = figures(answers(onnx, unknown), unknown)
    made_of = lineage(run)
    output = write_output(
        out,
        onnx=onnx,
        lineage=made_of,
        reference=_reference(onnx, _returned(rows, samples.TEST, REFERENCED, parameters)),
        evaluation=_evaluation(_items(rows, samples.TEST), made, true),
        loss=LOSS,
        champion=run.champion_version or None,
        identity=("item", "time"),
        metrics=measured,
        details={"learned": learned, "parameters": asdict(parameters)},
        card=model_card(run.model, measured, _segments(made["model"], true), made_of, parameters, learned),
    )
    say("right, both answers: " + ", ".join(f"{name} {each['both_right']:.1%}" for name, each in measured.items()))
    return json.dumps(output.summary["forecasts"], sort_keys=True)


def _evaluation(items: list[str], made: dict[str, Answers], true: samples.Returns) -> pl.DataFrame:
    times = len(true.category) // len(items)
    known = {
        "item": items * times,
        "time": [time for time in range(times) for _ in items],
        "segment_category": [CATEGORIES[i] for i in true.category],
        "segment_condition": [CONDITIONS[i] for i in true.condition],
    }
    return pl.DataFrame({**known, **{f"loss_{name}": each.losses(true) for name, each in made.items()}})


def _segments(made: Answers, true: samples.Returns) -> dict[str, float]:
    right = made.right(true)
    by = {CONDITIONS[i]: true.condition == i for i in range(len(CONDITIONS))}
    by |= {CATEGORIES[i]: true.category == i for i in range(len(CATEGORIES))}
    return {name: float(right[rows].mean()) for name, rows in by.items() if rows.any()}


def _reference(onnx: bytes, returns: samples.Returns) -> pl.DataFrame:
    made = answers(onnx, returns)
    inputs = {"images": returns.images, "ordered": returns.ordered}
    return pl.DataFrame({**inputs, "category": made.category, "condition": made.condition, "review": made.review})


def _part(rows: str, part: str) -> pl.DataFrame:
    return pl.read_parquet(Path(rows) / ROWS).filter(part=part)


def _items(rows: str, part: str) -> list[str]:
    return _part(rows, part)["item"].to_list()


def _images(rows: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    table = _part(rows, part)
    images = np.frombuffer(b"".join(table["image"]), np.uint8).reshape(-1, SIDE, SIDE)
    return images, np.array([CATEGORIES.index(name) for name in table["category"]])


def _lessons(rows: str, parameters: Parameters) -> samples.Lessons:
    return samples.Lessons(*_images(rows, samples.TRAINING), parameters.draws, parameters.seed)


def _returned(rows: str, part: str, how: tuple[int, int], parameters: Parameters) -> samples.Returns:
    seed, times = how
    return samples.returned(*_images(rows, part), seed + parameters.seed, times)
