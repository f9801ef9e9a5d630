"""The gates a version has to pass before it may become a release: judged on its own rolling-origin evaluation.

Errors are compared as ratios of summed absolute errors of the median (the ratio of two WAPEs on the same rows), with a
bootstrap over entities, because the errors of one entity belong together. A gate passes when the upper bound of the ratio
is within its margin: not being sure is INCONCLUSIVE, not a PASS. The rows say which baseline is the best, not the summary
beside them. Rows that cannot be judged (NaN, nothing, infinite, without an entity, twice the same) make the gate an ERROR.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidegate.domain.actor import Actor
from tidegate.domain.errors import InvalidInput
from tidegate.domain.verdict import Evidence, Finding, GateResult, Verdict, evaluate_closed
from tidegate.files.training_output import TrainingOutput
from tidegate.ports.promotion_rules import PromotionRules

DRAWS = 2000
CONFIDENCE = 0.95  # of the one-sided upper bound
MIN_ENTITIES = 10  # a bootstrap over fewer is no bound: over one it is the ratio itself
IDENTITY = ("origin", "horizon", "date")  # with the entity, what makes two rows the same forecast; those of them that there are
NOT_BASELINES = ("model", "champion")


@dataclass(frozen=True)
class Approval:
    by: Actor
    reason: str


@dataclass(frozen=True)
class Ratio:
    """Summed absolute error of the model over that of another forecast on the same rows."""

    value: float
    upper: float
    rows: int
    entities: int


def error_ratio(rows: pl.DataFrame, entity: str, other: str, seed: int = 0) -> Ratio:
    """Ratio of the model's error to that of forecast `other`, with its one-sided bootstrap bound over entities."""
    frame = rows.select(pl.col(entity), model=_errors(rows, "model"), other=_errors(rows, other))
    sums = frame.group_by(entity, maintain_order=True).agg(pl.col("model", "other").sum())
    model, theirs = sums["model"].to_numpy(), sums["other"].to_numpy()
    if not len(model) or theirs.sum() <= 0:
        raise InvalidInput(f"forecast '{other}' has no error at all to compare with; check the evaluation's rows")
    if not np.isfinite([model.sum(), theirs.sum()]).all():
        raise InvalidInput(f"the errors of 'model' or '{other}' are too large to be summed; check the evaluation's rows")
    weights = np.random.default_rng(seed).multinomial(len(model), np.full(len(model), 1 / len(model)), size=DRAWS)
    totals = np.maximum(weights @ theirs, np.finfo(float).tiny)
    upper = float(np.quantile((weights @ model) / totals, CONFIDENCE))
    return Ratio(float(model.sum() / theirs.sum()), upper, len(frame), len(model))


def _errors(rows: pl.DataFrame, name: str) -> pl.Series:
    """Absolute error of forecast `name` on each row; raises InvalidInput unless all are finite."""
    errors = (rows[f"{name}_q50"].cast(pl.Float64) - rows["actual"].cast(pl.Float64)).abs()
    if errors.null_count() or not bool(errors.is_finite().all()):
        raise InvalidInput(f"the evaluation has rows without a finite error of '{name}'")
    return errors


def _compared(output: TrainingOutput, other: str, limit: float, min_rows: int) -> tuple[Verdict, Evidence]:
    rows = _judged_rows(output, other)
    if len(rows) < min_rows:
        return Verdict.INCONCLUSIVE, Evidence(f"{len(rows)} evaluated rows, required {min_rows}", sample_size=len(rows))
    if (entities := rows[output.contract.entity].n_unique()) < MIN_ENTITIES:
        return Verdict.INCONCLUSIVE, Evidence(f"{entities} entities were evaluated, required {MIN_ENTITIES}", len(rows))
    ratio = error_ratio(rows, output.contract.entity, other)
    numbers = {"ratio": ratio.value, "upper": ratio.upper, "entities": ratio.entities}
    text = (
        f"error {ratio.value:.3f} of {other}'s (at most {ratio.upper:.3f} with {CONFIDENCE:.0%} confidence, "
        f"allowed {limit:.3f}) over {ratio.rows:,} rows of {ratio.entities:,} entities"
    )
    verdict = Verdict.PASS if ratio.upper <= limit else Verdict.FAIL if ratio.value > limit else Verdict.INCONCLUSIVE
    finding = Finding(f"WAPE ratio to {other}", ratio.upper, f"<= {limit:.3f}", verdict.opens)
    return verdict, Evidence(text, ratio.rows, numbers, {"limit": limit}, (finding,))


def _judged_rows(output: TrainingOutput, other: str) -> pl.DataFrame:
    """The rows that both have forecast: a champion has none for days it was trained on, a baseline has all."""
    rows, entity = output.evaluation, output.contract.entity
    if rows[entity].null_count():
        raise InvalidInput(f"the evaluation has rows without '{entity}'")
    identity = [entity, *(name for name in IDENTITY if name in rows.columns)]
    if len(identity) > 1 and (twice := int(rows.select(identity).is_duplicated().sum())):
        raise InvalidInput(f"the evaluation has {twice} rows of the same {', '.join(identity)}: each forecast counts once")
    if other != "champion":
        return rows
    return rows.drop_nulls("champion_q50") if "champion_q50" in rows.columns else rows.clear()


def best_baseline(output: TrainingOutput) -> str:
    """The baseline that is wrong by the least on the evaluated rows; raises InvalidInput when there is none."""
    rows = output.evaluation
    named = [column.removesuffix("_q50") for column in rows.columns if column.endswith("_q50")]
    errors = {name: float(_errors(rows, name).sum()) for name in named if name not in NOT_BASELINES}
    if missing := set(output.summary["baselines"]) - errors.keys():
        raise InvalidInput(f"training output {output.folder}: baseline '{min(missing)}' has no forecast in the evaluation")
    if not errors:
        raise InvalidInput(f"training output {output.folder}: no baseline was evaluated; a model without one cannot be judged")
    return min(errors, key=lambda name: errors[name])


def beats_baseline(output: TrainingOutput, rules: PromotionRules) -> tuple[Verdict, Evidence]:
    return _compared(output, best_baseline(output), 1 - rules.beats_baseline.margin, rules.min_rows)


def no_worse_than_champion(
    output: TrainingOutput, champion: str | None, rules: PromotionRules, version: str = ""
) -> tuple[Verdict, Evidence]:
    """`champion` is the version that answers requests now; the evaluation must have been made against that one."""
    if champion is None:
        return Verdict.PASS, Evidence("there is no champion yet", sample_size=len(output.evaluation))
    if champion == version:
        return Verdict.PASS, Evidence(f"version {version} is the champion itself", sample_size=len(output.evaluation))
    evaluated = output.summary.get("champion")
    if evaluated != champion:
        return Verdict.INCONCLUSIVE, Evidence(
            f"evaluated against champion version {evaluated or 'none'}, but the champion is version {champion}; train again"
        )
    return _compared(output, "champion", 1 + rules.no_worse_than_champion.margin, rules.min_rows)


def segments(output: TrainingOutput, champion: str | None, rules: PromotionRules) -> tuple[Verdict, Evidence]:
    """No country group, price band or class of movers much worse than the champion's (or, before one, the best baseline's)."""
    other = "champion" if champion is not None and output.summary.get("champion") == champion else best_baseline(output)
    limit = 1 + rules.segments.max_worse
    findings: list[Finding] = []
    skipped = judged = 0
    columns = [name for name in output.evaluation.columns if name.startswith("segment_")]
    for column in columns:
        for (value,), rows in _judged_rows(output, other).group_by([column], maintain_order=True):
            if len(rows) < rules.segments.min_rows:
                skipped += 1
                continue
            ratio = error_ratio(rows, output.contract.entity, other)
            judged += len(rows)
            name = f"{column.removeprefix('segment_')}={value}"
            findings.append(Finding(name, ratio.value, f"<= {limit:.3f}", ratio.value <= limit, f"{ratio.rows:,} rows"))
    if not findings:
        return Verdict.INCONCLUSIVE, Evidence(f"no segment has {rules.segments.min_rows} rows ({skipped} are smaller)")
    findings.sort(key=lambda f: f.subject)
    worst = max(findings, key=lambda f: f.observed or 0.0)
    text = (
        f"worst of {len(findings)} segments against {other}: {worst.subject} at {worst.observed:.3f} of its error, "
        f"allowed {limit:.3f}; {skipped} too small to judge"
    )
    verdict = Verdict.PASS if all(f.ok for f in findings) else Verdict.FAIL
    return verdict, Evidence(text, judged, {"worst": worst.observed}, {"limit": limit}, tuple(findings))


def artifact_digest(output: TrainingOutput, registered: str) -> tuple[Verdict, Evidence]:
    observed = output.artifact_digest
    ok = observed == registered
    text = f"model.onnx has SHA-256 {observed[:12]}, registered {registered[:12] or 'nothing'}"
    return (Verdict.PASS if ok else Verdict.FAIL), Evidence(text, sample_size=1)


def approval(required: bool, given: Approval | None) -> tuple[Verdict, Evidence]:
    if given is not None and given.by.name.strip() and given.reason.strip():
        return Verdict.PASS, Evidence(f"approved by {given.by.name}: {given.reason}", sample_size=1)
    if required:
        return Verdict.INCONCLUSIVE, Evidence("waits for a person: --approve-by NAME --reason TEXT")
    return Verdict.PASS, Evidence("no approval is required", sample_size=1)


def offline_gates(
    output: TrainingOutput,
    subject: str,
    registered_digest: str,
    champion: str | None,
    rules: PromotionRules,
    approval_required: bool = False,
    approved: Approval | None = None,
    version: str = "",
) -> list[GateResult]:
    """All offline gates of `subject` (`MODEL/VERSION`), in a fixed order; none is skipped because another failed."""
    checks: Mapping[str, Callable[[], tuple[Verdict, Evidence]]] = {
        "artifact_digest": lambda: artifact_digest(output, registered_digest),
        "beats_baseline": lambda: beats_baseline(output, rules),
        "no_worse_than_champion": lambda: no_worse_than_champion(output, champion, rules, version),
        "segments": lambda: segments(output, champion, rules),
        "approval": lambda: approval(approval_required, approved),
    }
    return [evaluate_closed(name, subject, check) for name, check in checks.items()]
