"""Gate: live vectors, as the candidate saw them, against the candidate's own reference profile.

FAIL carries `kind` in its numbers: `fault` (a unit, a scale, values gone missing: the candidate is wrong, roll back) or `drift`
(the world moved: harm is not shown, freeze and retrain).
"""

from __future__ import annotations

from tidegate.domain.verdict import Evidence, GateResult, Verdict, evaluate_closed
from tidegate.files.release_folder import read_contract
from tidegate.gates.drift_check import check_drift, read_profile
from tidegate.gates.monitor_file import monitor_of
from tidegate.gates.window import Traffic
from tidegate.ports.drift import DriftMeter
from tidegate.ports.gates import GateContext
from tidegate.ports.inference_records import InferenceRecords, Selection


class DriftGate:
    name = "drift"

    def __init__(self, records: InferenceRecords, meter: DriftMeter) -> None:
        self._records = records
        self._meter = meter

    def evaluate(self, context: GateContext) -> GateResult:
        return evaluate_closed(self.name, context.candidate.id, lambda: self._evaluate(context))

    def _evaluate(self, context: GateContext) -> tuple[Verdict, Evidence]:
        folder, candidate = context.candidate_folder, context.candidate
        rules = monitor_of(folder, candidate).gates.drift
        contract = read_contract(folder, candidate)
        profile = read_profile(folder, candidate)
        traffic = Traffic.of(self._records, Selection(candidate.digest, since=context.since))
        return check_drift(candidate, profile, traffic, contract, self._meter, rules)
