"""Monitor files of models without features: they load, and what they name is there; references that hold nothing but a model's
inputs and outputs are judged by the columns of their profile functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.gates.columns import Columns
from tidegate.gates.judged import load_profile
from tidegate.gates.monitor_file import load_monitor

MONITORING = Path(__file__).parents[2] / "monitoring"
RANDOM = np.random.default_rng(1)
INPUTS = {
    "anomaly": {"readings": RANDOM.normal(size=(40, 1440)).astype(np.float32)},
    "returns": {"images": RANDOM.integers(0, 256, (40, 28, 28)).astype(np.uint8), "ordered": np.arange(40) % 10},
}
TYPES = {"f": "FP32", "u": "UINT8", "i": "INT64"}


@pytest.mark.parametrize("model", INPUTS)
def test_a_reference_of_inputs_and_outputs_alone_is_judged_by_the_profile(model: str):
    monitor = load_monitor(MONITORING / f"{model}.yaml")
    assert [gate.kind for gate in monitor.gates] == ["shadow", "drift", "bake"]
    given = INPUTS[model]
    profile = load_profile(f"{model}_profile.py:profile", (MONITORING / f"{model}_profile.py").read_bytes(), MONITORING, model)
    asked = tuple(InputTensor(name, TYPES[v.dtype.kind], (-1, *v.shape[1:])) for name, v in given.items())
    columns = Columns(FeatureContract("", "", {}, (), inputs=asked), {}, profile)
    reference = pl.DataFrame({**given, "score": RANDOM.random(40)})
    judged = columns.of_reference(reference, ["score"], "reference")
    assert len(judged) == 40
    assert {"score", *profile(given)} <= set(judged.columns)
    assert all(np.isfinite(judged[name].to_numpy()).all() for name in profile(given))


def test_windows_with_missing_readings_have_a_profile():
    profile = load_profile("p.py:profile", (MONITORING / "anomaly_profile.py").read_bytes(), MONITORING, "anomaly")
    windows = np.ones((3, 8), np.float32)
    windows[1, :4] = np.nan
    windows[2] = np.nan
    made = profile({"readings": windows})
    assert made["missing"].tolist() == [0, 0.5, 1]
    assert all(np.isfinite(values).all() for values in made.values())
