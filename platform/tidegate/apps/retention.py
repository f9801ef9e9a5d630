"""Pruning the state folder of a project: what goes and why, and the logs' part of it by the supervisor.

    python -m tidegate.apps.retention --state STATE --config tidegate.yaml

prunes the logs alone; the supervisor runs it once in a while, as a process of its own, when they have grown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.adapters.files.project_file import project_with_state
from tidegate.adapters.machine.process_identity import pid_exists
from tidegate.apps import wiring
from tidegate.domain.errors import IntegrityError, TidegateError, Unavailable
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder
from tidegate.files.private_folder import keep_private
from tidegate.files.record_segments import pack
from tidegate.ports.registry import PRUNED_TAG, ModelVersion
from tidegate.registry.evidence import promoted
from tidegate.registry.releases import ReleaseStore
from tidegate.retention.logs import ended_summaries, large, old_segments, rotate, segment_files, segments, to_compress
from tidegate.retention.policy import MEGABYTE, Going, Referred, beyond, remove_all, size_of
from tidegate.rollout.state import RolloutStore
from tidegate.rollout.state_clock import state_clock
from tidegate.rollout.wanted import known_models, look_up

EVERY = 60.0  # seconds between looks of the supervisor at the size of the logs
UNCOMPRESSED = 512  # megabytes of segments that are not compressed, from which on it is worth a look
MARGIN = 60.0  # seconds before the beginning of a rollout whose records are kept, too


@dataclass(frozen=True)
class Pruning:
    """What goes, which logs are rotated, and which segments of the inference log are compressed."""

    going: tuple[Going, ...]
    rotating: tuple[Path, ...]
    compressing: tuple[Path, ...] = ()
    versions: tuple[ModelVersion, ...] = ()  # whose artifacts are among what goes

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.going)

    def to_json(self) -> dict[str, Any]:
        going = [{"path": str(each.path), "bytes": each.bytes, "why": each.why} for each in self.going]
        rotated, packed = ([str(path) for path in paths] for paths in (self.rotating, self.compressing))
        return {"removed": going, "rotated": rotated, "compressed": packed, "bytes": self.bytes}


def plan_pruning(project: Project, logs_only: bool = False) -> Pruning:
    """What the policy says is to go now; raises IntegrityError while a rollout's record cannot be read, which may be
    under way, or the ledger is not whole."""
    referred, policy = _referred(project), project.retention
    going, compressing = _old_records(project, referred)
    artifacts: list[tuple[ModelVersion, Going]] = []
    if not logs_only:
        state, kept = StateFolder(project.state), _in_use(project)
        going += beyond(state.releases.glob("*"), policy.releases, kept, referred, "releases")
        for model in sorted(state.all_outputs.glob("*")):
            going += beyond(model.iterdir(), policy.outputs, (), Referred(frozenset()), "outputs, the registry has them all")
        going += beyond(state.exports.glob("*"), policy.exports, (), referred, "exports")
        going += beyond(state.runs.glob("*"), policy.outputs, (), referred, "runs")
        with suppress(TidegateError):  # where versions or releases cannot be read, all are kept, and nothing else waits for it
            artifacts = _old_versions(project)
        going += [each for _, each in artifacts]
    rotating = large(StateFolder(project.state).logs, policy.log_megabytes)
    return Pruning(tuple(going), tuple(rotating), tuple(compressing), tuple(version for version, _ in artifacts))


def prune(project: Project, pruning: Pruning) -> None:
    for version in pruning.versions:  # said before it is done: a version that says so and has them harms nobody
        why = f"more than the latest {project.retention.versions} versions, and it never passed"
        wiring.registry(project).set_tags(version.model, version.version, {PRUNED_TAG: why})
    remove_all(pruning.going)
    for path in pruning.compressing:
        _compress(path)
    for path in pruning.rotating:
        rotate(
            path, project.retention.log_files, _reopen(project) if path.name in ("envoy-access.jsonl", "envoy.log") else None
        )


def _compress(path: Path) -> None:
    try:
        pack(path)
    except FileNotFoundError:
        return  # compressed or taken away by another
    except OSError as error:
        raise Unavailable(f"compressing {path}: {error.strerror or error}; make room or fix permissions") from error


def _reopen(project: Project) -> Callable[[], None] | None:
    """Tells Envoy to open its logs anew; None when none runs, which then writes to nothing."""

    router = wiring.local_target(project).router
    return (lambda: _post(router)) if router.ready() else None


def _post(router: Any) -> None:
    router.admin.post("/reopen_logs")


def _referred(project: Project) -> Referred:
    """By the ledger, and by what waits for it; raises Unavailable where that cannot be read, IntegrityError for a ledger that
    is not whole: what it no longer names is not to go."""
    if problem := wiring.ledger(project).check().problem:
        raise IntegrityError(f"pruning: nothing is removed while the ledger does not verify: {problem}")
    state = StateFolder(project.state)
    files = [*state.ledger.glob("ledger*.jsonl"), *state.rollouts.glob("*/unrecorded*")]
    try:
        return Referred(frozenset().union(*(Referred.by(path.read_bytes()).names for path in files if path.exists())))
    except OSError as error:
        raise Unavailable(f"pruning: {error.filename} cannot be read ({error.strerror}), so nothing is removed") from error


def _in_use(project: Project) -> set[str]:
    """Digests of the releases that are wanted in a slot, or that a rollout's record names: the way back leads there."""
    state, store = StateFolder(project.state), RolloutStore(StateFolder(project.state).rollouts)
    used: set[str] = set()
    for model in known_models(state):
        store.refuse_damaged(model, "pruning")
        wanted = look_up(state, model).desired
        rollouts = store.all(model)
        used |= {digest for digest in (wanted.blue, wanted.green) if digest}
        used |= {digest for each in rollouts for digest in (each.candidate, each.plan.previous) if digest}
    return used


def _old_versions(project: Project) -> list[tuple[ModelVersion, Going]]:
    """Versions beyond the latest whose artifacts nobody can need: they never passed, no alias names them, no release has them.
    A registry on a server keeps what it has."""
    registry, ledger = wiring.registry(project), wiring.ledger(project)
    releases = ReleaseStore(StateFolder(project.state).releases)
    found: list[tuple[ModelVersion, Going]] = []
    for model in project.models:
        released = {manifest.version for manifest in releases.list(model)}
        for version in registry.versions(model)[: -project.retention.versions]:
            folder = registry.kept_at(version)
            if folder is None or version.aliases or version.version in released or promoted(ledger, version):
                continue
            why = f"artifacts of {model}/{version.version}, more than the latest {project.retention.versions} versions"
            found.append((version, Going(folder, size_of(folder), why)))
    return found


def _old_records(project: Project, referred: Referred) -> tuple[list[Going], list[Path]]:
    """What of the inference log goes, and what is compressed."""
    store, logs, policy = RolloutStore(StateFolder(project.state).rollouts), StateFolder(project.state).logs, project.retention
    for model in store.models():
        store.refuse_damaged(model, "pruning")
    under_way = [rollout for model in store.models() if (rollout := store.unfinished(model)) is not None]
    now = state_clock(StateFolder(project.state))()
    since = min((rollout.created_at - MARGIN for rollout in under_way), default=now)
    closed = segments(logs, pid_exists)
    total = sum(path.stat().st_size for path in segment_files(logs))
    going = old_segments(closed, total, now, since, policy.inference_log_days, policy.inference_log_megabytes, referred)
    return [*going, *ended_summaries(logs, [each.path for each in going])], to_compress(closed, going, now)


class LogKeeper:
    """The supervisor's part: now and then a look at the size of the logs, and a process that prunes them when it is due."""

    def __init__(self, project: Project, clock: Callable[[], float] = time.monotonic) -> None:
        self.project, self.clock = project, clock
        self._next, self._last = clock() + EVERY, -1e9
        self._process: subprocess.Popen[bytes] | None = None

    def step(self) -> None:
        if self.clock() < self._next or (self._process is not None and self._process.poll() is None):
            return
        self._next = self.clock() + EVERY
        if self.due():
            self._last = self.clock()
            command = [sys.executable, "-m", "tidegate.apps.retention", "--state", str(self.project.state)]
            self._process = subprocess.Popen([*command, "--config", str(self.project.file)], stdin=subprocess.DEVNULL)

    def due(self) -> bool:
        """Once a day for what has grown old, and when logs are larger than the policy has them."""
        policy, logs = self.project.retention, StateFolder(self.project.state).logs
        if self.clock() - self._last > 86400 or large(logs, policy.log_megabytes):
            return True
        sizes = {path: path.stat().st_size for path in segment_files(logs)}
        plain = sum(size for path, size in sizes.items() if path.suffix == ".jsonl")
        grown = sum(sizes.values()) > policy.inference_log_megabytes * MEGABYTE or plain > UNCOMPRESSED * MEGABYTE
        return self.clock() - self._last > 15 * EVERY and grown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.apps.retention")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        project = project_with_state(options.config, options.state)
        keep_private(project.state)
        pruning = plan_pruning(project, logs_only=True)
        prune(project, pruning)
    except (TidegateError, OSError) as error:
        sys.stderr.write(f"pruning the logs: {error}\n")
        return getattr(error, "exit_code", Unavailable.exit_code)
    if pruning.going or pruning.rotating:
        sys.stderr.write(f"pruned the logs: {len(pruning.going)} files, {len(pruning.rotating)} rotated\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
