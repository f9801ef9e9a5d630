"""The model of lead times: for each of the two questions three quantile forests and two shifts, as one ONNX graph of named
tensors.

    features [n,F] ---- Gather (what is counted alike) --+
    quantity, pack_price, month, first_line [n,1] -------+-- Concat --> forests of 0.1, 0.5, 0.9 --> + shifts --> sorted
    incoterm, product_class, ..., country_name (texts) --+                                              |
           each by a LabelEncoder to a number                                  counted_from picks order or schedule
                                                                                                        v
                                                                                           quantiles float32 [n,3], days

The shifts are conformal: what the ends of the band have to move by for 10 % of the deliveries of the last two years to lie
below and 10 % above, where each half-year was predicted by forests that had seen only what was known before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from .encoding import Codes, codes, encoded
from .forests import QUANTILES, ensemble, grow
from .questions import BASES, KNOWN, NUMBERS, TARGET, TEXTS

OPSET, IR_VERSION = 17, 9
FIRST_LINE = "first_line"
OUTPUT = "quantiles"
NAMES = ("vendor_name", "country_name", "mode_name")  # stored texts, by the names of their tensors
CATEGORIES = (*TEXTS[1:], *NAMES)


@dataclass(frozen=True)
class Part:
    """What answers one question: the columns of `features` it reads, its categories, forests, and the shifts of both ends."""

    columns: tuple[int, ...]
    codes: Codes
    forests: tuple[Any, ...]
    shifts: tuple[float, float] = (0.0, 0.0)

    def matrix(self, rows: pl.DataFrame, vector: Sequence[str]) -> np.ndarray:
        stored = rows.select(pl.col(vector[i]).cast(pl.Float32).fill_null(np.nan) for i in self.columns).to_numpy()
        asked = rows.select(pl.col(name).cast(pl.Float32).fill_null(np.nan) for name in (*NUMBERS, FIRST_LINE)).to_numpy()
        return np.concatenate([stored, asked, encoded(rows, self.codes)], axis=1)

    def quantiles(self, rows: pl.DataFrame, vector: Sequence[str]) -> np.ndarray:
        """[n, 3], sorted, with the shifts."""
        x = self.matrix(rows, vector)
        raw = np.sort(np.stack([forest.predict(x) for forest in self.forests], axis=1), axis=1)
        return np.sort(raw + np.array([self.shifts[0], 0.0, self.shifts[1]]), axis=1)


def learn(rows: pl.DataFrame, vector: Sequence[str], until: datetime, settings: Mapping[str, Any]) -> dict[str, Part]:
    """A part for each question, of rows with the columns of `questions` and `vector` that were known before `until`."""
    parts = {}
    for basis in BASES:
        past = rows.filter(pl.col("counted_from") == basis, pl.col(KNOWN) < until)
        grown = _grow(past, vector, basis, settings)
        parts[basis] = Part(grown.columns, grown.codes, grown.forests, _shifts(past, vector, basis, until, settings))
    return parts


def _grow(past: pl.DataFrame, vector: Sequence[str], basis: str, settings: Mapping[str, Any]) -> Part:
    columns = tuple(i for i, name in enumerate(vector) if f"_{basis}_" in name)
    bare = Part(columns, codes(past, CATEGORIES, TARGET), ())
    x, y = bare.matrix(past, vector), past[TARGET].to_numpy()
    return Part(columns, bare.codes, tuple(grow(x, y, quantile, settings) for quantile in QUANTILES))


def _shifts(
    past: pl.DataFrame, vector: Sequence[str], basis: str, until: datetime, settings: Mapping[str, Any]
) -> tuple[float, float]:
    low, high = [], []
    step = timedelta(days=int(settings["calibration_days"]))
    for fold in range(1, int(settings["calibration_folds"]) + 1):
        begin = until - fold * step
        before = past.filter(pl.col(KNOWN) < begin)
        held_out = past.filter(pl.col(KNOWN) >= begin, pl.col(KNOWN) < begin + step)
        if len(before) < int(settings["calibration_min_rows"]) or held_out.is_empty():
            continue
        predicted = _grow(before, vector, basis, settings).quantiles(held_out, vector)
        low.append(held_out[TARGET].to_numpy() - predicted[:, 0])
        high.append(held_out[TARGET].to_numpy() - predicted[:, 2])
    if not low:
        return 0.0, 0.0
    return tuple(
        float(np.float32(np.quantile(np.concatenate(errors), quantile)))
        for errors, quantile in ((low, QUANTILES[0]), (high, QUANTILES[2]))
    )  # type: ignore[return-value]


def to_onnx(parts: Mapping[str, Part], vector: Sequence[str]) -> bytes:
    """The graph of the module's docstring."""
    from onnx import TensorProto, checker, helper, numpy_helper

    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    width = constant("count", np.array([len(QUANTILES)], np.int64))
    nodes = [helper.make_node("Cast", [FIRST_LINE], ["first_line_number"], to=TensorProto.FLOAT)]
    for basis, part in parts.items():
        columns = constant(f"{basis}_columns", np.array(part.columns, np.int64))
        nodes.append(helper.make_node("Gather", ["features", columns], [f"{basis}_stored"], axis=1))
        for name, known in part.codes.items():
            nodes.append(_labels(name, f"{basis}_{name}", known or {"": float("nan")}))
        pieces = [f"{basis}_stored", *NUMBERS, "first_line_number", *(f"{basis}_{name}" for name in part.codes)]
        nodes.append(helper.make_node("Concat", pieces, [f"{basis}_x"], axis=1))
        for quantile, forest in zip(QUANTILES, part.forests, strict=True):
            nodes.append(ensemble(forest, f"{basis}_x", f"{basis}_{quantile}"))
        shifts = constant(f"{basis}_shifts", np.array([[part.shifts[0], 0.0, part.shifts[1]]], np.float32))
        nodes += [
            helper.make_node("Concat", [f"{basis}_{q}" for q in QUANTILES], [f"{basis}_roots"], axis=1),
            helper.make_node("TopK", [f"{basis}_roots", width], [f"{basis}_sorted", f"{basis}_order"], axis=1, largest=0),
            helper.make_node("Add", [f"{basis}_sorted", shifts], [f"{basis}_shifted"]),
            helper.make_node("TopK", [f"{basis}_shifted", width], [f"{basis}_days", f"{basis}_order2"], axis=1, largest=0),
        ]
    # what is neither question has no answer: NaN, which is never taken for days
    nodes += [
        _labels(TEXTS[0], "asked", {basis: float(number) for number, basis in enumerate(BASES)}),
        helper.make_node("Equal", ["asked", constant("zero", np.float32(0))], ["is_order"]),
        helper.make_node("Equal", ["asked", constant("one", np.float32(1))], ["is_schedule"]),
        helper.make_node("Where", ["is_schedule", f"{BASES[1]}_days", constant("nothing", np.float32(np.nan))], ["late"]),
        helper.make_node("Where", ["is_order", f"{BASES[0]}_days", "late"], [OUTPUT]),
    ]
    texts = [helper.make_tensor_value_info(name, TensorProto.STRING, [None, 1]) for name in (*TEXTS, *NAMES)]
    numbers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in NUMBERS]
    graph = helper.make_graph(
        nodes,
        "lead_time",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(vector)]),
            *texts,
            *numbers,
            helper.make_tensor_value_info(FIRST_LINE, TensorProto.BOOL, [None, 1]),
        ],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(QUANTILES)])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lead_time")
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _labels(name: str, output: str, known: Mapping[str, float]) -> Any:
    from onnx import helper

    return helper.make_node(
        "LabelEncoder",
        [name],
        [output],
        domain="ai.onnx.ml",
        keys_strings=list(known),
        values_floats=list(known.values()),
        default_float=float("nan"),
    )


def tensors(rows: pl.DataFrame, vector: Sequence[str]) -> dict[str, np.ndarray]:
    """What the graph reads, of rows with the columns of `questions`, `vector` and the stored texts."""
    column = {name: rows[name].fill_null("").to_numpy().astype(object)[:, None] for name in (*TEXTS, *NAMES)}
    column |= {name: rows[name].cast(pl.Float32).to_numpy()[:, None] for name in NUMBERS}
    column[FIRST_LINE] = rows[FIRST_LINE].to_numpy()[:, None]
    features = rows.select(pl.col(name).cast(pl.Float32).fill_null(np.nan) for name in vector).to_numpy()
    return {"features": np.ascontiguousarray(features), **column}
