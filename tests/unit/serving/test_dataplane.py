"""Loading a release and predicting with it, without any transport."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving_builders import T0, FakeReader, build_release, onnx_model
from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.errors import IntegrityError, InvalidInput, Unavailable
from tidegate.serving.runtime.dataplane import ModelFault, Predictor, UnknownEntity
from tidegate.serving.runtime.release_loader import load_release, serving_module
from tidegate.serving.runtime.request_inputs import read_inputs


@pytest.fixture
def release_folder(tmp_path: Path) -> Path:
    return build_release(tmp_path / "releases")


def predictor(folder: Path, reader: FakeReader | None = None) -> Predictor:
    return Predictor(load_release(folder, open_onnx), reader or FakeReader())


def test_one_read_assembles_the_vectors_in_the_contracts_order(release_folder: Path) -> None:
    reader = FakeReader()
    made = predictor(release_folder, reader).predict(["S3", "S3", "S8"], {"horizon": [1, 4, 4]})
    # T0 is a Wednesday, so day 4 of the horizon is a Saturday
    assert made.features.tolist() == [[3, 0.75, 1, 0], [3, 0.75, 4, 1], [8, 2, 4, 1]]
    assert made.features.dtype == np.float32
    assert made.outputs["quantiles"][:, 0].tolist() == [13, 43.5, 48.5]
    assert made.event_times.tolist() == [T0] * 3
    assert reader.reads == 1


def test_a_number_is_given_to_every_row(release_folder: Path) -> None:
    made = predictor(release_folder).predict(["S1", "S2"], {"horizon": 2})
    assert made.inputs["horizon"].tolist() == [2, 2]


def test_unknown_entities_are_named(release_folder: Path) -> None:
    with pytest.raises(UnknownEntity, match=r"unknown sku 'X1', 'X2'"):
        predictor(release_folder).predict(["S1", "X1", "X2", "X1"], {"horizon": 1})


@pytest.mark.parametrize(
    ("request_inputs", "message"),
    [
        ({}, "'horizon' is missing"),
        ({"horizon": 1, "colour": 2}, "unknown request input 'colour'"),
        ({"horizon": float("nan")}, "finite"),
        ({"horizon": [1, 2, 3]}, "3 values, required 1 or 2"),
        ({"horizon": "1"}, "finite numbers"),
    ],
)
def test_wrong_request_inputs_are_refused(release_folder: Path, request_inputs: dict, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        predictor(release_folder).predict(["S1", "S2"], request_inputs)


def test_an_output_that_is_not_finite_is_a_fault_of_the_release(tmp_path: Path) -> None:
    folder = build_release(tmp_path, onnx=onnx_model(scale=1e37))
    with pytest.raises(ModelFault, match="quantiles"):
        predictor(folder).predict(["S199"], {"horizon": 14})


def test_readiness_is_the_online_stores(release_folder: Path) -> None:
    reader = FakeReader()
    served = predictor(release_folder, reader)
    served.check_ready()
    reader.down = True
    with pytest.raises(Unavailable):
        served.check_ready()


@pytest.mark.parametrize(
    "name", ["model/model.onnx", "features/calendar_features.py", "features/features.json", "manifest.json"]
)
def test_a_damaged_file_is_never_used(release_folder: Path, name: str) -> None:
    path = release_folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError):
        load_release(release_folder, open_onnx)


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be opened"):
        load_release(build_release(tmp_path, onnx=b"not a model"), open_onnx)


def test_a_model_with_another_input_than_the_contracts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"features FP32 \[-1, 5\]"):
        load_release(build_release(tmp_path, onnx=onnx_model(features=5)), open_onnx)


def test_serving_code_is_the_listed_code_only(tmp_path: Path) -> None:
    folder = build_release(tmp_path, {"service.py": "value = 1\n"})
    manifest = load_release(folder, open_onnx).manifest
    (folder / "serving" / "middleware.py").write_text("raise SystemExit\n")  # planted, not in the manifest
    assert serving_module(folder, manifest, "middleware") is None
    loaded = serving_module(folder, manifest, "service")
    assert loaded is not None
    assert loaded.value == 1
    (folder / "serving" / "service.py").write_text("value = 2\n")
    with pytest.raises(IntegrityError):
        serving_module(folder, manifest, "service")


@pytest.mark.parametrize(
    ("datatype", "value", "refused"),
    [
        ("INT64", 1, False),
        ("INT64", [1, 2], False),
        ("INT64", 2**63 - 1, False),
        ("INT64", 2**63, True),
        ("INT64", 1.9, True),
        ("INT64", 1e30, True),
        ("INT64", [1, 1.5], True),
        ("INT32", 2**31, True),
        ("FP64", 1e300, False),
        ("FP32", 1.5, False),
        ("FP32", 1e39, True),
        ("", 1.9, False),  # of a contract that was made before it knew types
        ("DECIMAL7", 1.9, False),  # of one that is newer
    ],
)
def test_a_request_input_has_the_type_that_its_contract_names(
    release_folder: Path, datatype: str, value: float | list[float], refused: bool
) -> None:
    release = load_release(release_folder, open_onnx)
    contract = replace(release.contract, request_types={"horizon": datatype} if datatype else {}, on_demand=None)
    if refused:
        with pytest.raises(InvalidInput, match=f"'horizon' must be .*{datatype}"):
            read_inputs(contract, {"horizon": value}, 2)
    else:
        inputs, _ = read_inputs(contract, {"horizon": value}, 2)
        assert np.array_equal(inputs["horizon"], np.broadcast_to(value, 2))


def fixed_batch(rows: int, reshaped: bool) -> bytes:
    """The builder's model, exported for `rows` rows: by its input's shape, or by a shape within it."""
    import onnx

    model = onnx.load_from_string(onnx_model())
    if reshaped:
        shape = onnx.numpy_helper.from_array(np.array([rows, 3], dtype=np.int64), "shape")
        model.graph.node[0].output[0] = "product"
        model.graph.initializer.append(shape)
        model.graph.node.append(onnx.helper.make_node("Reshape", ["product", "shape"], ["quantiles"]))
    else:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = rows
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("reshaped", [False, True])
def test_a_model_for_batches_of_one_size_is_not_served(tmp_path: Path, rows: int, reshaped: bool) -> None:
    with pytest.raises(InvalidInput, match=r"export (it|the model) again"):
        load_release(build_release(tmp_path, onnx=fixed_batch(rows, reshaped)), open_onnx)
