"""The judges stand whatever traffic comes to a model of any output kind, as in test_any_traffic.py, without features."""

from __future__ import annotations

from pathlib import Path

import pytest
from any_model import context
from kinds import KINDS, mixture, refusing
from release_fixture import FakeMeter, FakeRecords, ask

from tidegate.domain.verdict import Verdict

MIXTURES = 4  # of each kind; test_any_traffic.py has 200 of one


@pytest.mark.parametrize("name", KINDS)
def test_an_equal_candidate_passes_and_one_that_refuses_one_in_twenty_more_is_stopped(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    candidate, live = kind.releases(tmp_path)
    here, opened = context(candidate, live), []
    for seed in range(MIXTURES):
        mirrored, answered = mixture(kind, seed, candidate, live)
        equal = FakeRecords(mirrored, answered)
        verdicts = [ask("shadow", here, equal, scorer=kind), ask("drift", here, equal, meter=FakeMeter())]
        stopped = ask("shadow", here, FakeRecords(refusing(mirrored, 0.05, seed), answered), scorer=kind)
        assert all(each.verdict is not Verdict.ERROR for each in (*verdicts, stopped)), [v.evidence.summary for v in verdicts]
        assert not stopped.verdict.opens, seed
        opened.append(all(each.verdict.opens for each in verdicts))
    assert sum(opened) >= MIXTURES - 1, opened
