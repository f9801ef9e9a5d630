"""Prints how good the model is: `python -m pipelines.returns.figures [EPOCHS [ITEMS]]`, from the project's folder.

Beside the model it trains, for as many epochs each, networks for one answer alone: of the model's size (twice its numbers and
its training in all) and of half of it (the same in all). Four to five times the time of a training, in two processes. Without
EPOCHS and ITEMS (all) it takes those of the pipeline.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
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
HALF = Size(12, 22, 32, 48)  # half of the numbers, and of the products, of a network of the pipeline's size
CATEGORY, CONDITION = {"category": TASKS["category"]}, {"condition": TASKS["condition"]}
NETWORKS: dict[str, tuple[Mapping[str, int], Size | None]] = {
    MODEL: (TASKS, None),
    "condition": (CONDITION, None),
    "category": (CATEGORY, None),
    "condition_by_order": (BY_ORDER, None),
    "half_condition": (CONDITION, HALF),
    "half_category": (CATEGORY, HALF),
}


def trained(name: str, rows: str, of: Parameters) -> Weights:
    tasks, size = NETWORKS[name]
    return learn(steps._lessons(rows, of), tasks, of, lambda line: _told(f"{name}: {line}"), size)


def compared(networks: Mapping[str, Weights], rows: str, of: Parameters) -> dict[str, tuple[Answers, Returns]]:
    """The answers of each, and what is true."""
    held_out = steps._returned(rows, samples.CALIBRATION, steps.CALIBRATED, of)
    true = steps._returned(rows, samples.TEST, steps.JUDGED, of)
    unknown = samples.not_known(true)
    model = networks[MODEL]
    onnx = graph(model, judge(model, held_out, of), WRONG_SHARE).SerializeToString()
    full, half = ((networks[f"{size}category"], networks[f"{size}condition"]) for size in ("", "half_"))
    return {
        MODEL: (answers(onnx, true), true),
        SINGLE_TASK: (joined(*full, held_out, true), true),
        OWN_LABELS: (own_labels(full[0], networks["condition_by_order"], held_out, true), true),
        HALVES: (joined(*half, held_out, true), true),
        ORDER: (believing_the_order(true), true),
        f"{MODEL}_without_order": (answers(onnx, unknown), unknown),
        f"{SINGLE_TASK}_without_order": (joined(*full, held_out, unknown), unknown),
        f"{HALVES}_without_order": (joined(*half, held_out, unknown), unknown),
    }


def table(measured: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield f"| | {' | '.join(measured)} |"
    yield f"|---|{'---|' * len(measured)}"
    for metric in next(iter(measured.values())):
        yield f"| {metric} | {' | '.join(f'{each[metric]:.4f}' for each in measured.values())} |"


def ahead(made: Mapping[str, tuple[Answers, Returns]], items: int) -> Iterator[str]:
    """By how much the model's loss is lower than each other one's: mean and 95 % interval over items drawn anew."""
    for name, (each, true) in made.items():
        model = f"{MODEL}_without_order" if name.endswith("_without_order") else MODEL
        if name != model:
            by_item = (each.losses(true) - made[model][0].losses(true)).reshape(-1, items).mean(axis=0)
            drawn = by_item[np.random.default_rng(7).integers(0, items, (10_000, items))].mean(axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            yield f"log loss of {name} less that of {model}: {by_item.mean():.4f} ({low:.4f} to {high:.4f})"


def report(networks: Mapping[str, Weights], rows: str, of: Parameters) -> Iterator[str]:
    made = compared(networks, rows, of)
    yield ", ".join(f"{name} {parameters(weights):,} numbers" for name, weights in networks.items())
    yield from table({n: {**figures(each, true), "loss": float(each.losses(true).mean())} for n, (each, true) in made.items()})
    yield from ahead(made, len(steps._items(rows, samples.TEST)))


def extracted(folder: str, items: int) -> None:
    products = pl.read_parquet(PRODUCTS).sort("item")
    products = products.head(items) if items else products
    parts = pl.Series(samples.parts(products["item"].to_list()))
    products.with_columns(part=parts).write_parquet(Path(folder) / steps.ROWS)


def main(epochs: str = str(PARAMETERS["epochs"]), items: str = "0") -> None:
    of = Parameters.of({**PARAMETERS, "epochs": int(epochs)})
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(max_workers=2) as processes:
        extracted(folder, int(items))
        waiting = {name: processes.submit(trained, name, folder, of) for name in NETWORKS}
        networks = {name: each.result() for name, each in waiting.items()}
        sys.stdout.write("\n".join(report(networks, folder, of)) + "\n")


def _told(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
