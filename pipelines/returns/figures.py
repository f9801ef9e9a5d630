"""Prints how good the model is: `python -m pipelines.returns.figures [EPOCHS [ITEMS [SEEDS]]]`, from the project's folder.

Beside the model it trains, for as many epochs each, networks for one answer alone: of half of the model's size (the same
numbers and computing in all) and of its size (twice of both in all). Four to five times the time of a training, in two
processes; and as often again for each other seed. Without EPOCHS and ITEMS (all) it takes those of the pipeline.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

from . import samples, steps
from .baselines import BY_ORDER, ORDER, OWN_LABELS, SINGLE_TASK, believing_the_order, joined, own_labels
from .damage import WRONG_SHARE
from .graph import graph
from .learning import TASKS, judge, learn
from .network import Size, Weights, parameters
from .parameters import Parameters
from .pipeline import PARAMETERS
from .samples import Returns
from .scoring import Answers, answers, figures

PRODUCTS = Path(__file__).parents[2] / "features/data/products.parquet"
MODEL, HALVES = "model", "single_task_half_size"
SPAWN = get_context("spawn")  # in a fork of a process whose threads of polars have begun, polars waits for ever
WHOLE = Parameters.of(PARAMETERS).size.alone
HALF = Size(12, 22, 32, 48)  # half of the numbers, and of the products, of a network of the pipeline's size
CATEGORY, CONDITION = {"category": TASKS["category"]}, {"condition": TASKS["condition"]}
NETWORKS: dict[str, tuple[Mapping[str, int], Size | None]] = {
    MODEL: (TASKS, None),
    "condition": (CONDITION, WHOLE),
    "category": (CATEGORY, WHOLE),
    "condition_by_order": (BY_ORDER, WHOLE),
    "half_condition": (CONDITION, HALF),
    "half_category": (CATEGORY, HALF),
}
Made = dict[str, tuple[Answers, Returns]]


def trained(name: str, rows: str, of: Parameters) -> Weights:
    tasks, size = NETWORKS[name]
    return learn(steps._lessons(rows, of), tasks, of, lambda line: _told(f"{name}: {line}"), size)


def compared(networks: Mapping[str, Weights], rows: str, of: Parameters) -> Made:
    """The answers of each, and what is true."""
    held_out = steps._returned(rows, samples.CALIBRATION, steps.CALIBRATED, of)
    true = steps._returned(rows, samples.TEST, steps.JUDGED, of)
    unknown = samples.not_known(true)
    model = networks[MODEL]
    onnx = graph(model, judge(model, held_out, of), WRONG_SHARE).SerializeToString()
    full, half = ((networks[f"{size}category"], networks[f"{size}condition"]) for size in ("", "half_"))
    return {
        MODEL: (answers(onnx, true), true),
        HALVES: (joined(*half, held_out, true), true),
        SINGLE_TASK: (joined(*full, held_out, true), true),
        OWN_LABELS: (own_labels(full[0], networks["condition_by_order"], held_out, true), true),
        ORDER: (believing_the_order(true), true),
        f"{MODEL}_without_order": (answers(onnx, unknown), unknown),
        f"{HALVES}_without_order": (joined(*half, held_out, unknown), unknown),
        f"{SINGLE_TASK}_without_order": (joined(*full, held_out, unknown), unknown),
    }


def table(runs: Sequence[Made]) -> Iterator[str]:
    """Means over the seeds."""
    names, of_each = list(runs[0]), [{name: _figures(*made[name]) for name in made} for made in runs]
    yield f"| | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for metric in of_each[0][MODEL]:
        yield f"| {metric} | {' | '.join(f'{np.mean([each[name][metric] for each in of_each]):.4f}' for name in names)} |"


def _figures(made: Answers, true: Returns) -> dict[str, float]:
    return {**figures(made, true), "loss": float(made.losses(true).mean())}


def ahead(runs: Sequence[Made], items: int) -> Iterator[str]:
    """By how much the model's loss is lower than each other one's: mean over the seeds and 95 % interval over items drawn anew,
    and the mean of each seed."""
    for name in runs[0]:
        model = f"{MODEL}_without_order" if name.endswith("_without_order") else MODEL
        if name != model:
            less = np.array([made[name][0].losses(made[name][1]) - made[model][0].losses(made[model][1]) for made in runs])
            by_item = less.reshape(len(runs), -1, items).mean(axis=(0, 1))
            drawn = by_item[np.random.default_rng(7).integers(0, items, (10_000, items))].mean(axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            seeds = ", ".join(f"{each:.4f}" for each in less.mean(axis=1))
            yield f"log loss of {name} less that of {model}: {by_item.mean():.4f} ({low:.4f} to {high:.4f}); by seed {seeds}"


def extracted(folder: str, items: int) -> None:
    products = pl.read_parquet(PRODUCTS).sort("item")
    products = products.head(items) if items else products
    parts = pl.Series(samples.parts(products["item"].to_list()))
    products.with_columns(part=parts).write_parquet(Path(folder) / steps.ROWS)


def main(epochs: str = str(PARAMETERS["epochs"]), items: str = "0", seeds: str = "1") -> None:
    first = Parameters.of({**PARAMETERS, "epochs": int(epochs)})
    settings = [replace(first, seed=first.seed + 10 * n) for n in range(int(seeds))]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, SPAWN) as processes:
        extracted(folder, int(items))
        waiting = [{name: processes.submit(trained, name, folder, of) for name in NETWORKS} for of in settings]
        networks = [{name: each.result() for name, each in by_name.items()} for by_name in waiting]
        runs = [compared(each, folder, of) for each, of in zip(networks, settings, strict=True)]
        lines = [
            ", ".join(f"{name} {parameters(weights):,} numbers" for name, weights in networks[0].items()),
            *table(runs),
            *ahead(runs, len(steps._items(folder, samples.TEST))),
        ]
    sys.stdout.write("\n".join(lines) + "\n")


def _told(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
