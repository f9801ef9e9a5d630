"""Prints how good the model is: `python -m pipelines.returns.figures [EPOCHS [ITEMS]]`, from the project's folder.

It trains the model and, with as many epochs each, a model for each answer alone, of the same size; three times the time of a
training. Without EPOCHS and ITEMS (all) it takes those of the pipeline.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from . import samples, steps
from .baselines import ORDER, SINGLE_TASK, believing_the_order, one_model_each
from .damage import WRONG_SHARE
from .graph import graph
from .learning import TASKS, judge, learn
from .parameters import Parameters
from .pipeline import PARAMETERS
from .scoring import answers, figures

PRODUCTS = Path(__file__).parents[2] / "features/data/products.parquet"


def table(measured: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    yield f"| | {' | '.join(measured)} |"
    yield f"|---|{'---|' * len(measured)}"
    for metric in next(iter(measured.values())):
        yield f"| {metric} | {' | '.join(f'{each[metric]:.4f}' for each in measured.values())} |"


def measured(rows: str, parameters: Parameters) -> dict[str, dict[str, float]]:
    lessons = steps._lessons(rows, parameters)
    held_out = steps._returned(rows, samples.CALIBRATION, steps.CALIBRATED, parameters)
    true = steps._returned(rows, samples.TEST, steps.JUDGED, parameters)
    weights = learn(lessons, TASKS, parameters, _told)
    onnx = graph(weights, judge(weights, weights, held_out, parameters), WRONG_SHARE).SerializeToString()
    unknown = samples.not_known(true)
    made = {
        "model": (answers(onnx, true), true),
        SINGLE_TASK: (one_model_each(lessons, held_out, true, parameters, _told), true),
        ORDER: (believing_the_order(true), true),
        "model_without_order": (answers(onnx, unknown), unknown),
    }
    return {name: {**figures(each, of), "loss": float(each.losses(of).mean())} for name, (each, of) in made.items()}


def main(epochs: str = str(PARAMETERS["epochs"]), items: str = "0") -> None:
    parameters = Parameters.of({**PARAMETERS, "epochs": int(epochs)})
    products = pl.read_parquet(PRODUCTS).sort("item")
    products = products.head(int(items)) if int(items) else products
    with tempfile.TemporaryDirectory() as folder:
        products.with_columns(part=pl.Series(samples.parts(products["item"].to_list()))).write_parquet(
            Path(folder) / steps.ROWS
        )
        sys.stdout.write("\n".join(table(measured(folder, parameters))) + "\n")


def _told(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
