"""Gates of a user's own, and how every gate is asked: nothing but a sound PASS of the release's own code is a PASS."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from release_fixture import FakeRecords, FakeTarget, Stage, ask, records, rules, stage, vectors, with_changed_files

from tidegate.domain.errors import IntegrityError, InvalidInput, NotFound
from tidegate.domain.verdict import Verdict
from tidegate.files.release_folder import MONITOR
from tidegate.gates.evaluator import GateEvaluator
from tidegate.gates.monitor_file import load_monitor
from tidegate.ports.gates import GateContext, Instruments
from tidegate.ports.traffic import SlotTraffic

FILE = "gates/positive.py"
HEAD = """
from dataclasses import dataclass
from tidegate.api.gates import Case, Evidence, Finding, Verdict, between

@dataclass(frozen=True)
class Rules:
    most: float = between(0, 1, 0.1)
    text: str = ""
    names: tuple[str, ...] = ()

"""
GATE = (
    HEAD
    + """
def judge(case, rules):
    seen = [value for record in case.candidate_records() for value in record.outputs["units_q50"]]
    if not seen:
        return Verdict.INCONCLUSIVE, Evidence("nothing seen yet")
    share = sum(value < 0 for value in seen) / len(seen)
    evidence = Evidence(f"{share:.0%} of answers are negative", len(seen), {"share": share}, {"most": rules.most})
    return (Verdict.FAIL if share > rules.most else Verdict.PASS), evidence
"""
)


@pytest.fixture
def here(tmp_path: Path) -> Stage:
    return stage(tmp_path)


def with_gate(here: Stage, code: str, **about: Any) -> GateContext:
    """The stage with a candidate that brings a gate `positive` of its own."""
    monitor = rules()
    monitor["gates"].append({"name": "positive", "kind": f"./{FILE}", "stage": "shadow", **about})
    (here.folder / "gates").mkdir(exist_ok=True)
    return with_changed_files(here, {MONITOR: json.dumps({"schema": 2, **monitor}).encode(), FILE: code.encode()})


def seen_by(context: GateContext) -> FakeRecords:
    return FakeRecords(records(context.candidate, vectors(30, 3), shadow=True))


def test_a_gate_of_ones_own_judges_by_the_releases_code_and_rules(here: Stage) -> None:
    context = with_gate(here, GATE, rules={"most": 0.2})
    result = ask("positive", context, seen_by(context))
    assert (result.verdict, result.evidence.sample_size) == (Verdict.PASS, 30)
    assert result.evidence.thresholds == {"most": 0.2}
    assert ask("positive", context, FakeRecords()).verdict is Verdict.INCONCLUSIVE
    negative = [replace(r, outputs={"units_q50": -r.outputs["units_q50"] - 1}) for r in seen_by(context).all]
    assert ask("positive", context, FakeRecords(negative)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no such table')", "RuntimeError: no such table"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("return True", "the gate returned True, required: a Verdict and its Evidence"),
        ("return 'PASS', Evidence('fine', 1)", "required: a Verdict and its Evidence"),
        ("return Verdict.PASS", "required: a Verdict and its Evidence"),
        ("return Verdict.PASS, Evidence('fine')", "PASS without a sample"),
        ("return Verdict.PASS, Evidence('fine', float('nan'))", "sample_size is nan"),
        ("return Verdict.PASS, Evidence('fine', 1, {'share': float('nan')})", "PASS with a number that is not finite"),
        ("import numpy; return Verdict.PASS, Evidence('fine', 1, {'s': numpy.float32('nan')})", "is not finite"),
        ("return Verdict.PASS, Evidence('fine', 1, thresholds={'most': float('nan')})", "a threshold that is not a number"),
        ("return Verdict.PASS, Evidence('fine', 1, {'seen': [1]})", "required: a number, a text or None"),
        ("return Verdict.PASS, Evidence('fine', 1, findings=('all well',))", "required: a Finding"),
        ("return Verdict.PASS, Evidence('fine', 1, findings=(Finding('a', float('inf'), '', True),))", "is not finite"),
    ],
)
def test_a_gate_that_breaks_is_an_error_with_its_reason_and_a_traceback_in_the_log(
    here: Stage, caplog: pytest.LogCaptureFixture, body: str, said: str
) -> None:
    context = with_gate(here, f"{HEAD}\ndef judge(case, rules):\n    {body}\n")
    result = ask("positive", context, seen_by(context))
    assert result.verdict is Verdict.ERROR
    assert said in result.evidence.summary
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


def test_a_mistake_that_its_sentence_explains_is_logged_in_one_line(here: Stage, caplog: pytest.LogCaptureFixture) -> None:
    result = ask("absent", here.context)
    assert result.verdict is Verdict.ERROR
    [record] = [record for record in caplog.records if record.name == "tidegate.gates"]
    assert (record.exc_info, record.levelno) == (None, logging.WARNING)
    assert "has no gate 'absent'" in record.getMessage()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import absent_library", "gates/positive.py cannot be loaded: ModuleNotFoundError"),
        ("raise SystemExit(3)", "gates/positive.py cannot be loaded: SystemExit: 3"),
        ("def judge(case, rules): ...", "has no frozen dataclass 'Rules'"),
        (HEAD, "has no function 'judge(case, rules)'"),
    ],
)
def test_code_that_is_no_gate_is_an_error(here: Stage, code: str, said: str) -> None:
    context = with_gate(here, code)
    result = ask("positive", context, seen_by(context))
    assert result.verdict is Verdict.ERROR
    assert said in result.evidence.summary


def test_rules_that_the_gate_does_not_know_and_changed_code_are_errors(here: Stage) -> None:
    context = with_gate(here, GATE, rules={"mots": 0.2})
    assert "unknown key 'gates.positive.mots'; did you mean 'most'?" in ask("positive", context).evidence.summary
    context = with_gate(here, GATE)
    (here.folder / FILE).write_text(GATE.replace("share > rules.most", "False"))
    changed = ask("positive", context, seen_by(context))
    assert (changed.verdict, "was changed or is damaged" in changed.evidence.summary) == (Verdict.ERROR, True)


def test_a_gate_that_the_release_has_not_is_an_error(here: Stage) -> None:
    result = ask("parti", here.context)
    assert result.verdict is Verdict.ERROR
    assert "has no gate 'parti'; did you mean 'parity'?" in result.evidence.summary


def test_code_of_a_release_that_may_not_run_does_not_run(here: Stage, tmp_path: Path) -> None:
    context = with_gate(here, f"open({str(tmp_path / 'ran')!r}, 'w')\n{GATE}")

    def refuse(folder: Path) -> None:
        raise IntegrityError(f"{folder.name[:12]} is not signed")

    instruments = Instruments(seen_by(context), None, None, None, None, lambda: 0.0)  # type: ignore[arg-type]
    result = GateEvaluator(lambda: instruments, refuse)("positive", context)
    assert (result.verdict, "is not signed" in result.evidence.summary) == (Verdict.ERROR, True)
    assert not (tmp_path / "ran").exists()


def test_a_gate_remembers_for_the_length_of_a_stage(here: Stage) -> None:
    code = HEAD + (
        "def judge(case, rules):\n"
        "    case.memory['looks'] = case.memory.get('looks', 0) + 1\n"
        "    traffic = case.candidate_traffic()\n"
        "    return Verdict.INCONCLUSIVE, Evidence('', 1, {'looks': case.memory['looks'], 'new': traffic.completed, "
        "'at': case.now, 'live': len(list(case.live_records()))})\n"
    )
    context, target = with_gate(here, code), FakeTarget()
    live = FakeRecords(records(here.active, vectors(9, 3), shadow=False))
    instruments = Instruments(live, None, None, None, target, lambda: 123.0)  # type: ignore[arg-type]
    gates = GateEvaluator(lambda: instruments, lambda _: None)
    seen = []
    for since, completed in ((100.0, 10), (100.0, 25), (101.0, 30)):
        target.now = SlotTraffic(completed, 0, 0, {})
        seen.append(gates("positive", replace(context, since=since)).evidence.numbers)
    assert seen == [
        {"looks": 1, "new": 0, "at": 123.0, "live": 3},
        {"looks": 2, "new": 15, "at": 123.0, "live": 3},
        {"looks": 1, "new": 0, "at": 123.0, "live": 3},
    ]


def project_file(folder: Path, code: str | None = GATE, **about: Any) -> Path:
    monitor = rules()
    monitor["gates"].append({"name": "positive", "kind": f"./{FILE}", "stage": "bake", **about})
    (folder / "gates").mkdir()
    if code is not None:
        (folder / FILE).write_text(code)
    path = folder / "demand.yaml"
    path.write_text(json.dumps(monitor))
    return path


def test_a_projects_gate_is_read_with_its_rules_and_goes_into_the_release(tmp_path: Path) -> None:
    config = load_monitor(project_file(tmp_path, rules={"text": "a", "names": ["b"]}))
    assert config.own == {FILE: GATE.encode()}
    assert config.gate("positive").rules == {"most": 0.1, "text": "a", "names": ("b",)}
    assert config.release_copy()["schema"] == 2


@pytest.mark.parametrize(
    ("code", "rules", "said"),
    [
        (GATE, {"most": 2}, "gates.positive.most is 2, allowed: a number from 0 to 1"),
        (GATE, {"text": 2}, "gates.positive.text is 2, allowed: a text"),
        (GATE, {"names": "b"}, "gates.positive.names is 'b', allowed: a list of texts"),
        ("import absent_library", {}, "cannot be loaded: ModuleNotFoundError: No module named 'absent_library'"),
        (GATE.replace('text: str = ""', "text: bytes = b''"), {"text": "a"}, "is declared as <class 'bytes'>, allowed:"),
    ],
)
def test_a_mistake_in_a_projects_gate_is_named(tmp_path: Path, code: str, rules: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_monitor(project_file(tmp_path, code, rules=rules))
    assert said in str(caught.value)


def test_a_gate_whose_file_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gates/positive.py, which is the kind of a gate; write it or name another kind"):
        load_monitor(project_file(tmp_path, None))


def test_numbers_of_array_libraries_are_recorded_as_plain_ones(here: Stage) -> None:
    code = (
        HEAD
        + "import numpy\ndef judge(case, rules):\n    n = numpy.int64(3)\n    return Verdict.PASS, Evidence('', n, {'n': n})\n"
    )
    context = with_gate(here, code)
    numbers = ask("positive", context, seen_by(context)).evidence.numbers
    assert (numbers, type(numbers["n"])) == ({"n": 3}, int)
