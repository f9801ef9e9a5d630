"""A training output has the contract that its model really has, features or none."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tensor_models import CASES
from tidegate.api.project import external_output
from tidegate.api.training import Lineage, write_output
from tidegate.domain.errors import InvalidInput

LINEAGE = Lineage("d", "f", "c", "p", "r", "2011-06-01T00:00:00+00:00")
ROWS = pl.DataFrame({"row": [1, 2, 3], "loss_model": [0.5, 1.0, 0.0], "loss_prior": [1.0, 1.0, 1.0]})


def test_a_model_without_features_has_the_tensors_that_it_takes(tmp_path: Path) -> None:
    case = CASES["texts in, texts out"]
    output = write_output(
        tmp_path,
        onnx=case.onnx,
        lineage=LINEAGE,
        reference=pl.DataFrame({"comment": ["good", "bad"]}),
        evaluation=ROWS,
        loss="share of wrong labels",
        identity=("row",),
    )
    assert [tensor.name for tensor in output.contract.asked] == ["comment"]
    assert output.contract.key == ()
    assert output.evaluation.summary.forecasts["model"] == {"loss": 0.5}
    assert output.metrics == {"model_loss": 0.5, "prior_loss": 1.0}


def test_an_evaluation_that_says_nothing_is_refused(tmp_path: Path) -> None:
    more = {"onnx": CASES["texts in, texts out"].onnx, "lineage": LINEAGE, "reference": pl.DataFrame({"comment": ["good"]})}
    with pytest.raises(InvalidInput, match="has no row with 'loss_model'"):
        write_output(tmp_path, evaluation=ROWS.drop("loss_model"), loss="share of wrong labels", **more)
    with pytest.raises(InvalidInput, match="say what the loss is"):
        write_output(tmp_path, evaluation=ROWS, loss="", **more)


def test_a_function_that_scores_is_not_called_any_more_and_that_is_said(tmp_path: Path) -> None:
    named = dict.fromkeys(("onnx", "reference", "evaluation"), tmp_path / "nothing")
    with pytest.warns(FutureWarning, match=r"external_output\(score=\.\.\.\) has no effect"), pytest.raises(InvalidInput):
        external_output(tmp_path / "out", **named, trained_until="2011-08-01", score=lambda rows: rows)
