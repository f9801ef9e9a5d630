"""The gates a version has to pass before it may become a release: judged on losses of rows that it had not seen.

What is compared is the ratio of two sums of losses on the same rows, with a bootstrap over keys, because the losses of one key
belong together, or over blocks of time where there are few keys (statistics.resampling). A gate passes when the upper bound of
the ratio is within its margin: not being sure is INCONCLUSIVE, not a PASS. The rows say which baseline is the best, not the
summary beside them. Rows that cannot be judged (NaN, nothing, infinite, without a key, twice the same) make the gate an ERROR.
A version without a baseline, or a first one without a champion, passes or not by the rules of the monitor file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tidegate.domain.actor import Actor
from tidegate.domain.errors import InvalidInput
from tidegate.domain.verdict import Evidence, Finding, GateResult, Verdict, evaluate_closed
from tidegate.files.evaluation import BASELINE, CHAMPION_FORECAST, MODEL_FORECAST, SEGMENT, Evaluation
from tidegate.files.training_output import TrainingOutput
from tidegate.ports.promotion_rules import PromotionRules
from tidegate.registry.collapse import Answers, tells_apart
from tidegate.statistics.resampling import CONFIDENCE, Ratio, blocks_of, ratio

SAME = 1e-6  # relative and absolute: sums of float32 may be added up in another order on another machine
AGAIN = "train again, or register rows with the model's inputs, the outcome and 'losses': then the platform scores both"
MIN_UNITS = 10  # a bootstrap over fewer is no bound: over one it is the ratio itself


@dataclass(frozen=True)
class Approval:
    by: Actor
    reason: str


@dataclass(frozen=True)
class Units:
    """What is drawn together: `of` each row, and what the units are, for people."""

    of: np.ndarray
    name: str

    @property
    def number(self) -> int:
        return len(np.unique(self.of))


def units_of(evaluation: Evaluation) -> Units:
    """Keys where there are enough, else blocks of time, else (a model without a key) rows."""
    rows, keys = evaluation.rows, evaluation.key
    by_key = Units(rows.select(pl.struct(keys).rank("dense")).to_series().to_numpy(), "keys") if keys and len(rows) else None
    if by_key is not None and by_key.number >= MIN_UNITS:
        return by_key
    if evaluation.time is not None and not rows[evaluation.time].null_count():
        return Units(blocks_of(rows[evaluation.time].to_physical().to_numpy()), "blocks of time")
    return by_key or Units(np.arange(len(rows)), "rows")


def loss_ratio(evaluation: Evaluation, other: str, units: Units) -> Ratio:
    """The model's losses against those of forecast `other`; raises InvalidInput when they cannot be compared."""
    ours, theirs = evaluation.losses(MODEL_FORECAST).to_numpy(), evaluation.losses(other).to_numpy()
    try:
        return ratio(ours, theirs, units.of)
    except ValueError as error:
        raise InvalidInput(f"forecast '{other}' {error}; check the evaluation's rows") from error


def _compared(evaluation: Evaluation, other: str, limit: float, min_rows: int) -> tuple[Verdict, Evidence]:
    evaluation.check()
    both = evaluation.compared_with(other)
    if len(both.rows) < min_rows:
        n = len(both.rows)
        return Verdict.INCONCLUSIVE, Evidence(f"{n} evaluated rows, required {min_rows}", sample_size=n)
    units = units_of(both)
    if units.number < MIN_UNITS:
        text = f"{units.number} {units.name} were evaluated, required {MIN_UNITS}"
        if units.name == "keys":
            text += ", or a column 'event_timestamp', by whose blocks of time rows are drawn where keys are few"
        return Verdict.INCONCLUSIVE, Evidence(text, len(both.rows))
    found = loss_ratio(both, other, units)
    numbers = {"ratio": found.value, "upper": found.upper, "units": found.units}
    text = (
        f"loss {found.value:.3f} of {other}'s (at most {found.upper:.3f} with {CONFIDENCE:.0%} confidence, "
        f"allowed {limit:.3f}) over {found.rows:,} rows of {found.units:,} {units.name}"
    )
    verdict = Verdict.PASS if found.upper <= limit else Verdict.FAIL if found.value > limit else Verdict.INCONCLUSIVE
    finding = Finding(f"ratio of losses to {other}", found.upper, f"<= {limit:.3f}", verdict.opens)
    return verdict, Evidence(text, found.rows, numbers, {"limit": limit}, (finding,))


def best_baseline(evaluation: Evaluation) -> str | None:
    """The baseline that loses the least on the evaluated rows; None when there is none."""
    evaluation.check()
    losses = {name: float(evaluation.losses(name).sum()) for name in evaluation.baselines}
    return min(losses, key=lambda name: losses[name]) if losses else None


def beats_baseline(evaluation: Evaluation, rules: PromotionRules) -> tuple[Verdict, Evidence]:
    best = best_baseline(evaluation)
    if best is None:
        return _by_rule(rules.without_baseline, "without_baseline", "no baseline was evaluated", evaluation)
    return _compared(evaluation, best, 1 - rules.beats_baseline.margin, rules.min_rows)


def no_worse_than_champion(
    evaluation: Evaluation, champion: str | None, rules: PromotionRules, version: str = ""
) -> tuple[Verdict, Evidence]:
    """`champion` is the version that answers requests now; the evaluation must have been made against that one."""
    n = len(evaluation.rows)
    if champion is None:
        return _by_rule(rules.without_champion, "without_champion", "there is no champion yet", evaluation)
    if champion == version:
        return Verdict.PASS, Evidence(f"version {version} is the champion itself", sample_size=n)
    evaluated = evaluation.summary.champion
    if evaluated != champion:
        return Verdict.INCONCLUSIVE, Evidence(
            f"evaluated against champion version {evaluated or 'none'}, but the champion is version {champion}; "
            f"{evaluation.remark or AGAIN}"
        )
    verdict, evidence = _compared(evaluation, CHAMPION_FORECAST, 1 + rules.no_worse_than_champion.margin, rules.min_rows)
    summary = f"{evidence.summary}; {evaluation.remark}" if evaluation.remark else evidence.summary
    return verdict, replace(evidence, summary=summary)


def _by_rule(rule: str, key: str, what: str, evaluation: Evaluation) -> tuple[Verdict, Evidence]:
    """What the monitor file says of a version that there is nothing to compare with."""
    n = len(evaluation.rows)
    if rule == "pass":
        return Verdict.PASS, Evidence(f"{what}: nothing was compared (promotion.{key}: pass)", sample_size=n)
    return Verdict.FAIL, Evidence(f"{what}, and promotion.{key} is '{rule}': evaluate one, or set it to pass", sample_size=n)


def segments(evaluation: Evaluation, champion: str | None, rules: PromotionRules) -> tuple[Verdict, Evidence]:
    """No segment much worse than the champion's (or, before one, the best baseline's)."""
    evaluation.check()
    by_champion = champion is not None and evaluation.summary.champion == champion
    other = CHAMPION_FORECAST if by_champion else best_baseline(evaluation)
    if other is None:
        return _by_rule(rules.without_baseline, "without_baseline", "no baseline was evaluated", evaluation)
    if not evaluation.segments:
        return _by_rule(rules.without_segments, "without_segments", "the evaluation has no segments", evaluation)
    limit = 1 + rules.segments.max_worse
    both = evaluation.compared_with(other)
    findings: list[Finding] = []
    skipped = judged = 0
    for column in both.segments:
        for (value,), rows in both.rows.group_by([column], maintain_order=True):
            if len(rows) < rules.segments.min_rows:
                skipped += 1
                continue
            judged += len(rows)
            part = Evaluation(rows, both.summary, both.key, both.where)
            findings.append(_segment(f"{column.removeprefix(SEGMENT)}={value}", part, other, limit))
    if not findings:
        return Verdict.INCONCLUSIVE, Evidence(f"no segment has {rules.segments.min_rows} rows ({skipped} are smaller)")
    findings.sort(key=lambda f: f.subject)
    worst = max(findings, key=lambda f: math.inf if f.observed is None else f.observed)
    share = "a loss where it has none" if worst.observed is None else f"{worst.observed:.3f} of its loss"
    text = (
        f"worst of {len(findings)} segments against {other}: {worst.subject} at {share}, "
        f"allowed {limit:.3f}; {skipped} too small to judge"
    )
    verdict = Verdict.PASS if all(f.ok for f in findings) else Verdict.FAIL
    return verdict, Evidence(text, judged, {"worst": worst.observed}, {"limit": limit}, tuple(findings))


def _taken(rules: PromotionRules, external: bool) -> bool:
    """Whether the losses of a version that the platform cannot score are taken as they were registered."""
    return rules.without_scores == "pass" or (rules.without_scores == "pipeline" and not external)


def _word_of(evaluation: Evaluation, rules: PromotionRules) -> tuple[Verdict, Evidence]:
    return Verdict.FAIL, Evidence(
        f"its losses are its trainer's word, and promotion.without_scores is '{rules.without_scores}': register rows with the "
        "model's inputs, the outcome and 'losses', by which the platform scores it, or set it to pass",
        sample_size=len(evaluation.rows),
    )


def same_scores(registered: Evaluation, computed: Evaluation) -> tuple[Verdict, Evidence]:
    """The losses that were registered are those that the platform computes; raises InvalidInput naming one that is not."""
    if len(registered.rows) != len(computed.rows):
        raise InvalidInput(f"{len(registered.rows)} rows were registered, {len(computed.rows)} are scored")
    names = [name for name in computed.forecasts if name != CHAMPION_FORECAST]
    for name in names:
        said, found = registered.losses(name).to_numpy(), computed.losses(name).to_numpy()
        apart = np.flatnonzero(~np.isclose(said, found, rtol=SAME, atol=SAME))
        if len(apart):
            row = int(apart[0])
            of = " ".join(f"{key}={computed.rows[key][row]}" for key in computed.identity or computed.key)
            raise InvalidInput(
                f"the loss of '{name}' in row {row} {f'({of}) ' if of else ''}is {said[row]:.6g} as registered, "
                f"{found[row]:.6g} as the platform computes it; {len(apart):,} of {len(said):,} rows differ: register what the "
                "model really gives"
            )
    trainers = [name for name in computed.baselines if BASELINE + name not in computed.rows.columns]
    ours = ", ".join(name for name in names if name not in trainers)
    text = f"{len(computed.rows):,} rows of {ours} scored by the platform ({computed.summary.loss}), as registered"
    if trainers:
        text += f"; the losses of {', '.join(trainers)} are the trainer's"
    return Verdict.PASS, Evidence(text, sample_size=len(computed.rows))


def _once(make: Callable[[], Evaluation]) -> Callable[[], Evaluation]:
    """What `make` gives or raises, made once."""
    kept: list[Evaluation | Exception] = []

    def made() -> Evaluation:
        if not kept:
            try:
                kept.append(make())
            except Exception as error:  # each gate that looks at it is an ERROR, with this message
                kept.append(error)
        if isinstance(kept[0], Exception):
            raise kept[0]
        return kept[0]

    return made


def _segment(name: str, rows: Evaluation, other: str, limit: float) -> Finding:
    """Unlike the whole, a segment may be one that is easy: where both lose nothing they are alike."""
    ours, theirs = float(rows.losses(MODEL_FORECAST).sum()), float(rows.losses(other).sum())
    note = f"{len(rows.rows):,} rows"
    if theirs <= 0 < ours:
        return Finding(name, None, f"<= {limit:.3f}", False, f"{note}, a loss of {ours:.6g} where '{other}' has none")
    share = ours / theirs if theirs > 0 else 1.0
    if not math.isfinite(share):
        raise InvalidInput(f"{rows.where}: losses in segment {name} are too large to be summed")
    return Finding(name, share, f"<= {limit:.3f}", share <= limit, note)


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
    external: bool = False,
    scores: Callable[[], Evaluation] | None = None,
    answers: Callable[[], tuple[Mapping[str, Answers], Mapping[str, Answers] | None]] | None = None,
) -> list[GateResult]:
    """All offline gates of `subject` (`MODEL/VERSION`), in a fixed order; none is skipped because another failed.

    `scores` gives the evaluation with losses that the platform computed itself, of a version that it can score: then nothing is
    judged by the numbers that the trainer wrote, and gate `scores` is an ERROR where the two differ. `external` is a version
    that no pipeline of the project trained. `answers` gives what the version says to the rows of its reference, and the
    champion to those of its own (gate `outputs`).
    """
    judged = _once(scores) if scores else lambda: output.evaluation
    checks: Mapping[str, Callable[[], tuple[Verdict, Evidence]]] = {
        "artifact_digest": lambda: artifact_digest(output, registered_digest),
        **({"scores": lambda: same_scores(output.evaluation, judged())} if scores else {}),
        **({"scores": lambda: _word_of(output.evaluation, rules)} if not scores and not _taken(rules, external) else {}),
        "beats_baseline": lambda: beats_baseline(judged(), rules),
        "no_worse_than_champion": lambda: no_worse_than_champion(judged(), champion, rules, version),
        "segments": lambda: segments(judged(), champion, rules),
        **({"outputs": lambda: tells_apart(*answers(), rules.min_spread)} if answers else {}),
        "approval": lambda: approval(approval_required, approved),
    }
    return [evaluate_closed(name, subject, check) for name, check in checks.items()]
