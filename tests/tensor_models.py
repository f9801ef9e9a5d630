"""Small models of many kinds, made with onnx.helper, as releases that a slot loads: each with a request and its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from release_signing import sign_release
from serving_builders import T0
from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.given_tensors import with_tensors
from tidegate.domain.keys import JoinKey
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.files.digests import folder_files
from tidegate.ports.features import OnlineRows, Watermark
from tidegate.ports.tensor_model import inputs_of

NO_FEATURES = FeatureContract("", "", {}, ())
TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "INT64": TensorProto.INT64,
    "INT32": TensorProto.INT32,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "BYTES": TensorProto.STRING,
}
Tensors = Mapping[str, tuple[str, Sequence[int | None]]]


def onnx_of(nodes: Sequence[Any], inputs: Tensors, outputs: Tensors, weights: Mapping[str, np.ndarray] | None = None) -> bytes:
    described = [
        [helper.make_tensor_value_info(name, TYPES[kind], shape) for name, (kind, shape) in each.items()]
        for each in (inputs, outputs)
    ]
    initial = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "small", described[0], described[1], initial)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString())


node = helper.make_node


@dataclass(frozen=True)
class Case:
    """`tensors` are what the model gets for `body`; `answer` are its outputs, as JSON has them."""

    onnx: bytes
    body: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    answer: Mapping[str, Any]
    contract: FeatureContract = NO_FEATURES
    rows: Mapping[str, tuple[Sequence[float], Mapping[str, str | None]]] = field(default_factory=dict)  # by entity


def texts(*values: str) -> np.ndarray:
    return np.array(values, dtype=object)[:, None]


IMAGES = (np.arange(32, dtype=np.uint8) * 7 % 251).reshape(2, 4, 4)
WINDOWS = np.array([[[1, 2], [3, 4], [5, 6]]], dtype=np.float32)
STORED = FeatureContract(
    "flights",
    "carrier,flight",
    {"history": ("delay", "city")},
    ("history__delay", "history__city"),
    join_keys=(JoinKey("carrier"), JoinKey("flight", "INT32")),
    types={"history__city": "BYTES"},
)
CASES = {
    "texts in, texts out": Case(
        onnx_of([node("Identity", ["comment"], ["label"])], {"comment": ("BYTES", [None, 1])}, {"label": ("BYTES", [None, 1])}),
        {"inputs": {"comment": ["näh", "", 'a"b\u2028']}},
        {"comment": texts("näh", "", 'a"b\u2028')},
        {"label": [["näh"], [""], ['a"b\u2028']]},
    ),
    "several inputs of whole numbers and booleans": Case(
        onnx_of(
            [
                node("Add", ["count", "more"], ["total"]),
                node("Not", ["flag"], ["other"]),
            ],
            {"count": ("INT64", [None, 1]), "more": ("INT64", [None, 1]), "flag": ("BOOL", [None])},
            {"total": ("INT64", [None, 1]), "other": ("BOOL", [None])},
        ),
        {"inputs": {"count": [1, 2**53 + 1], "more": 1, "flag": [True, False]}},
        {
            "count": np.array([[1], [2**53 + 1]]),
            "more": np.array([[1], [1]]),
            "flag": np.array([True, False]),
        },
        {"total": [[2], [2**53 + 2]], "other": [False, True]},
    ),
    "images of bytes, a label and scores": Case(
        onnx_of(
            [
                node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
                node("ReduceMean", ["numbers", "axis"], ["scores"], keepdims=0),
                node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
            ],
            {"image": ("UINT8", [None, 4, 4])},
            {"scores": ("FP32", [None, 4]), "label": ("INT64", [None])},
            {"axis": np.array([2])},
        ),
        {"inputs": {"image": IMAGES.tolist()}},
        {"image": IMAGES},
        {"scores": IMAGES.mean(axis=2, dtype=np.float32).tolist(), "label": IMAGES.mean(axis=2).argmax(axis=1).tolist()},
    ),
    "windows of any length": Case(
        onnx_of(
            [node("ReduceMax", ["window", "axis"], ["peak"], keepdims=0)],
            {"window": ("FP32", [None, None, 2])},
            {"peak": ("FP32", [None, 2])},
            {"axis": np.array([1])},
        ),
        {"inputs": {"window": WINDOWS.tolist()}},
        {"window": WINDOWS},
        {"peak": [[5, 6]]},
    ),
    "raw features of a model that has no store": Case(
        onnx_of([node("Neg", ["features"], ["score"])], {"features": ("FP32", [None, 3])}, {"score": ("FP32", [None, 3])}),
        {"inputs": {"features": [[1, 2, 3.5]]}},
        {"features": np.array([[1, 2, 3.5]], dtype=np.float32)},
        {"score": [[-1, -2, -3.5]]},
    ),
    "stored numbers and texts of a key of two parts, and a text of the request": Case(
        onnx_of(
            [
                node("Identity", ["features"], ["late"]),
                node("Identity", ["city"], ["from"]),
                node("Identity", ["weather"], ["said"]),
            ],
            {"features": ("FP32", [None, 1]), "city": ("BYTES", [None, 1]), "weather": ("BYTES", [None, 1])},
            {"late": ("FP32", [None, 1]), "from": ("BYTES", [None, 1]), "said": ("BYTES", [None, 1])},
        ),
        {
            "entities": [{"carrier": "AA", "flight": 12}, {"carrier": "BÄ", "flight": 7}, {"carrier": "AA", "flight": 12}],
            "inputs": {"weather": "rain"},
        },
        {
            "features": np.array([[12.5], [7], [12.5]], dtype=np.float32),
            "city": texts("Köln", "", "Köln"),
            "weather": texts("rain", "rain", "rain"),
        },
        {"late": [[12.5], [7], [12.5]], "from": [["Köln"], [""], ["Köln"]], "said": [["rain"]] * 3},
        STORED,
        {'["AA",12]': ([12.5], {"history__city": "Köln"}), '["BÄ",7]': ([7.0], {"history__city": None})},
    ),
}


def release_of(releases: Path, case: Case, more: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """`releases/<digest>/` of the case's model, by the name `any`, with `more` files."""
    contract = with_tensors(case.contract, inputs_of(open_onnx(case.onnx, "case")), "case")
    staging = releases / "staging"
    files = {
        "model/model.onnx": case.onnx,
        "features/features.json": canonical_json(contract.to_json()),
        "monitor.json": b"{}",
        **more,
    }
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    lineage = Lineage("0" * 64, "1" * 64, "2" * 64, "3" * 64, "run", "2011-01-26T00:00:00+00:00")
    manifest = ReleaseManifest("any", "1", contract.service, contract.schema_digest, lineage, folder_files(staging))
    (staging / "manifest.json").write_bytes(manifest.to_bytes())
    folder = releases / manifest.digest
    staging.rename(folder)
    sign_release(folder)
    return folder


class CaseReader:
    """An online store that holds the rows of a case."""

    def __init__(self, case: Case) -> None:
        self._rows, self._names = case.rows, [name for name, kind in case.contract.types.items() if kind == "BYTES"]

    def read(self, entities: Sequence[str]) -> OnlineRows:
        found = np.array([entity in self._rows for entity in entities])
        empty: tuple[Sequence[float], Mapping[str, str | None]] = ([np.nan], {})
        rows = [self._rows.get(entity, empty) for entity in entities]
        texts = {name: np.array([texts.get(name) for _, texts in rows], dtype=object) for name in self._names}
        values = np.array([numbers for numbers, _ in rows], dtype=np.float64)
        return OnlineRows(values, np.full(len(entities), T0, dtype=np.int64), found, texts)

    def ping(self) -> None:
        """Always there."""

    def watermark(self) -> Watermark | None:
        return None

    def expired(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        """Nothing is held."""
