"""Answers that are all alike are told from answers that are often alike."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.domain.verdict import Verdict
from tidegate.registry.collapse import answers_of, tells_apart


def sparse(share: float, rows: int = 1000) -> np.ndarray:
    """Quantiles of demand that is 0 in all but a share of the rows."""
    some = np.zeros((rows, 3), np.float32)
    some[: int(share * rows)] = np.arange(1, 1 + int(share * rows))[:, None] * np.float32([0.1, 1, 2])
    return some


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (0.6, 0.5, Verdict.PASS),
        (0.6, 0.07, Verdict.PASS),
        (0.6, 0.05, Verdict.FAIL),
        (0.6, 0.0, Verdict.FAIL),
        (0.005, 0.0, Verdict.PASS),  # what hardly tells things apart says nothing of the next
        (0.05, 0.2, Verdict.PASS),
    ],
)
def test_a_tenth_of_the_champion_s_spread_is_kept(before: float, after: float, verdict: Verdict) -> None:
    found = tells_apart(answers_of({"quantiles": sparse(after)}), answers_of({"quantiles": sparse(before)}), 0.1)
    assert found[0] is verdict, found


def test_texts_and_many_outputs_are_answers_too() -> None:
    said = {"label": np.array([["torn"]] * 9 + [["whole"]], object), "version": np.ones(10)}
    found = answers_of(said)
    assert (found["label"].commonest, found["label"].different) == ("torn", 1)
    assert tells_apart(found, None, 0.1)[0] is Verdict.PASS  # an output that never changes may be meant
    assert tells_apart(answers_of({"version": np.ones(10)}), None, 0.1)[0] is Verdict.FAIL


def test_a_model_that_could_be_run_on_nothing_is_no_pass() -> None:
    assert tells_apart({}, None, 0.1)[0] is Verdict.INCONCLUSIVE
    assert tells_apart(answers_of({"a": np.zeros((0, 1))}), None, 0.1)[0] is Verdict.INCONCLUSIVE
