"""For a gate of one's own, `gates/NAME.py` beside the monitor file: a frozen dataclass `Rules`, and `judge(case, rules)`."""

from tidegate.domain.rules import between, choice, reasons, share
from tidegate.domain.verdict import Evidence, Finding, Verdict
from tidegate.ports.gates import Case, GateKind, GateStage

__all__ = ["Case", "Evidence", "Finding", "GateKind", "GateStage", "Verdict", "between", "choice", "reasons", "share"]
