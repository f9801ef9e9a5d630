"""The history of a model has what was decided and done, by whom and why, and nothing of other models."""

from __future__ import annotations

from tidegate.domain.actor import Actor
from tidegate.ledger.history import history, model_of
from tidegate.ledger.memory import MemoryLedger


def gate(name: str, verdict: str, summary: str) -> dict[str, object]:
    return {"gate": name, "verdict": verdict, "evidence": {"summary": summary}}


def test_decisions_and_their_reasons_are_told_in_order() -> None:
    ledger, ada = MemoryLedger(), Actor("ada")
    ledger.append("registration", "demand/1", {"run": "r1"})
    ledger.append("promotion", "demand/1", {"outcome": "refused", "gates": [gate("segments", "FAIL", "worst is 3")]}, ada)
    ledger.append("promotion", "demand/2", {"outcome": "passed", "gates": [gate("beats_baseline", "PASS", "0.6")]}, ada)
    ledger.append("promotion", "demand2/2", {"outcome": "passed", "gates": []}, ada)
    ledger.append("rollout.stage_done", "demand@12", {"message": "ready"})
    ledger.append("verdict", "demand@12", {"gate": "shadow", "verdict": "PASS"})
    ledger.append("verdict", "demand@12", {"gate": "bake", "verdict": "FAIL", "message": "5xx"})
    ledger.append("rollout.rolled_back", "demand@12", {"message": "5xx"})
    ledger.append("freeze", "demand", {"reason": "holidays"}, ada)
    told = [(event.who.identity, event.subject, event.what, event.why) for event in history(ledger.entries(), "demand")]
    assert told == [
        ("tidegate", "demand/1", "registered", "by run r1"),
        ("ada", "demand/1", "promotion refused", "segments FAIL: worst is 3"),
        ("ada", "demand/2", "promotion passed", "beats_baseline: 0.6"),
        ("tidegate", "demand@12", "gate bake FAIL", "5xx"),
        ("tidegate", "demand@12", "rollout rolled back", "5xx"),
        ("ada", "demand", "freeze", "holidays"),
    ]


def test_an_entry_of_any_form_is_told() -> None:
    ledger = MemoryLedger()
    for body in ({}, {"gates": None}, {"gates": [{}]}, {"message": None}):
        ledger.append("something.new", "demand", body)
    assert [event.what for event in history(ledger.entries(), "demand")] == ["something new"] * 4


def test_the_model_of_a_subject() -> None:
    assert [model_of(subject) for subject in ("demand", "demand/3", "demand@3f2c")] == ["demand"] * 3
