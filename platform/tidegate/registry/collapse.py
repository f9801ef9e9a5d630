"""Whether a version answers nearly everything alike, where the champion tells things apart: found before it is served.

A model may be perfectly right about what it was evaluated on and yet useless: trained on data whose end holds nothing, it says
nothing, and every loss is small. So its answers to its own reference are compared with the champion's to the champion's: the
share of rows whose answer is not the commonest one. It may fall, but not below a stated part of the champion's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tidegate.domain.verdict import Evidence, Finding, Verdict

ENOUGH = 10  # rows of the champion's that differ: where it hardly tells things apart itself, nothing can be said


@dataclass(frozen=True)
class Answers:
    """Of one output over some rows: how many there are, how many are not the commonest answer, and that answer."""

    rows: int
    different: int
    commonest: str

    @property
    def share(self) -> float:
        return self.different / self.rows if self.rows else 0.0


def answers_of(outputs: Mapping[str, np.ndarray]) -> dict[str, Answers]:
    """By output; a row's answer is all that the output says of it."""
    return {name: _answers(np.asarray(values)) for name, values in outputs.items()}


def _answers(values: np.ndarray) -> Answers:
    if not len(values):
        return Answers(0, 0, "")
    rows = values.reshape(len(values), -1)
    if rows.dtype == object:
        rows = np.array([["" if each is None else str(each) for each in row] for row in rows])
    distinct, counts = np.unique(rows, axis=0, return_counts=True)
    place = int(counts.argmax())
    said = ", ".join(f"{each:.6g}" if rows.dtype.kind == "f" else str(each) for each in distinct[place][:3])
    return Answers(len(rows), len(rows) - int(counts[place]), said)


def tells_apart(
    candidate: Mapping[str, Answers], champion: Mapping[str, Answers] | None, least: float
) -> tuple[Verdict, Evidence]:
    """`least` is the part of the champion's different answers that a version has to keep, output by output."""
    n = max((each.rows for each in candidate.values()), default=0)
    if not n:
        return Verdict.INCONCLUSIVE, Evidence("the model could be run on no row: the reference has to hold its inputs")
    findings = [_finding(name, found, (champion or {}).get(name), least) for name, found in sorted(candidate.items())]
    wrong = [finding for finding in findings if not finding.ok]
    if not champion and len(wrong) < len(findings):
        wrong = []  # without a champion: an output that never changes may be meant, a model that says but one thing is not
    if wrong:
        text = f"{wrong[0].note}: it has collapsed; look at what it was trained on"
        return Verdict.FAIL, Evidence(text, n, findings=tuple(findings))
    told = "; ".join(finding.note for finding in findings[:3])
    return Verdict.PASS, Evidence(told, n, findings=tuple(findings))


def _finding(name: str, found: Answers, before: Answers | None, least: float) -> Finding:
    note = f"'{name}' is {found.commonest} in {found.rows - found.different:,} of {found.rows:,} rows of the reference"
    if before is None:
        return Finding(name, found.share, "> 0", found.different > 0 or found.rows == 1, note)
    note += f", the champion's {before.commonest} in {before.rows - before.different:,} of {before.rows:,}"
    limit = least * before.share
    return Finding(name, found.share, f">= {limit:.4f}", before.different < ENOUGH or found.share >= limit, note)
