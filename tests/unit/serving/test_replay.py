"""Replay recomputes what was logged to the bit, and names the first value that differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving_builders import FakeReader, build_release, onnx_model
from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.errors import InvalidInput
from tidegate.domain.slots import Slot
from tidegate.ports.inference_records import InferenceRecord
from tidegate.serving.replay import replay
from tidegate.serving.runtime.dataplane import Predictor
from tidegate.serving.runtime.release_loader import load_release


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_release(tmp_path)


@pytest.fixture
def record(folder: Path) -> InferenceRecord:
    made = Predictor(load_release(folder, open_onnx), FakeReader()).predict(["S1", "S2"], {"horizon": [1, 2]})
    return InferenceRecord(
        "r1",
        1.0,
        folder.name,
        Slot.BLUE,
        False,
        200,
        1.0,
        made.entities,
        made.event_times,
        made.inputs,
        made.features,
        made.outputs,
    )


def test_what_was_served_is_recomputed_to_the_bit(folder: Path, record: InferenceRecord) -> None:
    result = replay(record, folder, open_model=open_onnx)
    assert result.identical
    assert (result.rows, result.outputs_compared, result.vectors_identical) == (2, 6, None)
    result = replay(record, folder, {"features": record.features.copy()}, open_model=open_onnx)
    assert (result.identical, result.vectors_identical, result.values_compared) == (True, True, 8)
    assert "identical to the bit" in result.describe()


def test_the_last_bit_of_an_output_is_noticed(folder: Path, record: InferenceRecord) -> None:
    outputs = record.outputs["quantiles"].copy()
    outputs[1, 2] = np.nextafter(outputs[1, 2], np.float32(1e9))
    result = replay(replace(record, outputs={"quantiles": outputs}), folder, open_model=open_onnx)
    assert not result.identical
    assert result.first_difference is not None
    assert (result.first_difference.subject, result.first_difference.row, result.first_difference.entity) == (
        "output quantiles[2]",
        1,
        "S2",
    )


def test_the_first_feature_that_differs_offline_is_named(folder: Path, record: InferenceRecord) -> None:
    offline = record.features.copy()
    offline[1, 1] = np.nan
    result = replay(record, folder, {"features": offline}, open_model=open_onnx)
    assert (result.outputs_identical, result.vectors_identical, result.identical) == (True, False, False)
    assert "feature sku_sales__price of row 1 (S2): logged 0.5, now nan" in result.describe()
    both_missing = replace(record, features=offline, outputs=record.outputs)
    assert replay(both_missing, folder, {"features": offline}, open_model=open_onnx).vectors_identical is True


def test_a_record_of_another_release_or_without_a_prediction_is_refused(
    tmp_path: Path, folder: Path, record: InferenceRecord
) -> None:
    other = build_release(tmp_path / "other", onnx=onnx_model(scale=2.0))
    with pytest.raises(InvalidInput, match="not by demand@"):
        replay(record, other, open_model=open_onnx)
    with pytest.raises(InvalidInput, match="nothing to replay"):
        replay(replace(record, status=422), folder, open_model=open_onnx)
    with pytest.raises(InvalidInput, match="shape"):
        replay(record, folder, {"features": record.features[:1]}, open_model=open_onnx)
