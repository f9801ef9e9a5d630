"""Tensors that were served of composite keys, texts and expired values, recomputed as the gate of parity does it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.contract.keyed_features import NOON, repository, write_tables
from tests.contract.test_feature_keys import FLIGHTS, read

from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.domain.assembly import assembled
from tidegate.domain.contract import InputTensor
from tidegate.domain.slots import Slot
from tidegate.files.feature_folder import feature_folder
from tidegate.gates.kinds.parity import differing, entity_rows, offline_tensors
from tidegate.ports.inference_records import InferenceRecord
from tidegate.serving.runtime.vectors import feature_columns

NUMBERS = ("flights__delay", "flights__seats", "flights__red_eye", "weather__wind")
INPUTS = (
    InputTensor("features", "FP32", (-1, 4), NUMBERS),
    InputTensor("aircraft", "BYTES", (-1, 1), ("flights__aircraft",)),
    InputTensor("sky", "BYTES", (-1, 1), ("weather__sky",)),
)


@pytest.mark.parametrize("hours", [0, 11.1, 24 * 31])
def test_served_tensors_equal_recomputed_ones_also_where_values_expired(hours: float, tmp_path: Path) -> None:
    folder = feature_folder(tmp_path / "state", "flights")
    write_tables(folder)
    store = FeastFeatureStore(repository(tmp_path / "features"), folder, "sqlite", "departures")
    store.apply()
    store.materialize(NOON)
    contract = replace(store.contract("departures"), inputs=INPUTS)
    entities = FLIGHTS[:3]
    rows = read(store, contract, entities, timedelta(hours=hours))
    served = assembled(contract, feature_columns(contract, rows.values, rows.event_times, {}, None, rows.texts))
    record = InferenceRecord(
        "r1", 1.0, "d" * 64, Slot.BLUE, False, 200, 1.0, tuple(entities), rows.event_times, {}, served["features"], {},
        tensors=served,
    )  # fmt: skip
    offline = offline_tensors(store, contract, entity_rows([record], contract))
    assert set(served) == set(offline) == {"features", "aircraft", "sky"}
    for name, values in served.items():
        assert not differing(values, offline[name]).any(), name
    assert np.isnan(served["features"][:, 3]).all() == (hours > 11)
    assert served["sky"].ravel().tolist() == (["clear", "clear", ""] if hours < 11 else [""] * 3)
    # a store that goes on serving what has expired is found
    record = replace(record, event_times=rows.event_times + 40 * 86_400_000_000)
    if hours < 11:
        later = offline_tensors(store, contract, entity_rows([record], contract))
        assert differing(served["features"], later["features"]).any()
