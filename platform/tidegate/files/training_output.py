"""The training output: a folder that says everything about one trained model, wherever it was trained.

    model/model.onnx            inputs by the contract, outputs by name
    features/features.json      the FeatureContract, and beside it the on-demand modules (*.py) that it names
    profile/reference.parquet   what the model was fitted to: the key, `event_timestamp`, the contract's columns, the request
                                inputs and the model's outputs
    evaluation.parquet          held-out rows: the key, a loss of each forecast, segments (tidegate.files.evaluation)
    evaluation.json             what the loss is, who computed it, against what, and the metrics of each forecast
    lineage.json                domain.release.Lineage
    losses/*.py                 a loss of one's own, by which the platform scores
    plots/*.png, card.md        for people

Only the files named here are read, and none of them can hold code but the on-demand modules and the loss, which are sources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import LINEAGE_FORMAT, Lineage
from tidegate.files.digests import file_digest
from tidegate.files.evaluation import Evaluation
from tidegate.files.evaluation import read as read_evaluation
from tidegate.files.release_folder import CONTRACT, MODEL, REFERENCE
from tidegate.files.training_folder import CARD, EVALUATION, LINEAGE, PLOTS, SUMMARY

__all__ = ["CARD", "EVALUATION", "LINEAGE", "PLOTS", "SUMMARY", "TrainingOutput", "open_output"]
REQUIRED = (MODEL, CONTRACT, REFERENCE, EVALUATION, SUMMARY, LINEAGE)


@dataclass(frozen=True)
class TrainingOutput:
    """A training output on disk, opened by `open_output`."""

    folder: Path

    @cached_property
    def contract(self) -> FeatureContract:
        return FeatureContract.from_bytes((self.folder / CONTRACT).read_bytes(), f"training output {self.folder}")

    @cached_property
    def lineage(self) -> Lineage:
        where = f"training output {self.folder}"
        return LINEAGE_FORMAT.convert(LINEAGE_FORMAT.parse((self.folder / LINEAGE).read_bytes(), where), Lineage, where)

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        summary: Mapping[str, Any] = self._json(SUMMARY)
        return summary

    @cached_property
    def evaluation(self) -> Evaluation:
        where = f"training output {self.folder}"
        return read_evaluation(self._parquet(EVALUATION), self.summary, self.contract.key_names, where)

    @cached_property
    def reference(self) -> pl.DataFrame:
        return self._parquet(REFERENCE)

    @property
    def artifact_digest(self) -> str:
        return file_digest(self.folder / MODEL)

    @property
    def metrics(self) -> dict[str, float]:
        """Offline metrics by `FORECAST_METRIC`, as the registry shows them."""
        return {
            f"{forecast}_{name}": float(value)
            for forecast, values in self.summary["forecasts"].items()
            for name, value in values.items()
        }

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_bytes())
        except ValueError as error:
            raise InvalidInput(f"training output {self.folder}: {name} is not JSON ({error}); train again") from error

    def _parquet(self, name: str) -> pl.DataFrame:
        try:
            return pl.read_parquet(self.folder / name)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InvalidInput(f"training output {self.folder}: {name} cannot be read ({error}); train again") from error


def open_output(folder: Path) -> TrainingOutput:
    """The training output in `folder`; raises InvalidInput naming the first thing that is missing or does not fit."""
    for name in REQUIRED:
        if not (folder / name).is_file():
            raise InvalidInput(f"training output {folder} has no {name}, required: {', '.join(REQUIRED)}; train again")
    output = TrainingOutput(folder)
    contract = output.contract
    if contract.on_demand:
        module = contract.on_demand.partition(":")[0]
        if not (folder / "features" / module).is_file():
            raise InvalidInput(f"training output {folder} lacks features/{module}, which its feature contract names")
    missing = [name for name in contract.vector if name not in output.reference.columns]
    if missing:
        raise InvalidInput(
            f"training output {folder}: {REFERENCE} has no column '{missing[0]}', required: every feature of service "
            f"'{contract.service}'"
        )
    return output
