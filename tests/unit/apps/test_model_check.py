"""What a release would trip over is said when its version is registered or when it is built, by the tensor's name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving_builders import CONTRACT, ON_DEMAND, onnx_model
from tensor_models import CASES, NO_FEATURES, TYPES, Tensors, node, onnx_of
from tidegate.apps.model_check import check_output, check_service, decide_tensors
from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import IntegrityError, InvalidInput
from tidegate.domain.given_tensors import with_tensors
from tidegate.files.training_output import TrainingOutput
from tidegate.gates.reference import reference_tensors

TIMES = [datetime(2011, 1, 26, tzinfo=UTC)] * 3
REFERENCE = pl.DataFrame(
    {
        "sku": ["S1", "S2", "S3"],
        "event_timestamp": pl.Series(TIMES).cast(pl.Datetime("us", "UTC")),
        "sku_sales__units_lag_7": [1.0, None, 3.0],
        "sku_sales__price": [0.5, 1.5, 2.5],
        "horizon": [1, 2, 3],
        "is_weekend": [0.0, 0.0, 1.0],
    },
)


def output_of(
    folder: Path, onnx: bytes, contract: FeatureContract, reference: pl.DataFrame = REFERENCE, on_demand: str = ON_DEMAND
) -> TrainingOutput:
    for part in ("model", "features", "profile"):
        (folder / part).mkdir(parents=True)
    (folder / "model/model.onnx").write_bytes(onnx)
    (folder / "features/features.json").write_bytes(canonical_json(contract.to_json()))
    (folder / "features/calendar_features.py").write_text(on_demand)
    reference.write_parquet(folder / "profile/reference.parquet")
    return TrainingOutput(folder)


def checked(output: TrainingOutput) -> None:
    decide_tensors(output.folder, "registering m")
    check_output(TrainingOutput(output.folder), "registering m")


def identity(inputs: Tensors, contract: FeatureContract = NO_FEATURES) -> bytes:
    """A model that gives each of its inputs again, as `<name>_out`."""
    outputs = {f"{name}_out": kind for name, kind in inputs.items()}
    return onnx_of([node("Identity", [name], [f"{name}_out"]) for name in inputs], inputs, outputs)


def test_a_model_that_reads_its_vector_is_registered_with_the_same_contract_as_ever(tmp_path: Path) -> None:
    onnx = onnx_of(
        [node("IsNaN", ["features"], ["missing"]), node("Where", ["missing", "zero", "features"], ["known"])],
        {"features": ("FP32", [None, 4])},
        {"known": ("FP32", [None, 4])},
        {"zero": np.float32(0)},
    )
    output = output_of(tmp_path / "output", onnx, CONTRACT)
    before = (tmp_path / "output/features/features.json").read_bytes()
    checked(output)
    assert (tmp_path / "output/features/features.json").read_bytes() == before


@pytest.mark.parametrize("kind", list(CASES))
def test_the_tensors_of_a_model_are_written_into_its_contract_once(tmp_path: Path, kind: str) -> None:
    case = CASES[kind]
    columns = {name: pl.Series(name, array.tolist()) for name, array in case.tensors.items() if array.ndim < 3}
    made = {
        f"history__{name}": columns[kept].explode()
        for name, kept in (("delay", "features"), ("city", "city"))
        if kept in columns
    }
    reference = pl.DataFrame({**columns, **(made if case.contract.stored else {})})
    output = output_of(tmp_path / "output", case.onnx, case.contract, reference)
    checked(output)
    contract = TrainingOutput(output.folder).contract
    assert {tensor.name for tensor in contract.tensors} == set(case.tensors)
    assert {tensor.name for tensor in contract.asked} == set(case.body["inputs"])
    found = reference_tensors(reference, contract, "registering m")
    assert all(found[name].tolist() == case.tensors[name].tolist() for name in found if name != "city")
    written = json.loads((output.folder / "features/features.json").read_text())
    checked(output)
    assert json.loads((output.folder / "features/features.json").read_text()) == written


@pytest.mark.parametrize(
    ("inputs", "contract", "message"),
    [
        ({"image": ("UINT8", [1, 4])}, NO_FEATURES, r"input is image UINT8 \[1, 4\], required a first axis of any size"),
        ({"threshold": ("FP32", [])}, NO_FEATURES, r"threshold FP32 \[\], required a first axis"),
        ({"features": ("FP32", [None, 5])}, CONTRACT, r"features FP32 \[-1, 5\], required 'features' FP32 \[-1, 4\]"),
        ({"features": ("INT64", [None, 4])}, CONTRACT, r"features INT64 .*required 'features' FP32"),
        ({"float_input": ("FP32", [None, 4])}, CONTRACT, "none takes a feature of 'demand', required: one named 'features'"),
        ({"price": ("BYTES", [None, 1])}, CONTRACT, "takes feature 'sku_sales__price', required a datatype of numbers"),
        ({"price": ("FP32", [None, 3])}, CONTRACT, r"price FP32 \[-1, 3\].* required a datatype of numbers \[-1, 1\]"),
    ],
)
def test_inputs_that_do_not_fit_are_named(tmp_path: Path, inputs: Tensors, contract: FeatureContract, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^registering m: .*{message}"):
        checked(output_of(tmp_path / "output", identity(inputs), contract))


@pytest.mark.parametrize(
    ("inputs", "assembled", "asked"),
    [
        (
            [("features", "FP32", (-1, -1)), ("weather", "BYTES", (-1, 1))],
            {"features": CONTRACT.vector},
            ["weather"],
        ),
        (
            [("price", "FP64", (-1,)), ("horizon", "INT64", (-1, 1))],
            {"price": ("sku_sales__price",), "horizon": ("horizon",)},
            [],
        ),
        ([("sku_sales__price", "FP32", (-1, 1))], {"sku_sales__price": ("sku_sales__price",)}, []),
    ],
)
def test_an_input_takes_the_features_that_its_name_says(
    inputs: Sequence[tuple[str, str, tuple[int, ...]]], assembled: dict[str, tuple[str, ...]], asked: list[str]
) -> None:
    contract = with_tensors(CONTRACT, [InputTensor(*each) for each in inputs], "m")
    assert {tensor.name: tensor.features for tensor in contract.tensors if tensor.features} == assembled
    assert [tensor.name for tensor in contract.asked] == asked


def test_the_default_tensor_is_not_written_down() -> None:
    assert with_tensors(CONTRACT, [InputTensor("features", "FP32", (-1, 4))], "m") == CONTRACT


def test_an_output_that_is_not_finite_on_the_reference_is_found_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="output 'quantiles' is not finite for row 1 of the reference"):
        checked(output_of(tmp_path / "output", onnx_model(), CONTRACT))  # where units are missing


def test_a_model_for_batches_of_one_size_is_found_by_running_it(tmp_path: Path) -> None:
    onnx = onnx_of(
        [node("Reshape", ["x", "shape"], ["y"])],
        {"x": ("FP32", [None, 2])},
        {"y": ("FP32", [None, 2])},
        {"shape": np.array([1, 2])},
    )
    with pytest.raises(InvalidInput, match=r"cannot take 3 rows at once .*dynamic_axes=\{'x': \{0: 'rows'\}\}"):
        checked(output_of(tmp_path / "output", onnx, NO_FEATURES))


def test_an_output_of_a_kind_that_is_no_tensor_is_refused_with_what_to_do(tmp_path: Path) -> None:
    from onnx import helper

    x = helper.make_tensor_value_info("x", TYPES["FP32"], [None, 2])
    y = helper.make_tensor_sequence_value_info("y", TYPES["FP32"], None)
    graph = helper.make_graph([node("SequenceConstruct", ["x"], ["y"])], "sequence", [x], [y])
    onnx = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    with pytest.raises(IntegrityError, match=r"'y' of the model is of type .*zipmap=False"):
        checked(output_of(tmp_path / "output", onnx, NO_FEATURES))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def calendar(columns):\n    return {'horizon': columns['horizon'], 'is_weekend': columns['nope']}\n",
            "KeyError: 'nope'",
        ),
        (
            "def calendar(columns):\n    return {'horizon': columns['horizon'], 'is_weekend': 1.0}\n",
            r"gives 'is_weekend' as \[\]",
        ),
        ("def other(columns):\n    return {}\n", "defines no function 'calendar'"),
        ("def calendar(columns:\n", "cannot be loaded: SyntaxError"),
    ],
)
def test_an_on_demand_transformation_is_run_before_it_is_registered(tmp_path: Path, code: str, message: str) -> None:
    onnx = identity({"sku_sales__price": ("FP32", [None, 1])})
    with pytest.raises(InvalidInput, match=message):
        checked(output_of(tmp_path / "output", onnx, CONTRACT, on_demand=code))


def test_a_column_of_the_reference_that_is_no_such_tensor_is_named(tmp_path: Path) -> None:
    onnx = identity({"age": ("INT64", [None, 1])})
    with pytest.raises(InvalidInput, match=r"column 'age' of profile/reference.parquet is String, required INT64 \[-1, 1\]"):
        checked(output_of(tmp_path / "output", onnx, NO_FEATURES, pl.DataFrame({"age": ["old", "young"]})))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import nowhere_to_be_found\n", "cannot be loaded: ModuleNotFoundError"),
        ("value = 1\n", "0 BentoML services and 0 end"),
    ],
)
def test_a_service_that_does_not_load_is_found_before_a_release_is_built(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "serving").mkdir()
    check_service(tmp_path / "serving", tmp_path, "building m/1")
    check_service(None, tmp_path, "building m/1")
    (tmp_path / "serving/service.py").write_text(code)
    with pytest.raises(InvalidInput, match=f"^building m/1: .*{message}"):
        check_service(tmp_path / "serving", tmp_path, "building m/1")


def test_a_model_that_a_request_could_end_its_process_by_is_refused_before_it_runs(tmp_path: Path) -> None:
    inputs: Tensors = {"count": ("INT64", [None, 1]), "parts": ("INT64", [None, 1])}
    onnx = onnx_of([node("Div", ["count", "parts"], ["each"], name="share")], inputs, {"each": ("INT64", [None, 1])})
    reference = pl.DataFrame({"count": [4, 6], "parts": [2, 3]})
    with pytest.raises(InvalidInput, match="registering m: the model's node 'share' divides INT64 'count' by 'parts'"):
        checked(output_of(tmp_path / "output", onnx, NO_FEATURES, reference))
