"""Gates of a release asked by name: rules and code are those of the release that is judged, the instruments those of a target.

Closed: an exception, an answer that is none, a number that is none and a gate that the release has not are ERROR, with the
reason in the verdict and in the log, where a defect has its traceback. Code of a release runs only here, and only of one that
`admit` lets pass.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tidegate.domain.errors import TidegateError
from tidegate.domain.verdict import Evidence, Finding, GateResult, Verdict
from tidegate.files.kept_counts import KeptCounts
from tidegate.files.release_folder import verified_bytes
from tidegate.gates.kinds import load_kind
from tidegate.gates.monitor_file import monitor_of
from tidegate.gates.own_kinds import load_own_kind, own_file
from tidegate.ports.gates import Case, GateContext, GateKind, Instruments, Slo

logger = logging.getLogger("tidegate.gates")


@dataclass(frozen=True)
class _Asked:
    """A gate of one release for the length of one stage."""

    of: list[Any]  # candidate, active release, and when the stage began
    kind: GateKind
    rules: Any
    slo: Slo
    min_seconds: float
    kept: dict[str, Any]
    memory: dict[Any, Any] = field(default_factory=dict)


class GateEvaluator:
    """`tidegate.ports.gates.Evaluate` on one model. `instruments` are built when the first gate is asked, in its thread: that
    loads much, and a rollback must not wait. `admit` raises for a release whose code may not run, `kept` is where counts of the
    stage outlive the process."""

    def __init__(
        self,
        instruments: Callable[[], Instruments],
        admit: Callable[[Path], None],
        kept: KeptCounts = KeptCounts(),  # noqa: B008 (a frozen value)
    ) -> None:
        self._build, self._admit, self._kept = instruments, admit, kept
        self._built: Instruments | None = None
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}

    def __call__(self, name: str, context: GateContext) -> GateResult:
        started, subject = time.monotonic(), context.candidate.id
        try:
            asked = self._of(name, context)
            case = Case(
                **vars(context),
                gate=name,
                slo=asked.slo,
                min_seconds=asked.min_seconds,
                instruments=self._instruments(),
                memory=asked.memory,
                kept=asked.kept,
            )
            verdict, evidence = checked(asked.kind.judge(case, asked.rules))
            if asked.kept:
                self._kept.write(name, asked.of, asked.kept)
            return GateResult(name, subject, verdict, evidence, seconds=time.monotonic() - started)
        except (Exception, SystemExit) as error:  # closed by design: whatever goes wrong is an ERROR that carries its reason
            if isinstance(error, TidegateError):  # a mistake that its sentence explains; anything else is a defect
                logger.warning("gate '%s' on release %s: %s", name, subject, error)
            else:
                logger.exception("gate '%s' on release %s", name, subject)
            reason = Evidence(f"{type(error).__name__}: {error}")
            return GateResult(name, subject, Verdict.ERROR, reason, seconds=time.monotonic() - started)

    def _of(self, name: str, context: GateContext) -> _Asked:
        """Read and loaded once a stage; what was kept for an earlier one is forgotten."""
        manifest, folder = context.candidate, context.candidate_folder
        of = [manifest.digest, context.active.digest if context.active else None, context.since]
        known = self._asked.get(name)
        if known is not None and known.of == of:
            return known
        where = f"release {manifest.id}"
        config = monitor_of(folder, manifest)
        spec = config.gate(name, where)
        file = own_file(spec.kind)
        if file is None:
            kind = load_kind(spec.kind)
            if config.judged.profile and getattr(kind, "RUNS_PROFILE", False):
                self._admit(folder)
        else:
            self._admit(folder)
            kind = load_own_kind(file, verified_bytes(folder, manifest, file), folder, where)
        self._asked[name] = asked = _Asked(
            of, kind, spec.read_rules(kind, where), config.slo, spec.min_seconds, self._kept.read(name, of)
        )
        return asked

    def _instruments(self) -> Instruments:
        with self._lock:
            if self._built is None:
                self._built = self._build()
            return self._built


def checked(answer: Any) -> tuple[Verdict, Evidence]:
    """What a judge returned, in plain values. Raises ValueError for what is no verdict with evidence."""
    pair = isinstance(answer, tuple) and len(answer) == 2
    if not pair or not isinstance(answer[0], Verdict) or not isinstance(answer[1], Evidence):
        raise ValueError(f"the gate returned {answer!r:.200}, required: a Verdict and its Evidence")
    verdict, evidence = answer
    size = _plain(evidence.sample_size, "sample_size")
    if isinstance(size, bool) or not isinstance(size, int):
        raise ValueError(f"the gate's sample_size is {size!r}, required: a whole number")
    made = replace(
        evidence,
        summary=str(evidence.summary),
        sample_size=size,
        numbers={str(name): _plain(value, name) for name, value in evidence.numbers.items()},
        thresholds={str(name): _plain(value, name) for name, value in evidence.thresholds.items()},
        findings=tuple(_finding(finding) for finding in evidence.findings),
        links={str(name): str(value) for name, value in evidence.links.items()},
    )
    if verdict.opens and any(isinstance(value, float) and math.isnan(value) for value in made.thresholds.values()):
        raise ValueError("the gate returned PASS by a threshold that is not a number")
    return verdict, made


def _finding(value: Any) -> Finding:
    if not isinstance(value, Finding):
        raise ValueError(f"a finding of the gate is {value!r:.200}, required: a Finding")
    observed = _plain(value.observed, value.subject)
    if isinstance(observed, str):
        raise ValueError(f"finding '{value.subject}' has observed {observed!r}, required: a number or None")
    return replace(value, subject=str(value.subject), observed=observed, ok=bool(value.ok))


def _plain(value: Any, name: object) -> Any:
    """A number of an array library as Python's own: what is not plain could not be recorded."""
    plain = value.item() if hasattr(value, "item") and not isinstance(value, Mapping) else value
    if plain is not None and not isinstance(plain, int | float | str):
        raise ValueError(f"'{name}' of the gate's evidence is {value!r:.200}, required: a number, a text or None")
    return plain
