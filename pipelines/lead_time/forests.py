"""Quantile forests (scikit-learn's gradient boosting by histograms), and their ONNX form node by node.

Thresholds become the largest float32 that is not above them, which changes no comparison of a float32 value, so the graph
takes the branch that the learner took, missing values included. What remains is the rounding of float32 sums.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = (0.1, 0.5, 0.9)


def grow(x: np.ndarray, y: np.ndarray, quantile: float, settings: Mapping[str, Any]) -> Any:
    """One forest; equal inputs give equal forests."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return HistGradientBoostingRegressor(
            loss="quantile",
            quantile=quantile,
            max_iter=int(settings["trees"]),
            learning_rate=float(settings["learning_rate"]),
            max_leaf_nodes=int(settings["leaves"]),
            min_samples_leaf=int(settings["min_rows_in_leaf"]),
            max_features=float(settings["feature_fraction"]),
            l2_regularization=1.0,
            early_stopping=False,
            random_state=int(settings["seed"]),
        ).fit(x, y)


def ensemble(forest: Any, given: str, name: str) -> Any:
    """The forest as one TreeEnsembleRegressor over the tensor `given`, float32 [n, F]; its output is `name`, float32 [n, 1]."""
    from onnx import helper

    keys = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")
    nodes: dict[str, list[Any]] = {key: [] for key in keys}
    leaves: dict[str, list[Any]] = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree, (predictor,) in enumerate(forest._predictors):
        for number, node in enumerate(predictor.nodes):
            leaf = bool(node["is_leaf"])
            row: Sequence[Any] = (
                tree,
                number,
                0 if leaf else int(node["feature_idx"]),
                0.0 if leaf else float32_floor(float(node["num_threshold"])),
                "LEAF" if leaf else "BRANCH_LEQ",
                0 if leaf else int(node["left"]),
                0 if leaf else int(node["right"]),
                int(not leaf and node["missing_go_to_left"]),
            )
            for key, value in zip(keys, row, strict=True):
                nodes[key].append(value)
            if leaf:
                for key, value in zip(leaves, (tree, number, 0, float(node["value"])), strict=True):
                    leaves[key].append(value)
    return helper.make_node(
        "TreeEnsembleRegressor",
        [given],
        [name],
        name=f"forest_{name}",
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        base_values=[float(np.ravel(forest._baseline_prediction)[0])],
        post_transform="NONE",
        **{f"nodes_{key}": value for key, value in nodes.items()},
        **{f"target_{key}": value for key, value in leaves.items()},
    )


def float32_floor(value: float) -> float:
    single = np.float32(value)
    if float(single) > value:
        single = np.nextafter(single, np.float32(-math.inf))
    return float(single)
