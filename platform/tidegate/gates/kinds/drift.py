"""Gate: live vectors, as the candidate saw them, against the candidate's own reference profile.

FAIL carries `kind` in its numbers: `fault` (a unit, a scale, values gone missing: the candidate is wrong, roll back) or `drift`
(the world moved: harm is not shown, freeze and retrain).
"""

from __future__ import annotations

from tidegate.domain.verdict import Evidence, Verdict
from tidegate.gates.columns import Columns
from tidegate.gates.drift_check import DriftRules, check_drift, read_profile
from tidegate.gates.judged import judged_of
from tidegate.gates.window import Traffic
from tidegate.ports.gates import Case
from tidegate.ports.inference_records import Selection

Rules = DriftRules
RUNS_PROFILE = True  # the definition's function, which is code of the release


def judge(case: Case, rules: Rules) -> tuple[Verdict, Evidence]:
    folder, candidate = case.candidate_folder, case.candidate
    traffic = Traffic.of(case.instruments.records, Selection(candidate.digest, since=case.since))
    if "profile" not in case.memory:
        columns = Columns.of_release(folder, candidate, judged_of(folder, candidate))
        case.memory["profile"] = columns, read_profile(folder, candidate, columns)
    columns, profile = case.memory["profile"]
    return check_drift(candidate, profile, traffic, columns, case.instruments.meter, rules)
