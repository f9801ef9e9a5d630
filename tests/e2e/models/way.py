"""The way of a model: live, then a second version under load, scored as a file, pruned, replayed, and past a faulty one."""

from __future__ import annotations

import os
import random

from demo import facts
from demo.models.case import Case
from e2e.models.batch import batch_equals_online
from e2e.models.neighbours import footprints
from e2e.models.project import Project, accounted
from tensor_models import CASES as SMALL
from tensor_models import release_of
from tidegate.files.layout import StateFolder
from tidegate.retention.policy import Referred


def goes_live(project: Project, case: Case) -> None:
    """From raw data to a first version that answers."""
    release = project.first(case)
    (status,) = project.run("status", case.model)
    assert status["live"] == release
    assert project.ask(case.model, project.bodies(case, case.times[0])[0])["release"] == release


def goes_on(project: Project, case: Case) -> None:
    """A second version under load through all gates, and a faulty one that is stopped, beside the project's other models,
    which are live and whose every trace is the same before and after."""
    model, moment = case.model, case.times[1]
    first = project.first(case)
    others = [other for other in project.cases if other is not case]
    for other in others:
        project.first(other)
    questions = {other.model: project.bodies(other, other.times[0])[0] for other in others}
    answers = {name: project.ask(name, body) for name, body in questions.items()}
    before = footprints(project, but=case)
    assert len(before) == len(others)

    project.materialize(case, moment)
    bodies = list(project.bodies(case, moment))
    random.Random(7).shuffle(bodies)  # a window of the latest is then one of all, whenever the rollout begins
    second = project.release(model, moment)
    with project.load(model, bodies) as requests:
        done = project.rollout(model, second)
    assert done["status"] == "DONE", done
    assert {gate["verdict"] for gate in done["gates"]} == {"PASS"}
    accounted(requests, {first, second})
    assert footprints(project, but=case) == before

    batch_equals_online(project, model, second)
    prune(project, {first, second})
    for release, request in facts.last_answers(requests).items():
        replayed = project.run("replay", request)
        assert replayed["result"]["identical"], (release, replayed["result"])

    case.fault(project.folder)
    faulty = project.faulty(case, second)
    with project.load(model, bodies) as requests:
        stopped = project.rollout(model, faulty, code=5)
    assert stopped["status"] == "ROLLED_BACK", stopped
    assert any(gate in stopped["reason"] for gate in case.stopped_by), stopped["reason"]
    accounted(requests, {second})
    assert footprints(project, but=case) == before
    assert {name: project.ask(name, body) for name, body in questions.items()} == answers
    assert project.run("ledger", "verify")["ok"]


def prune(project: Project, needed: set[str]) -> None:
    """Pruning takes runs and outputs beyond the latest and a release that nobody knows; none that is live, that was before,
    or that the ledger names."""
    state = StateFolder(project.state)
    unknown = release_of(state.releases, SMALL["raw features of a model that has no store"])
    os.utime(unknown, (0, 0))
    before = {folder.name for folder in state.releases.iterdir()}
    ledger = Referred.by((state.ledger / "ledger.jsonl").read_bytes())
    runs = len(list(state.runs.iterdir()))
    removed = {each["path"] for each in project.run("prune")["removed"]}
    after = {folder.name for folder in state.releases.iterdir()}
    assert str(unknown) in removed
    assert before - after == {unknown.name}
    assert {project.platform().release(release).digest for release in needed} <= after
    assert all(ledger.to(digest) for digest in after)
    assert len(list(state.runs.iterdir())) < runs
    assert project.run("prune")["removed"] == []
