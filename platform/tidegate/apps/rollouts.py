"""Rollouts of the local target put together: orders for commands, and the controller's process for each rollout.

The controller is a process of its own, started and restarted by the supervisor for as long as the rollout has something to
do or to watch; killed at any moment, the next one goes on from the record.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from tidegate.adapters.machine.heartbeats import Beating
from tidegate.apps import wiring
from tidegate.apps.opened import OpenedProject
from tidegate.apps.reconcile import note_what_is_due
from tidegate.domain.actor import PLATFORM, Actor
from tidegate.domain.errors import InvalidInput, NotFound, TidegateError
from tidegate.domain.project import Project
from tidegate.domain.release import SHORT, ReleaseManifest
from tidegate.files.layout import StateFolder
from tidegate.files.release_folder import read_manifest
from tidegate.gates.monitor_file import MonitorConfig
from tidegate.registry.pending import PendingUpdates
from tidegate.rollout.engine import Engine
from tidegate.rollout.evaluation import ThreadedEvaluations
from tidegate.rollout.local.companions import Companion
from tidegate.rollout.orders import Orders
from tidegate.rollout.plan import Bake, Check, RolloutConfig
from tidegate.rollout.state import Rollout, RolloutStore
from tidegate.rollout.state_clock import state_clock
from tidegate.rollout.unrecorded import Recorder
from tidegate.rollout.wanted import look_up, restore_desired

GATES = "tidegate.apps.gates:build_gates"  # (project, model name) -> Evaluate
FINISH = "tidegate.apps.gates:finish_rollout"  # (project, rollout) -> None: the registry's aliases
STUCK = 300.0  # seconds of one step after which a controller stops beating, and so is replaced
INTERVAL = 0.1  # seconds between steps


def resolve(reference: str) -> Any:
    """The object `module:name`; raises InvalidInput."""
    module, _, name = reference.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"'{reference}' cannot be imported ({error}); required is 'module:function'") from error


def rollout_config(monitor: MonitorConfig, keep_previous_seconds: float = 0.0) -> RolloutConfig:
    """The checks and the bake that a release's own monitor file asks for."""
    checks = tuple(
        Check(
            gate.name,
            min_seconds=gate.min_seconds,
            deadline_seconds=gate.timeout_seconds,
            on_fail=gate.on_fail,
            gate_kind=gate.kind,
        )
        for gate in monitor.before_switch
    )
    after = monitor.after_switch
    bake = Bake(
        tuple(gate.name for gate in after),
        max(gate.min_seconds for gate in after),
        max(gate.timeout_seconds for gate in after),
        gate_kinds={gate.name: gate.kind for gate in after},
    )
    return RolloutConfig(checks, bake, keep_previous_seconds=keep_previous_seconds)


def open_store(project: Project) -> RolloutStore:
    return RolloutStore(StateFolder(project.state).rollouts)


def open_orders(project: Project, actor: Actor) -> Orders:
    """What commands call to start, abort, freeze, unfreeze, override and roll back, in the name of `actor`."""

    target = wiring.local_target(project)
    return Orders(open_store(project), target, wiring.ledger(project), actor, state_clock(StateFolder(project.state)))


def release_source(project: Project) -> Callable[[str], tuple[ReleaseManifest, Path]]:
    """Manifest and folder of a release by digest; read once, since releases never change."""

    @lru_cache(maxsize=64)
    def read(digest: str) -> tuple[ReleaseManifest, Path]:
        folder = StateFolder(project.state).release(digest)
        if not folder.is_dir():
            raise NotFound(f"release {digest[:12]} is not in {folder.parent}; build it with 'tidegate release build'")
        return read_manifest(folder), folder

    return read


def open_engine(project: Project, model: str, gates: str = GATES, finish: str = FINISH) -> Engine:

    return Engine(
        open_store(project),
        wiring.local_target(project),
        wiring.ledger(project),
        ThreadedEvaluations(resolve(gates)(project, model)),
        release_source(project),
        lambda rollout: resolve(finish)(project, rollout),
        state_clock(StateFolder(project.state)),
    )


def control(project: Project, model: str, id: str, gates: str = GATES, finish: str = FINISH) -> Rollout:
    """Drive rollout `id` until it needs nothing more."""
    engine = open_engine(project, model, gates, finish)
    engine.resume(model, id)
    beats = wiring.heartbeats(StateFolder(project.state))
    with Beating(beats, controller_name(model, id), STUCK) as beating:
        while True:
            rollout, settled = engine.step(model, id), engine.settled(model, id)
            if settled and not rollout.needs_controller:
                break
            beating.stepped()
            time.sleep(INTERVAL)
    beats.forget(controller_name(model, id))
    if rollout.status.terminal:
        with suppress(TidegateError):  # what cannot be looked at now is compared by 'tidegate registry reconcile'
            note_what_is_due(OpenedProject(project), model)
    return rollout


def controller_name(model: str, id: str) -> str:
    return f"control-{model}-{id}"


def wanted_controllers(project: Project, gates: str, finish: str) -> Callable[[str], Companion | None]:
    """What the supervisor asks each time: the controller of a model's rollout, if that needs one, or else the
    update of the registry that is pending."""
    store, notes = open_store(project), PendingUpdates(StateFolder(project.state).rollouts)

    def wanted(model: str) -> Companion | None:
        rollout = store.unfinished(model)
        if rollout is not None:
            return _controller(project, rollout, gates, finish) if rollout.needs_controller else None
        return _registry_update(project, model) if model in notes.models() else None

    return wanted


def _registry_update(project: Project, model: str) -> Companion:
    command = [sys.executable, "-m", "tidegate.apps.registry_updates", "--state", str(project.state)]
    return Companion(f"registry-{model}", [*command, "--config", str(project.file), "--model", model])


def restore_wanted(project: Project) -> Callable[[str], None]:
    """What the supervisor does where the file of what is wanted is gone or damaged: back first, recorded after."""

    def restore(model: str) -> None:
        state = StateFolder(project.state)
        problem = look_up(state, model).problem
        restored = restore_desired(state, model)
        if restored is not None:
            release = restored.active_release
            subject = f"{model}@{release[:SHORT]}" if release else model
            body = {"message": problem, "desired": restored.to_json()}
            recorder = Recorder(wiring.ledger(project), StateFolder(project.state).rollouts)
            recorder.back(model, "desired.restored", subject, body, PLATFORM)

    return restore


def _controller(project: Project, rollout: Rollout, gates: str, finish: str) -> Companion:
    command = [sys.executable, "-m", "tidegate.apps.supervisor", "control", "--state", str(project.state)]
    command += ["--config", str(project.file), "--model", rollout.model, "--rollout", rollout.id]
    command += ["--gates", gates, "--finish", finish]
    urgent = rollout.undo is not None or rollout.request is not None
    return Companion(controller_name(rollout.model, rollout.id), command, urgent=urgent)


def run_controller(project: Project, model: str, id: str, gates: str, finish: str) -> None:
    """`control` as a process: threads of gates that are stuck end with it."""
    try:
        control(project, model, id, gates, finish)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(error.exit_code)
    sys.stdout.flush()
    os._exit(0)
