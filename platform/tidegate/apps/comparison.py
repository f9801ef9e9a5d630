"""Two versions of a model side by side: what was measured of each, what both lose on the same rows, what each is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tidegate.apps.scoring import scores
from tidegate.domain.errors import InvalidInput
from tidegate.files.evaluation import CHAMPION_FORECAST, LOSS, MODEL_FORECAST, SEGMENT, Evaluation
from tidegate.registry.evidence import check_bound
from tidegate.registry.offline_gates import MIN_UNITS, loss_ratio, units_of

if TYPE_CHECKING:
    from tidegate.apps.opened import OpenedProject
    from tidegate.files.training_output import TrainingOutput
    from tidegate.ports.registry import ModelVersion

UNSEEN = 200  # rows later than what the version before was trained on: with fewer, all are shown, and said to be seen
Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class SegmentLosses:
    """Mean losses of both versions on the same rows of one segment."""

    rows: int
    before: float
    after: float


@dataclass(frozen=True)
class SameRows:
    """What both versions lose on the evaluated rows of the second: `ratio` of the sums, `upper` its bound at 95 % (None where
    too few rows belong apart), by segment (`NAME=VALUE`)."""

    loss: str
    rows: int
    before: float
    after: float
    ratio: float
    upper: float | None
    segments: Mapping[str, SegmentLosses]
    remark: str = ""


@dataclass(frozen=True)
class Comparison:
    """`metrics` are each version's own, on its own rows; `same_rows` is None, and `apart` says why, where there are none."""

    model: str
    before: str
    after: str
    metrics: Mapping[str, Pair]
    same_rows: SameRows | None
    apart: str
    features_added: tuple[str, ...]
    features_removed: tuple[str, ...]
    inputs_changed: tuple[str, ...]
    lineage: Mapping[str, tuple[str, str]]


def compare(platform: OpenedProject, model: str, before: ModelVersion, after: ModelVersion) -> Comparison:
    """Raises NotFound, and IntegrityError for a version whose evidence is not what was registered."""
    from tidegate.apps.versions import training_output

    outputs = []
    for version in (before, after):
        output = training_output(platform, model, version.version)
        check_bound(output, version, platform.ledger, record=False)
        outputs.append(output)
    old, new = outputs
    same, apart = _same_rows(old, new, before.version, after.version)
    names = sorted(old.metrics.keys() | new.metrics.keys())
    lineage = {key: (was, asdict(new.lineage)[key]) for key, was in asdict(old.lineage).items()}
    return Comparison(
        model,
        before.version,
        after.version,
        {name: (old.metrics.get(name), new.metrics.get(name)) for name in names},
        same,
        apart,
        tuple(name for name in new.contract.vector if name not in old.contract.vector),
        tuple(name for name in old.contract.vector if name not in new.contract.vector),
        tuple(sorted(_inputs(old) ^ _inputs(new))),
        {key: pair for key, pair in lineage.items() if pair[0] != pair[1]},
    )


def _inputs(output: TrainingOutput) -> set[str]:
    return {f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in output.contract.tensors}


def _same_rows(old: TrainingOutput, new: TrainingOutput, before: str, after: str) -> tuple[SameRows | None, str]:
    evaluation = new.evaluation
    if evaluation.summary.losses:
        evaluation = scores(new, (before, old), UNSEEN, f"comparing with version {after}")
    if evaluation.summary.champion != before:
        return None, evaluation.remark or (
            f"version {after} was not evaluated beside version {before}, and the platform cannot score it: its evaluation has "
            "no inputs, outcome and losses"
        )
    both = evaluation.compared_with(CHAMPION_FORECAST)
    if not len(both.rows):
        return None, "there is no row on which both have a loss"
    return _losses(both), ""


def _losses(both: Evaluation) -> SameRows:
    units = units_of(both)
    theirs, ours = both.mean_loss(CHAMPION_FORECAST), both.mean_loss(MODEL_FORECAST)
    if theirs <= 0:
        raise InvalidInput(f"{both.where}: the version before has no loss at all to compare with")
    upper = loss_ratio(both, CHAMPION_FORECAST, units).upper if units.number >= MIN_UNITS else None
    loss = both.summary.loss or "absolute error of the median"
    return SameRows(loss, len(both.rows), theirs, ours, ours / theirs, upper, dict(_by_segment(both)), both.remark)


def _by_segment(both: Evaluation) -> Iterator[tuple[str, SegmentLosses]]:
    for column in both.segments:
        for (value,), rows in sorted(both.rows.group_by([column]), key=lambda item: str(item[0])):
            before, after = (float(rows[LOSS + name].mean()) for name in (CHAMPION_FORECAST, MODEL_FORECAST))  # type: ignore[arg-type]
            yield f"{column.removeprefix(SEGMENT)}={value}", SegmentLosses(len(rows), before, after)
