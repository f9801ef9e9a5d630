"""Starting, stopping and replacing the supervisor of a state folder; what commands and the watcher call.

One supervisor runs for a state folder: a lock that the system releases when its process ends, however it ends. Beats say
whether its holder still does anything. One that hangs is killed, if it is known to be the process that beat; what it
looked after goes on running meanwhile, and the next supervisor adopts it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate import __version__
from tidegate.adapters.machine.heartbeats import Beat
from tidegate.adapters.machine.process_identity import owned, start_ticks
from tidegate.apps import wiring
from tidegate.apps.features import settle_features
from tidegate.apps.rollouts import FINISH, GATES, resolve
from tidegate.domain.clocks import ENVIRONMENT, Reading, SteadyClock
from tidegate.domain.errors import Conflict, Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder
from tidegate.ports.local import Processes
from tidegate.rollout.local.supervisor_lock import Runs, SupervisorLock, running
from tidegate.rollout.state import RolloutStore
from tidegate.rollout.state_clock import state_clock
from tidegate.rollout.wanted import read_observed

if TYPE_CHECKING:
    from tidegate.adapters.machine.local_target import LocalTarget
    from tidegate.rollout.local.supervisor import Supervisor

SUPERVISOR, WATCHER = "supervisor", "watcher"  # names of their beats
HUNG = 6.0  # seconds without a beat after which one of them is replaced
INTERVAL = 0.1
SLOT_COMMAND = "tidegate.apps.supervisor:serving_command"


@dataclass(frozen=True)
class Parts:
    """References `module:name` of what a supervisor is made of."""

    slot_command: str = SLOT_COMMAND
    gates: str = GATES
    finish: str = FINISH

    def arguments(self, project: Project) -> list[str]:
        named = ["--state", str(project.state), "--config", str(project.file), "--slot-command", self.slot_command]
        return [*named, "--gates", self.gates, "--finish", self.finish]


PARTS = Parts()


# --- the lock -----------------------------------------------------------------------------------------------------------


@contextmanager
def supervisor_lock(project: Project, patience: float = 0.0) -> Iterator[SupervisorLock]:
    """Held by the one supervisor of a state folder, with a note of what it was started with; raises Conflict."""
    state = StateFolder(project.state)
    lock = SupervisorLock.take(state.supervisor_lock, Runs.of(project, __version__, os.getpid()), patience)
    if lock is None:
        raise Conflict(f"starting a supervisor for {state.root}: one is running already (pid {supervisor_pid(state)})")
    try:
        yield lock
    finally:
        lock.release()


def supervisor_pid(state: StateFolder) -> int | None:
    """The running supervisor's pid, or None: the lock says whether it runs; the system, the file or its beat who it is."""
    found = running(state.supervisor_lock)
    return _pid_of(state, found) if found else None


def _pid_of(state: StateFolder, holder: Runs) -> int | None:
    if holder.pid is not None:
        return holder.pid
    beat = wiring.heartbeats(state).last(SUPERVISOR)
    return beat.pid if beat is not None and beat.runs and owned(beat.pid, state.target) else None


def check_same(project: Project, attempt: str) -> None:
    """Raise Conflict when the supervisor that runs for the state folder was started with another project file or ports."""
    if other := started_otherwise(project):
        raise Conflict(f"{attempt}: {other}, or use what it was started with; nothing was changed")


def started_otherwise(project: Project) -> str:
    """What the supervisor that runs was started with, where that is something else, and how to end it; else empty."""
    found = running(StateFolder(project.state).supervisor_lock)
    differences = found.differences(Runs.of(project, __version__)) if found else []
    if not found or not differences:
        return ""
    command = f"tidegate -C {found.file} down" if found.of_another_project else "tidegate down"
    started = f"the supervisor of {project.state} (pid {found.pid}) was started with {', '.join(differences)}"
    return f"{started}: end it with '{command}' first"


# --- who hangs ----------------------------------------------------------------------------------------------------------


def hung(state: StateFolder) -> Beat | None:
    """The last beat of a supervisor that holds the lock, runs, and beats no more."""
    beat = wiring.heartbeats(state).last(SUPERVISOR)
    if beat is None or beat.age <= HUNG or beat.pid != supervisor_pid(state) or not beat.runs:
        return None
    return beat if owned(beat.pid, state.target) else None


def is_watched(state: StateFolder) -> bool:
    """Whether a watcher looks, who starts a supervisor where there is none."""
    beat = wiring.heartbeats(state).last(WATCHER)
    return beat is not None and beat.age <= HUNG and beat.runs


def end_hung(state: StateFolder) -> bool:
    """Kill a supervisor that hangs; False when there is none. Its slots and its gateway go on."""
    beat = hung(state)
    if beat is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(beat.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5.0
    while start_ticks(beat.pid) == beat.ticks and time.monotonic() < deadline:
        time.sleep(0.01)
    return True


# --- up -----------------------------------------------------------------------------------------------------------------


def ensure_supervisor(project: Project, parts: Parts = PARTS, timeout: float = 20.0) -> int:
    """Start the supervisor detached unless it runs; returns its pid once it has looked and the gateway is up.

    One that hangs is replaced; one that runs has taken over what is new in the project file when this returns. Raises
    Unavailable with the supervisor's own words when it cannot start (a taken port, say), and Conflict when it cannot take that.
    While the gateway waits for what is live to become ready, so does this.
    """
    state = StateFolder(project.state)
    check_same(project, "starting the platform")
    settle_features(project)  # by whoever starts the first one: it takes longer than a supervisor may be without a beat
    child = None
    called, deadline = Reading.now(), time.monotonic() + timeout
    while time.monotonic() < deadline:
        pid = supervisor_pid(state)
        observed = read_observed(state)
        # it has to look once more: a supervisor that is just being killed still holds its lock for a moment
        looked = observed is not None and observed.get("supervisor") == pid
        looked = looked and called.seconds_until(Reading.from_json(observed or {"at": 0})) > 0
        if pid and observed and looked:
            current = _knows(observed, project)
            if observed["gateway"]["ready"] and current:
                return pid
            if observed["gateway"].get("waits"):
                deadline = time.monotonic() + timeout
        # one that lost to another, or was ended from outside, says nothing about whether a supervisor can start
        if child is not None and (child.poll() or 0) >= 0 and child.returncode not in (None, Conflict.exit_code):
            raise Unavailable(_last_words(state))
        if pid is None and (child is None or child.poll() is not None) and not is_watched(state):
            child = _spawn(project, parts, state)
        elif pid is not None:
            end_hung(state)
        time.sleep(0.05)
    observed = read_observed(state) or {}
    problems = "; ".join(observed.get("problems", {}).values()) or f"see {state.supervisor_log}"
    raise Unavailable(f"starting the supervisor of {state.root}: the gateway was not up after {timeout:g} s: {problems}")


def _knows(observed: Mapping[str, Any], project: Project) -> bool:
    """Whether a supervisor goes by all models of the project; raises Conflict when it cannot."""
    if set(project.models) <= set(observed.get("serves", project.models)):
        return True
    if problem := observed.get("problems", {}).get("project file"):
        raise Conflict(f"what is new in {project.file} is not served: {problem}")
    return False


def _spawn(project: Project, parts: Parts, state: StateFolder) -> subprocess.Popen[bytes]:
    state.logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tidegate.apps.supervisor", "supervise", *parts.arguments(project)]
    with state.supervisor_log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _last_words(state: StateFolder) -> str:
    lines = [line for line in state.supervisor_log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"the supervisor of {state.root} ended without a word; see {state.supervisor_log}"


def await_live(target: LocalTarget, models: Sequence[str], timeout: float = 90.0) -> None:
    """Wait until every replica of what is live of `models` is ready; raises Unavailable naming the model that is not."""
    deadline = time.monotonic() + timeout
    for model in models:
        while True:
            active = target.desired(model).active
            found = target.slots(model)[active] if active else None
            if found is None or 0 < found.wanted == found.ready:
                break
            if found.problem or time.monotonic() > deadline:
                why = found.problem or (
                    f"{found.ready} of {found.wanted} replicas in {found.slot} are ready after {timeout:g} s; "
                    f"'tidegate status {model}' shows more, the processes' logs are in {target.state.logs}"
                )
                raise Unavailable(f"starting what is live of {model}: {why}")
            time.sleep(INTERVAL)


# --- down ---------------------------------------------------------------------------------------------------------------


def stop_supervisor(project: Project, timeout: float = 60.0) -> bool:
    """Drain and stop everything of this state folder, whether or not its supervisor still runs; False if nothing ran.

    What is wanted stays recorded, so the next start brings back the same releases in the same slots. Nothing needs to be
    written for it.
    """
    state = StateFolder(project.state)
    if not state.target.exists():
        return False
    asked: dict[int, int | None] = {}
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = running(state.supervisor_lock)
        if found is None and not any(ticks and start_ticks(pid) == ticks for pid, ticks in asked.items()):
            # a watcher may have started another supervisor in this very moment
            with suppress(Conflict), ExitStack() as held:
                with suppress(Unavailable):  # on a disk that takes no lock, no other supervisor starts either
                    held.enter_context(supervisor_lock(project, patience=0.5))
                return _stop_all(project) or bool(asked)
        elif found is not None and (pid := _pid_of(state, found)) not in asked:
            _ask_to_stop(project, found, pid, asked)
        else:
            end_hung(state)
        time.sleep(0.05)
    raise Unavailable(
        f"stopping the supervisor of {state.root}: pid {', '.join(map(str, asked))} still runs after {timeout:g} s; "
        f"see {state.supervisor_log}"
    )


def _ask_to_stop(project: Project, found: Runs, pid: int | None, asked: dict[int, int | None]) -> None:
    if found.of_another_project and found.file != str(project.file):
        check_same(project, "stopping the platform")
    if pid is None:
        lock = StateFolder(project.state).supervisor_lock
        raise Unavailable(f"stopping the supervisor of {project.state}: it holds {lock}, but who it is cannot be told")
    asked[pid] = start_ticks(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _stop_all(project: Project) -> bool:
    """Adopt what a killed supervisor has left, only to stop it; the lock is held."""
    supervisor = open_supervisor(project)
    found = any(supervisor.processes.alive(record) for record in supervisor.processes.records())
    supervisor.stop()
    return found


def open_supervisor(project: Project, parts: Parts | None = None, **more: Any) -> Supervisor:
    """A supervisor in this process, which holds the lock. Unless `more` says so it keeps slots and gateway alone; without
    `parts` it can only stop."""
    from tidegate.rollout.local.supervisor import Supervisor

    state, config = StateFolder(project.state), LocalConfig.of(project)
    command = resolve(parts.slot_command) if parts else None
    beats, processes = wiring.heartbeats(state), wiring.processes(state)
    if parts:
        os.environ[ENVIRONMENT] = _clock(project, processes).to_text()  # inherited by all that it starts
    return Supervisor(
        state,
        config,
        processes,
        wiring.gateway(state, config),
        wiring.readiness(),
        lambda replica: command(project, replica) if command else (),
        **{"beat": lambda: beats.beat(SUPERVISOR), **more},
    )


def _clock(project: Project, processes: Processes) -> SteadyClock:
    """The state folder's clock, set anew by the wall clock when nothing runs and nothing is under way."""
    state, store = StateFolder(project.state), RolloutStore(StateFolder(project.state).rollouts)
    busy = any(processes.alive(record) for record in processes.records()) or any(map(store.unfinished, store.models()))
    return state_clock(state, renew=not busy)
