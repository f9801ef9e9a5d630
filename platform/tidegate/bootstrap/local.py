"""Processes of the local target: the supervisor, and the controller of each rollout.

    python -m tidegate.bootstrap.local supervise --state STATE --config tidegate.yaml
    python -m tidegate.bootstrap.local control --state STATE --config tidegate.yaml --model MODEL --rollout ID

`ensure_supervisor` and `stop_supervisor` are what commands call. One supervisor runs for a state folder (a lock that the
system releases when the process ends, however it ends). SIGTERM drains and stops everything; SIGKILL leaves slots and
gateway serving, and the next supervisor adopts them.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tidegate import __version__
from tidegate.bootstrap.rollouts import FINISH, GATES, resolve, restore_wanted, run_controller, wanted_controllers
from tidegate.domain.clocks import ENVIRONMENT, Reading, SteadyClock
from tidegate.domain.errors import Conflict, TidegateError, Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.private_folder import keep_private
from tidegate.domain.project import Project
from tidegate.ports.local import Processes
from tidegate.rollout.replicas import Replica, SlotCommand
from tidegate.rollout.state import RolloutStore
from tidegate.rollout.state_clock import state_clock
from tidegate.rollout.state_folder import StateFolder, read_observed
from tidegate.rollout.supervisor_lock import Runs, SupervisorLock, running

if TYPE_CHECKING:
    from tidegate.adapters.local_target import LocalTarget

INTERVAL = 0.1  # seconds between looks of the supervisor
SLOT_COMMAND = "tidegate.bootstrap.local:serving_command"


def open_project(config: Path, state: Path | None) -> Project:
    """The project of file `config`, its state folder replaced by `state` if given."""
    from dataclasses import replace

    from tidegate.adapters.project_file import load_project

    project = load_project(config)
    return replace(project, state=state.resolve()) if state else project


def serving_command(project: Project, replica: Replica) -> list[str]:
    """What serves a release; every answer must carry `x-tidegate-release`, and SIGTERM must drain."""
    state = StateFolder(project.state)
    return [
        *[sys.executable, "-m", "tidegate.bootstrap.serving", "--release-folder", str(state.release(replica.release))],
        *["--model", replica.model, "--slot", str(replica.slot), "--replica", str(replica.number)],
        *["--port", str(replica.port), "--online", LocalConfig.of(project).online(project.state), "--log-dir", str(state.logs)],
    ]


def supervise(project: Project, slot_command: str = SLOT_COMMAND, gates: str = GATES, finish: str = FINISH) -> None:
    """Run the supervisor until SIGTERM or SIGINT; raises Conflict when another one runs for this state folder."""
    from tidegate.adapters.envoy_routes import EnvoyRouter
    from tidegate.adapters.local_processes import LocalProcesses, ReadinessProbe
    from tidegate.rollout.supervisor import Supervisor

    state, config = StateFolder(project.state), LocalConfig.of(project)
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    with supervisor_lock(project) as lock:
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        command: Callable[[Project, Replica], Sequence[str]] = resolve(slot_command)
        build: SlotCommand = lambda replica: command(project, replica)  # noqa: E731 - a closure over the project
        processes = LocalProcesses(state.pids)
        os.environ[ENVIRONMENT] = _clock(project, processes).to_text()  # inherited by all that it starts
        supervisor = Supervisor(
            state,
            config,
            processes,
            EnvoyRouter(state.envoy, state.logs, config),
            ReadinessProbe(),
            build,
            wanted_controllers(project, gates, finish),
            restore_wanted(project),
        )
        supervisor.check_ports()
        while not stopping:
            if not lock.keep():
                sys.stderr.write("another supervisor has taken the place of this one, and looks after what runs\n")
                return
            supervisor.step()
            time.sleep(INTERVAL)
        supervisor.stop()


def _clock(project: Project, processes: Processes) -> SteadyClock:
    """The state folder's clock, set anew by the wall clock when nothing runs and nothing is under way."""
    state, store = StateFolder(project.state), RolloutStore(project.rollouts_dir)
    busy = any(processes.alive(record) for record in processes.records()) or any(map(store.unfinished, store.models()))
    return state_clock(state, renew=not busy)


@contextmanager
def supervisor_lock(project: Project) -> Iterator[SupervisorLock]:
    """Held by the one supervisor of a state folder, with a note of what it was started with; raises Conflict."""
    state = StateFolder(project.state)
    lock = SupervisorLock.take(state.supervisor_lock, Runs.of(project, __version__, os.getpid()))
    if lock is None:
        raise Conflict(f"starting a supervisor for {state.root}: one is running already (pid {supervisor_pid(state)})")
    try:
        yield lock
    finally:
        lock.release()


def supervisor_pid(state: StateFolder) -> int | None:
    """The running supervisor's pid, or None: the lock says whether it runs, the system or the file who it is."""
    found = running(state.supervisor_lock)
    return found.pid if found else None


def check_same(project: Project, attempt: str) -> None:
    """Raise Conflict when the supervisor that runs for the state folder was started with another project file or ports."""
    found = running(StateFolder(project.state).supervisor_lock)
    differences = found.differences(Runs.of(project, __version__)) if found else []
    if found and differences:
        command = f"tidegate -C {found.file} down" if found.of_another_project else "tidegate down"
        raise Conflict(
            f"{attempt}: the supervisor of {project.state} (pid {found.pid}) was started with {', '.join(differences)}; "
            f"nothing was changed: end it with '{command}' first, or use what it was started with"
        )


def ensure_supervisor(
    project: Project, slot_command: str = SLOT_COMMAND, gates: str = GATES, finish: str = FINISH, timeout: float = 20.0
) -> int:
    """Start the supervisor detached unless it runs; returns its pid once it has looked and the gateway is up.

    Raises Unavailable with the supervisor's own words when it cannot start (a taken port, say).
    """
    state = StateFolder(project.state)
    check_same(project, "starting the platform")
    child = None
    called, deadline = Reading.now(), time.monotonic() + timeout
    while time.monotonic() < deadline:
        pid = supervisor_pid(state)
        observed = read_observed(state)
        # it has to look once more: a supervisor that is just being killed still holds its lock for a moment
        looked = observed is not None and observed.get("supervisor") == pid
        looked = looked and called.seconds_until(Reading.from_json(observed or {"at": 0})) > 0
        if pid and observed and looked and observed["gateway"]["ready"]:
            return pid
        if child is None and pid is None:
            child = _spawn_supervisor(project, state, slot_command, gates, finish)
        elif child is not None and child.poll() is not None and supervisor_pid(state) is None:
            raise Unavailable(_last_words(state))
        time.sleep(0.05)
    observed = read_observed(state) or {}
    problems = "; ".join(observed.get("problems", {}).values()) or f"see {state.supervisor_log}"
    raise Unavailable(f"starting the supervisor of {state.root}: the gateway was not up after {timeout:g} s: {problems}")


def _spawn_supervisor(
    project: Project, state: StateFolder, slot_command: str, gates: str, finish: str
) -> subprocess.Popen[bytes]:
    state.logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tidegate.bootstrap.local", "supervise", "--state", str(project.state)]
    command += ["--config", str(project.file), "--slot-command", slot_command]
    command += ["--gates", gates, "--finish", finish]
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
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"starting what is live of {model}: {found.ready} of {found.wanted} replicas in {found.slot} are ready "
                    f"after {timeout:g} s; 'tidegate status {model}' shows more, the processes' logs are in {target.state.logs}"
                )
            time.sleep(INTERVAL)


def stop_supervisor(project: Project, timeout: float = 60.0) -> bool:
    """Drain and stop everything of this state folder, whether or not its supervisor still runs; False if nothing ran.

    What is wanted stays recorded, so the next start brings back the same releases in the same slots.
    """
    state = StateFolder(project.state)
    found = running(state.supervisor_lock)
    if found is None:
        return _stop_orphans(project, state)
    if found.of_another_project and found.file != str(project.file):
        check_same(project, "stopping the platform")
    pid = found.pid
    if pid is None:
        raise Unavailable(
            f"stopping the supervisor of {state.root}: it holds {state.supervisor_lock}, but who it is cannot be told"
        )
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if supervisor_pid(state) is None and not _runs(pid):
            _stop_orphans(project, state)  # of a supervisor that was being killed and held its lock for a moment more
            return True
        time.sleep(0.05)
    raise Unavailable(
        f"stopping the supervisor of {state.root}: pid {pid} still runs after {timeout:g} s; see {state.supervisor_log}"
    )


def _runs(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _stop_orphans(project: Project, state: StateFolder) -> bool:
    """A killed supervisor leaves its processes: adopt them only to stop them."""
    from tidegate.adapters.envoy_routes import EnvoyRouter
    from tidegate.adapters.local_processes import LocalProcesses, ReadinessProbe
    from tidegate.rollout.supervisor import Supervisor

    with ExitStack() as held:
        with suppress(Unavailable):  # on a disk that takes no lock, no other supervisor starts either
            held.enter_context(supervisor_lock(project))
        config, processes = LocalConfig.of(project), LocalProcesses(state.pids)
        found = any(processes.alive(record) for record in processes.records())
        router = EnvoyRouter(state.envoy, state.logs, config)
        Supervisor(state, config, processes, router, ReadinessProbe(), lambda _: ()).stop()
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.bootstrap.local")
    commands = parser.add_subparsers(dest="command", required=True)
    supervising = commands.add_parser("supervise")
    controlling = commands.add_parser("control")
    for command in (supervising, controlling):
        command.add_argument("--state", type=Path, required=True)
        command.add_argument("--config", type=Path, required=True)
        command.add_argument("--gates", default=GATES)
        command.add_argument("--finish", default=FINISH)
    supervising.add_argument("--slot-command", default=SLOT_COMMAND)
    controlling.add_argument("--model", required=True)
    controlling.add_argument("--rollout", required=True)
    options = parser.parse_args(arguments)
    try:
        project = open_project(options.config, options.state)
        if problem := keep_private(project.state):
            sys.stderr.write(f"{problem}\n")
        if options.command == "supervise":
            supervise(project, options.slot_command, options.gates, options.finish)
        else:
            run_controller(project, options.model, options.rollout, options.gates, options.finish)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
