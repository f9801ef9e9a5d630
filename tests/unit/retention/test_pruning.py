"""What goes by the policy, and what never does."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.memory_registry import MemoryRegistry
from fakes.rollouts import CONFIG, FakeTarget, manifest
from tidegate.adapters.files.project_file import load_project
from tidegate.apps import wiring
from tidegate.apps.retention import LogKeeper, plan_pruning, prune
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError, NotFound
from tidegate.domain.project import Project, Retention
from tidegate.domain.slots import Desired, Slot
from tidegate.files.layout import StateFolder
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.ports.inference_records import Selection
from tidegate.registry.releases import ReleaseStore
from tidegate.retention import logs
from tidegate.rollout.orders import Orders
from tidegate.rollout.state import Status
from tidegate.rollout.state_clock import state_clock
from tidegate.rollout.wanted import write_desired
from tidegate.serving.records import InferenceLogFiles

DAY = 86400.0
DEAD, MEGABYTE = 2**22 + 1, 1024 * 1024  # no process has such a pid
PROJECT = """\
apiVersion: tidegate/v1
project: shop
retention: {inferenceLogDays: 3, logMegabytes: 1, logFiles: 2, releases: 1, outputs: 1, exports: 1, versions: 2}
models:
  demand:
    ingest: x
    sources: [x]
    features: {repo: x, service: demand}
    pipeline: x
    serving: x
    monitor: x
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("TIDEGATE_STATE", str(tmp_path / "state"))
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    read = load_project(tmp_path, check_files=False)
    for folder in (StateFolder(read.state).logs, StateFolder(read.state).ledger):
        folder.mkdir(parents=True)
    return read


def segment(project: Project, name: str, age: float, id: str = "1", size: int = 0) -> Path:
    at = state_clock(StateFolder(project.state))() - age
    lines = [json.dumps({"id": f"{id}-{n}", "at": at - 10 + n, "model": "demand", "pad": "x" * size}) for n in range(3)]
    path = StateFolder(project.state).logs / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def names(project: Project) -> set[str]:
    return {each.path.name for each in plan_pruning(project).going}


def test_old_segments_go_with_their_summary_and_what_is_written_or_named_by_the_ledger_stays(project: Project) -> None:
    old = segment(project, f"blue-0-{DEAD}-0", 4 * DAY)
    summary = StateFolder(project.state).logs / f"blue-0-{DEAD}.summary.json"
    summary.write_text("{}")
    segment(project, f"green-0-{DEAD}-0", 2 * DAY)
    segment(project, f"green-0-{os.getpid()}-7", 9 * DAY)  # its process may still write
    segment(project, f"green-1-{DEAD}-0", 9 * DAY, id="0b6cf3a2-named")
    wiring.ledger(project).append("verdict", "demand@1", {"worst": "0b6cf3a2-named-1"})
    (StateFolder(project.state).logs / "blue-x.jsonl").write_text("a stranger's")
    pruning = plan_pruning(project)
    assert {each.path for each in pruning.going} == {old, summary}
    prune(project, pruning)
    assert not old.exists()
    assert names(project) == set()


def test_a_closed_segment_of_a_process_that_runs_goes_and_its_newest_does_not(project: Project) -> None:
    segment(project, f"blue-0-{os.getpid()}-0", 9 * DAY)
    segment(project, f"blue-0-{os.getpid()}-1", 9 * DAY)
    assert names(project) == {f"blue-0-{os.getpid()}-0.jsonl"}


def test_the_oldest_segments_go_while_all_are_too_large(project: Project) -> None:
    for n in range(4):
        segment(project, f"blue-{n}-{DEAD}-0", (3 - n) * 100, size=MEGABYTE // 3)
    small = replace(project, retention=replace(project.retention, inference_log_megabytes=2))
    assert [each.path.name for each in plan_pruning(small).going] == [f"blue-{n}-{DEAD}-0.jsonl" for n in (0, 1, 2)]
    assert names(project) == set()


def whole_segment(project: Project, name: str, age: float, id: str) -> Path:
    """With records that a reader of the log takes."""
    at = state_clock(StateFolder(project.state))() - age
    common = {"model": "demand", "release": "a", "slot": "blue", "shadow": False, "status": 200, "latency_ms": 1.0, "rows": 0}
    path = StateFolder(project.state).logs / f"{name}.jsonl"
    path.write_text("".join(json.dumps({"id": f"{id}-{n}", "at": at + n, **common}) + "\n" for n in range(3)))
    return path


def test_closed_segments_are_compressed_and_go_by_the_same_policy(project: Project) -> None:
    closed = whole_segment(project, f"blue-0-{DEAD}-0", 2 * DAY, "0b6cf3a2-named")
    whole_segment(project, f"blue-1-{DEAD}-0", 2 * DAY, "other")
    whole_segment(project, f"green-0-{DEAD}-0", 0, "just-now")
    whole_segment(project, f"green-0-{os.getpid()}-0", 2 * DAY, "written")
    before = {record.id for record in InferenceLogFiles(StateFolder(project.state).logs, "demand").read(Selection())}
    pruning = plan_pruning(project)
    assert {path.name for path in pruning.compressing} == {f"blue-{n}-{DEAD}-0.jsonl" for n in (0, 1)}
    prune(project, pruning)
    assert {path.name for path in StateFolder(project.state).logs.glob("blue-*")} == {
        f"blue-{n}-{DEAD}-0.jsonl.gz{suffix}" for n in (0, 1) for suffix in ("", ".index")
    }
    assert not closed.exists()
    assert plan_pruning(project).compressing == ()
    assert {record.id for record in InferenceLogFiles(StateFolder(project.state).logs, "demand").read(Selection())} == before
    wiring.ledger(project).append("verdict", "demand@1", {"worst": "0b6cf3a2-named-1"})
    strict = replace(project, retention=replace(project.retention, inference_log_days=1))
    assert {each.path.name for each in plan_pruning(strict).going} == {
        f"blue-1-{DEAD}-0.jsonl.gz{suffix}" for suffix in ("", ".index")
    }


def start(project: Project, version: str, status: Status, target: FakeTarget) -> str:
    from tidegate.rollout.state import RolloutStore

    store = RolloutStore(StateFolder(project.state).rollouts)
    clock = state_clock(StateFolder(project.state))
    rollout = Orders(store, target, wiring.ledger(project), Actor("ada"), clock=clock).start(manifest(version), CONFIG)
    assert rollout is not None
    store.save(replace(rollout, status=status))
    return rollout.candidate


def test_what_a_rollout_under_way_looks_at_stays_whatever_the_size(project: Project) -> None:
    target = FakeTarget()
    target.set_desired(Desired("demand", blue="a" * 64, active=Slot.BLUE), 0)
    before = segment(project, f"blue-0-{DEAD}-0", 1000, size=MEGABYTE)
    start(project, "1", Status.RUNNING, target)
    segment(project, f"blue-1-{DEAD}-0", -1000, size=MEGABYTE)
    small = replace(project, retention=replace(project.retention, inference_log_megabytes=1))
    assert {each.path for each in plan_pruning(small).going} == {before}


def test_releases_that_are_wanted_or_were_live_or_that_the_ledger_names_stay(project: Project) -> None:
    target = FakeTarget()
    done = start(project, "1", Status.DONE, target)
    recorded, unknown, newest, wanted = ("b" * 64, "c" * 64, "d" * 64, "e" * 64)
    write_desired(StateFolder(project.state), Desired("demand", blue=done, green=wanted, active=Slot.BLUE), 0)
    wiring.ledger(project).append("release", f"demand@{recorded[:12]}", {})
    for age, digest in enumerate((newest, wanted, recorded, unknown, done)):
        folder = StateFolder(project.state).releases / digest
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        os.utime(folder, (1e9 - age, 1e9 - age))
    pruning = plan_pruning(project)
    assert {each.path.name for each in pruning.going} == {unknown}
    prune(project, pruning)
    assert {path.name for path in StateFolder(project.state).releases.iterdir()} == {done, recorded, newest, wanted}


def test_nothing_goes_while_a_record_of_a_rollout_cannot_be_read(project: Project) -> None:
    segment(project, f"blue-0-{DEAD}-0", 9 * DAY)
    start(project, "1", Status.DONE, FakeTarget())
    next(StateFolder(project.state).rollouts.glob("demand/*.json")).write_bytes(b"")
    with pytest.raises(IntegrityError, match="is empty"):
        plan_pruning(project)


@pytest.mark.parametrize("damage", ["gone", "empty", "edited", "cut"])
def test_nothing_goes_while_the_ledger_is_not_whole(project: Project, damage: str) -> None:
    segment(project, f"blue-0-{DEAD}-0", 9 * DAY, id="0b6cf3a2-named")
    for body in ({"worst": "0b6cf3a2-named-1"}, {}):
        wiring.ledger(project).append("verdict", "demand@1", body)
    assert names(project) == set()
    file = StateFolder(project.state).ledger / "ledger.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    left = {"empty": b"", "edited": first.replace(b"named-1", b"other-1") + second, "cut": second}
    file.unlink() if damage == "gone" else file.write_bytes(left[damage])
    with pytest.raises(IntegrityError, match="pruning: nothing is removed while the ledger does not verify: "):
        plan_pruning(project)


def test_logs_are_rotated_by_size_and_a_few_are_kept(project: Project) -> None:
    log = StateFolder(project.state).logs / "demand-blue-0.log"
    for n in range(4):
        with log.open("ab") as writer:  # as its process does, all the time
            writer.write(bytes([65 + n]) * (MEGABYTE + 1))
            assert plan_pruning(project).rotating == (log,)
            prune(project, plan_pruning(project))
            writer.write(b"after")
            writer.flush()
        assert log.read_bytes() == b"after"
    assert {p.name: p.read_bytes()[5:6] for p in StateFolder(project.state).logs.glob("demand-blue-0.log.*")} == {
        "demand-blue-0.log.1": b"D",
        "demand-blue-0.log.2": b"C",
    }


def test_a_log_whose_writer_opens_it_anew_is_renamed(tmp_path: Path) -> None:
    log = tmp_path / "envoy-access.jsonl"
    log.write_text("one\n")
    seen = []
    logs.rotate(log, 2, lambda: seen.append(log.exists()))
    assert seen == [False]
    assert logs.rotated(log, 1).read_text() == "one\n"


def test_the_supervisor_prunes_when_logs_have_grown_and_else_once_a_day(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, started = [0.0], []

    class Process:
        def __init__(self, command: list[str], **_: object) -> None:
            started.append(command)

        def poll(self) -> int:
            return 0

    monkeypatch.setattr("tidegate.apps.retention.subprocess.Popen", Process)
    keeper = LogKeeper(project, lambda: now[0])
    for _ in range(200):
        now[0] += 10.0
        keeper.step()
    assert len(started) == 1
    (StateFolder(project.state).logs / "envoy-access.jsonl").write_bytes(b"x" * (MEGABYTE + 1))
    now[0] += 60.0
    keeper.step()
    assert len(started) == 2


def test_the_defaults_keep_what_a_small_machine_can_hold() -> None:
    assert Retention().inference_log_megabytes * MEGABYTE < 25e9


def test_artifacts_go_of_old_versions_that_never_passed_and_of_no_other(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, output = MemoryRegistry(), tmp_path / "output"
    for number in range(1, 8):
        for name in (MODEL, CONTRACT):
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(str(number))
        registry.register("demand", output, {}, {})
    registry.set_alias("demand", "previous", "1")
    wiring.ledger(project).append("promotion", "demand/2", {"outcome": "passed"})
    wiring.ledger(project).append("promotion", "demand/3", {"outcome": "refused"})
    monkeypatch.setattr(wiring, "registry", lambda _: registry)
    monkeypatch.setattr(ReleaseStore, "list", lambda self, model: [replace(manifest("4"), version="4")])
    pruning = plan_pruning(project)
    assert [each.version for each in pruning.versions] == ["3", "5"]
    prune(project, pruning)
    there = [each.version for each in registry.versions("demand") if registry.kept_at(each) is not None]
    assert there == ["1", "2", "4", "6", "7"]
    with pytest.raises(NotFound, match=r"artifacts were removed \(more than the latest 2 versions.*train again"):
        registry.fetch(registry.get("demand", "3"), tmp_path / "fetched")
    assert not plan_pruning(project).versions
