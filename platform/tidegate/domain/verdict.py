"""Verdicts of gates and the evidence they rest on.

Gates are closed: only PASS lets anything through. No data is INCONCLUSIVE, NaN or an exception is ERROR, and neither
is ever a PASS (`GateResult` refuses to be built as a PASS without a sample).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Number = float | int


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105 (a verdict, not a password)
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def opens(self) -> bool:
        """Whether a release may go on: true for PASS alone."""
        return self is Verdict.PASS


@dataclass(frozen=True)
class Finding:
    """One named thing that was measured against a limit: a feature, a segment, a metric."""

    subject: str
    observed: float | None
    required: str
    ok: bool
    note: str = ""


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on. `sample_size` counts the independent things looked at (rows, requests, vectors)."""

    summary: str
    sample_size: int = 0
    numbers: Mapping[str, Number | str | None] = field(default_factory=dict)
    thresholds: Mapping[str, Number] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """One evaluation of one gate on one release (`subject` is a release id or `MODEL/VERSION` before one exists)."""

    gate: str
    subject: str
    verdict: Verdict
    evidence: Evidence
    at: float = field(default_factory=time.time)  # seconds since the epoch
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.verdict is Verdict.PASS:
            if self.evidence.sample_size <= 0:
                raise ValueError(f"gate {self.gate}: PASS without a sample")
            values = [v for v in self.evidence.numbers.values() if isinstance(v, float)]
            values += [f.observed for f in self.evidence.findings if f.observed is not None]
            if any(not math.isfinite(v) for v in values):
                raise ValueError(f"gate {self.gate}: PASS with a number that is not finite")

    def describe(self) -> str:
        """`release demand@3f2c: gate 'parity' FAIL: ...`: one line for people."""
        return f"{self.subject}: gate '{self.gate}' {self.verdict}: {self.evidence.summary}"


def evaluate_closed(gate: str, subject: str, evaluate: Callable[[], tuple[Verdict, Evidence]]) -> GateResult:
    """Run `evaluate`; an exception or a malformed PASS becomes ERROR, never a PASS."""
    started = time.monotonic()
    try:
        verdict, evidence = evaluate()
        return GateResult(gate, subject, verdict, evidence, seconds=time.monotonic() - started)
    except Exception as error:  # closed by design: whatever goes wrong is an ERROR verdict that carries its reason
        evidence = Evidence(summary=f"{type(error).__name__}: {error}")
        return GateResult(gate, subject, Verdict.ERROR, evidence, seconds=time.monotonic() - started)


def to_json(result: GateResult) -> dict[str, Any]:
    """Plain JSON of a result; numbers that are not finite become null."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    evidence = result.evidence
    return {
        "gate": result.gate,
        "release": result.subject,
        "verdict": result.verdict.value,
        "at": result.at,
        "seconds": round(result.seconds, 4),
        "evidence": {
            "summary": evidence.summary,
            "sample_size": evidence.sample_size,
            "numbers": {k: plain(v) for k, v in evidence.numbers.items()},
            "thresholds": {k: plain(v) for k, v in evidence.thresholds.items()},
            "findings": [
                {"subject": f.subject, "observed": plain(f.observed), "required": f.required, "ok": f.ok, "note": f.note}
                for f in evidence.findings
            ],
            "links": dict(evidence.links),
        },
    }


def from_json(value: Mapping[str, Any]) -> GateResult:
    """The result that `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
    evidence = value["evidence"]
    findings = tuple(Finding(**finding) for finding in evidence["findings"])
    return GateResult(
        str(value["gate"]),
        str(value["release"]),
        Verdict(value["verdict"]),
        Evidence(**{**evidence, "findings": findings}),
        float(value["at"]),
        float(value["seconds"]),
    )
