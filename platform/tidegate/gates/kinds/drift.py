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
    columns = Columns.of_release(folder, candidate, judged_of(folder, candidate))
    return check_drift(candidate, read_profile(folder, candidate, columns), traffic, columns, case.instruments.meter, rules)
