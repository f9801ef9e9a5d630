"""What the last steps of a pipeline write: the training output (tidegate.files.training_output), checked as it is written.

A pipeline gives its model, its reference and its evaluated rows with a loss a forecast; everything that the platform reads
later is put beside them here, so that no pipeline writes formats.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import Lineage
from tidegate.domain.verdict import Finding
from tidegate.files.evaluation import CHAMPION_FORECAST, LOSS, METRIC, MODEL_FORECAST, PIPELINE, PLATFORM, Evaluation, Summary
from tidegate.files.release_folder import CONTRACT, MODEL, REFERENCE
from tidegate.files.training_folder import CARD, EVALUATION, LINEAGE, SUMMARY
from tidegate.files.training_output import TrainingOutput, open_output

FEATURES = "features"
NO_FEATURES = FeatureContract("", "", {}, ())


def write_features(folder: Path, contract: FeatureContract, repository: Path | None) -> None:
    """`features/` below `folder`: the contract, and the on-demand module that it names, from the feature repository."""
    (folder / FEATURES).mkdir(parents=True, exist_ok=True)
    (folder / CONTRACT).write_bytes(canonical_json(contract.to_json()))
    if contract.on_demand and repository is not None:
        module = contract.on_demand.partition(":")[0]
        shutil.copyfile(repository / module, folder / FEATURES / module)


def read_contract(folder: Path | str) -> FeatureContract:
    """The contract that an earlier step wrote below `folder`."""
    return FeatureContract.from_bytes((Path(folder) / CONTRACT).read_bytes(), f"features of this run in {folder}")


def write_parts(
    folder: Path,
    *,
    onnx: bytes,
    contract: FeatureContract,
    features: Path | None,
    lineage: Lineage,
    reference: pl.DataFrame,
    evaluation: pl.DataFrame,
    loss: str,
    losses: Mapping[str, Any] | None = None,
    champion: str | None = None,
    identity: Sequence[str] = (),
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    details: Mapping[str, Any] | None = None,
    card: str = "",
    files: Mapping[str, bytes] | None = None,
) -> TrainingOutput:
    """Write a whole training output to `folder`, and open it; raises InvalidInput naming what does not fit.

    `contract` is the model's with its tensors, `features` the folder below which an earlier step wrote the modules that it
    names (`write_features`), None where there are none. The rest is as `tidegate.api.training.write_output` has it.
    """
    out = folder
    if features is not None:
        shutil.copytree(features / FEATURES, out / FEATURES, dirs_exist_ok=True)
    scored = PLATFORM if losses else PIPELINE
    evaluated = summarised(evaluation, contract, loss, scored, champion, identity, metrics or {}, losses or {})
    _write(out / CONTRACT, canonical_json(contract.to_json()))
    said = {**(details or {}), **evaluated.summary.to_json()}
    _write(out / MODEL, onnx)
    reference.write_parquet(_parent(out / REFERENCE), compression="zstd")
    evaluation.write_parquet(_parent(out / EVALUATION), compression="zstd")
    _write(out / SUMMARY, json.dumps(said, indent=2, allow_nan=False).encode())
    _write(out / LINEAGE, json.dumps(asdict(lineage), indent=2).encode())
    for name, content in (files or {}).items():
        _write(out / name, content)
    if card:
        _write(out / CARD, card.encode())
    return open_output(out)


def summarised(
    rows: pl.DataFrame,
    contract: FeatureContract,
    loss: str,
    scored: str,
    champion: str | None,
    identity: Sequence[str],
    metrics: Mapping[str, Mapping[str, float]],
    losses: Mapping[str, Any],
) -> Evaluation:
    """The rows with their summary, checked: the mean loss of each forecast beside the metrics that are given."""
    if not loss:
        raise InvalidInput("training output: say what the loss is, in a few words, as 'absolute error of the median'")
    if LOSS + MODEL_FORECAST not in rows.columns or rows.is_empty():
        raise InvalidInput(f"training output: the evaluation has no row with '{LOSS}{MODEL_FORECAST}'; it has {rows.columns}")
    draft = Evaluation(rows, Summary(len(rows), loss, scored, {}, (), champion, tuple(identity)), contract.key_names)
    if unknown := [name for name in identity if name not in rows.columns]:
        raise InvalidInput(f"training output: the evaluation has no column '{unknown[0]}', which identity names")
    draft.check()
    compared = draft.champion_rows
    forecasts: dict[str, dict[str, float]] = {}
    for name in (MODEL_FORECAST, *draft.baselines, *((CHAMPION_FORECAST,) if compared else ())):
        forecasts[name] = {METRIC: draft.mean_loss(name), **metrics.get(name, {})}
    forecasts |= {name: dict(values) for name, values in metrics.items() if name not in forecasts}
    named = champion if compared else None
    summary = Summary(len(rows), loss, scored, forecasts, draft.baselines, named, tuple(identity), losses)
    return Evaluation(rows, summary, contract.key_names)


def require(findings: Sequence[Finding]) -> None:
    """Raises InvalidInput that names every finding that is not ok (also when there is none at all)."""
    wrong = [finding for finding in findings if not finding.ok]
    if not findings:
        raise InvalidInput("training data: nothing was checked, so nothing is known to be right")
    if wrong:
        told = "; ".join(
            f"{f.subject} is {f.observed}, required {f.required} {f'({f.note})' if f.note else ''}" for f in wrong[:5]
        )
        raise InvalidInput(f"training data: {len(wrong)} of {len(findings)} checks failed: {told}")


def _write(path: Path, content: bytes) -> None:
    _parent(path).write_bytes(content)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
