"""LightGBM quantile forests as one ONNX graph (`ports.training.QuantileLearner`).

    features [n,F] -+-> trees of quantile 0.1 -+
                    +-> trees of quantile 0.5 -+-> Concat -> inverse of the target's transform -> sorted -> clipped at 0
                    +-> trees of quantile 0.9 -+

The graph takes the same branch as LightGBM for every float32 input, NaN included, because the trees are made
canonical before they are exported: a threshold t becomes the largest float32 <= t, which changes no comparison `x <= t` of a
float32 x; and a split of a feature that had no missing values in training, where LightGBM reads NaN as 0, says so
explicitly. What remains is the rounding of float32 sums. Quantiles are equivariant under increasing transforms, so learning
the square root of units and squaring in the graph is exact.

The trees are kept as LightGBM's text, never as a pickle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tidegate.api.training import InvalidInput

from .learner import TrainedModel
from .names import INPUT, OUTPUT, QUANTILE_COLUMNS, QUANTILES
from .openmp import import_lightgbm

OPSET, IR_VERSION = 15, 9
DEFAULT_LEFT, MISSING_SHIFT, MISSING_NAN, MISSING_NONE = 2, 2, 2, 0
INTEGERS = ("trees", "leaves", "min_rows_in_leaf", "max_bin", "seed", "threads")


class LightgbmQuantiles:
    def fit(self, vectors: np.ndarray, target: np.ndarray, names: Sequence[str], settings: Mapping[str, float]) -> TrainedModel:
        if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(target):
            raise InvalidInput(f"training: vectors are {vectors.dtype} {vectors.shape}, required float32 [{len(target)}, F]")
        if not len(target) or not np.isfinite(target).all() or target.min() < 0:
            raise InvalidInput("training: the target must have rows, all of them finite and not negative")
        lightgbm = import_lightgbm()
        wanted = {k: int(settings[k]) for k in INTEGERS} | {k: float(v) for k, v in settings.items() if k not in INTEGERS}
        params = {
            "objective": "quantile",
            "num_leaves": wanted["leaves"],
            "learning_rate": wanted["learning_rate"],
            "min_data_in_leaf": wanted["min_rows_in_leaf"],
            "feature_fraction": wanted["feature_fraction"],
            "bagging_fraction": wanted["bagging_fraction"],
            "bagging_freq": 1,
            "max_bin": wanted["max_bin"],
            "seed": wanted["seed"],
            "num_threads": wanted["threads"],
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        data = lightgbm.Dataset(vectors, np.sqrt(target), params=params, feature_name=list(names), free_raw_data=False)
        texts, gain = [], np.zeros(vectors.shape[1])
        for alpha in QUANTILES:
            booster = lightgbm.train({**params, "alpha": alpha}, data, num_boost_round=wanted["trees"])
            texts.append(canonical_text(booster.model_to_string(num_iteration=-1)))
            gain += booster.feature_importance("gain")
        share = gain / gain.sum() if gain.sum() > 0 else gain
        native = {f"{column}.txt": text for column, text in zip(QUANTILE_COLUMNS, texts, strict=True)}
        return TrainedModel(to_onnx(texts, vectors.shape[1]), native, dict(zip(names, map(float, share), strict=True)))


def canonical_text(text: str) -> str:
    """LightGBM's text with float32 thresholds and explicit treatment of NaN; see the module's docstring."""
    lines, thresholds = [], list[float]()
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if name == "tree_sizes":
            continue  # offsets of the old text; LightGBM reads trees one after the other without them
        if separator and name == "threshold":
            thresholds = [_float32_floor(float(item)) for item in value.split()]
            line = f"threshold={' '.join(repr(item) for item in thresholds)}"
        elif separator and name == "decision_type":
            kinds = [_explicit(int(kind), threshold) for kind, threshold in zip(value.split(), thresholds, strict=True)]
            line = f"decision_type={' '.join(map(str, kinds))}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _float32_floor(value: float) -> float:
    single = np.float32(value)
    if float(single) > value:
        single = np.nextafter(single, np.float32(-math.inf))
    return float(single)


def _explicit(kind: int, threshold: float) -> int:
    """`decision_type` (bit 1: default left; bits 2-3: kind of missing) with `NaN reads as 0` spelled out."""
    if kind >> MISSING_SHIFT != MISSING_NONE:
        return kind
    return (kind & 1) | (DEFAULT_LEFT if threshold >= 0 else 0) | (MISSING_NAN << MISSING_SHIFT)


def to_onnx(texts: Sequence[str], width: int) -> bytes:
    """One graph of the forests in `texts`, one a quantile, learned on the square root of the target."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    initializers: list[Any] = []
    for column, text in zip(QUANTILE_COLUMNS, texts, strict=True):
        graph = _forest(text, width)
        rename = {graph.input[0].name: INPUT, graph.output[0].name: f"{column}_root"}
        for initializer in graph.initializer:
            rename[initializer.name] = f"{column}_{initializer.name}"
            initializer.name = rename[initializer.name]
            initializers.append(initializer)
        for node in graph.node:
            node.input[:] = [rename.setdefault(name, f"{column}_{name}") for name in node.input]
            node.output[:] = [rename.setdefault(name, f"{column}_{name}") for name in node.output]
            node.name = f"{column}_{node.name}"
            nodes.append(node)
    initializers += [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array([len(texts)], np.int64), "count"),
    ]
    nodes += [
        helper.make_node("Concat", [f"{column}_root" for column in QUANTILE_COLUMNS], ["roots"], name="concat", axis=1),
        helper.make_node("TopK", ["roots", "count"], ["sorted", "order"], name="sort", axis=1, largest=0, sorted=1),
        helper.make_node("Max", ["sorted", "zero"], ["clipped"], name="clip"),
        helper.make_node("Mul", ["clipped", "clipped"], [OUTPUT], name="square"),
    ]
    graph = helper.make_graph(
        nodes,
        "quantile_forests",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, len(texts)])],
        initializers,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="tidegate")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _forest(text: str, width: int) -> Any:
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = import_lightgbm().Booster(model_str=text)
    model = convert_lightgbm(booster, initial_types=[("forest_in", FloatTensorType([None, width]))], target_opset=OPSET)
    return model.graph
