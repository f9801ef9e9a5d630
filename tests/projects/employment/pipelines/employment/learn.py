"""The classifier: codes by ordinal numbers and boosted trees, in one ONNX graph that takes a person's answers as they are.

    age float32 [n,1], fifteen texts [n,1] --> label [n] ('employed', 'not employed'), probabilities float32 [n,2]

A code that training has not seen is a category of its own. The columns of `probabilities` are in the order of LABELS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

EMPLOYED, NOT = LABELS = ("employed", "not employed")
AGE = "age"
CODES = (
    "schooling",
    "marital",
    "relationship",
    "disability",
    "parents",
    "citizenship",
    "moved",
    "military",
    "ancestry",
    "nativity",
    "hearing",
    "seeing",
    "remembering",
    "sex",
    "race",
)
INPUTS = (AGE, *CODES)


def labels(people: pl.DataFrame) -> np.ndarray:
    return np.where(people["employed"].to_numpy(), EMPLOYED, NOT)


def learn(people: pl.DataFrame, settings: Mapping[str, Any]) -> bytes:
    """The ONNX file; equal inputs give equal bytes."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OrdinalEncoder
    from threadpoolctl import threadpool_limits

    codes = OrdinalEncoder(dtype=np.float32, handle_unknown="use_encoded_value", unknown_value=-1)
    trees = HistGradientBoostingClassifier(
        max_iter=int(settings["trees"]),
        learning_rate=float(settings["learning_rate"]),
        max_leaf_nodes=int(settings["leaves"]),
        min_samples_leaf=int(settings["min_rows_in_leaf"]),
        early_stopping=False,
        random_state=int(settings["seed"]),
    )
    prepared = ColumnTransformer([("codes", codes, list(CODES)), ("age", "passthrough", [AGE])])
    pipeline = Pipeline([("prepared", prepared), ("trees", trees)])
    with threadpool_limits(1):
        pipeline.fit(people.select(INPUTS).to_pandas(), labels(people))
    types = [(AGE, FloatTensorType([None, 1])), *((name, StringTensorType([None, 1])) for name in CODES)]
    model = to_onnx(pipeline, initial_types=types, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    return bytes(model.SerializeToString(deterministic=True))


def tensors(people: pl.DataFrame) -> dict[str, np.ndarray]:
    """What the graph reads."""
    texts = {name: people[name].to_numpy().astype(object)[:, None] for name in CODES}
    return {AGE: people[AGE].cast(pl.Float32).to_numpy()[:, None], **texts}
