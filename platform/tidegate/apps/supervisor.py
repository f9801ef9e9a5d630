"""Processes of the local target: the supervisor, and the controller of each rollout.

    python -m tidegate.apps.supervisor supervise --state STATE --config tidegate.yaml
    python -m tidegate.apps.supervisor control --state STATE --config tidegate.yaml --model MODEL --rollout ID

SIGTERM drains and stops everything; SIGKILL of the supervisor leaves slots and gateway serving, and the next one, which its
watcher (`tidegate.apps.watcher`) or systemd starts, adopts them. Commands use `tidegate.apps.supervision`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from tidegate.adapters.files.project_file import project_with_state
from tidegate.adapters.machine.heartbeats import Beating
from tidegate.adapters.machine.process_identity import start_ticks
from tidegate.apps import wiring
from tidegate.apps.features import settle_features
from tidegate.apps.local_slot import local_slot
from tidegate.apps.project_changes import ProjectChanges
from tidegate.apps.retention import LogKeeper
from tidegate.apps.rollouts import FINISH, GATES, restore_wanted, run_controller, wanted_controllers
from tidegate.apps.scheduled import Shown, wanted_job
from tidegate.apps.supervision import PARTS, SLOT_COMMAND, SUPERVISOR, Parts, open_supervisor, supervisor_lock
from tidegate.apps.systemd import is_watching, notify
from tidegate.apps.trust import adopt_releases, release_watch
from tidegate.domain.errors import TidegateError
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder
from tidegate.files.private_folder import keep_private
from tidegate.ports.local import ProcessRecord
from tidegate.rollout.local.companions import Companion, Silence
from tidegate.rollout.local.replicas import Replica
from tidegate.rollout.local.supervisor_lock import SupervisorLock

INTERVAL = 0.1  # seconds between looks of the supervisor
STUCK = 45.0  # seconds of one part of a look after which it beats no more


def serving_command(project: Project, replica: Replica) -> list[str]:
    """What serves a release; every answer must carry `x-tidegate-release`, and SIGTERM must drain."""
    release = StateFolder(project.state).release(replica.release)
    return local_slot(project, release, replica.model, str(replica.slot), replica.port, replica.number).command()


def supervise(project: Project, parts: Parts = PARTS, watcher: int | None = None) -> None:
    """Run the supervisor until SIGTERM or SIGINT; raises Conflict when another one runs for this state folder.

    `watcher` is the pid of the watcher that started it: if that was ended meanwhile, everything was.
    """
    settle_features(project)
    state = StateFolder(project.state)
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    beating = Beating(wiring.heartbeats(state), SUPERVISOR, STUCK, also=lambda: notify("WATCHDOG=1"))
    with supervisor_lock(project, patience=2.0) as lock, beating:
        if watcher is not None and start_ticks(watcher) is None:
            return
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        following: Project | None = project
        while following is not None:
            following = _supervise(following, parts, lock, beating, stopping)


def _supervise(
    project: Project, parts: Parts, lock: SupervisorLock, beating: Beating, stopping: Sequence[int]
) -> Project | None:
    """Until it is told to stop, or another has taken its place; or until the project file has changed: that project is
    returned, and its supervisor adopts what runs."""
    changes = ProjectChanges(project)
    supervisor = open_supervisor(
        project,
        parts,
        controllers=wanted_controllers(project, parts.gates, parts.finish),
        restore=restore_wanted(project),
        watchers=() if is_watching() else [_watcher(project, parts)],
        schedules=sorted(project.schedules),
        job=wanted_job(project),
        silence=_silence(beating),
        beat=beating.stepped,
        models=sorted(project.models),
        changes=changes.look,
        releases=release_watch(project) if parts.slot_command == SLOT_COMMAND else None,  # who else serves needs none
    )
    supervisor.check_ports()
    adopt_releases(project)
    keeper, shown = LogKeeper(project), Shown(project)
    notify("READY=1")
    while not stopping:
        if not lock.keep():
            sys.stderr.write("another supervisor has taken the place of this one, and looks after what runs\n")
            return None
        supervisor.step()
        with suppress(OSError):  # a full disk: what can be removed is removed when it is asked for
            keeper.step()
        with suppress(TidegateError):  # metrics that cannot be written grow old, which is seen
            shown.step()
        if changes.found is not None:
            sys.stderr.write(f"the project file has changed: going on with {', '.join(sorted(changes.found.models))}\n")
            return changes.found
        time.sleep(INTERVAL)
    notify("STOPPING=1")
    supervisor.stop()
    return None


def _silence(beating: Beating) -> Silence:
    """How long others have not beaten; that says nothing while the supervisor cannot beat itself."""

    def silence(record: ProcessRecord) -> float | None:
        beat = beating.beats.last(record.name)
        return beat.age if beating.written and beat is not None and beat.pid == record.pid else None

    return silence


def _watcher(project: Project, parts: Parts) -> Companion:
    command = [sys.executable, "-m", "tidegate.apps.watcher", *parts.arguments(project)]
    return Companion("watcher", command, kind="watcher")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tidegate.apps.supervisor")
    commands = parser.add_subparsers(dest="command", required=True)
    supervising = commands.add_parser("supervise")
    controlling = commands.add_parser("control")
    for command in (supervising, controlling):
        command.add_argument("--state", type=Path, required=True)
        command.add_argument("--config", type=Path, required=True)
        command.add_argument("--gates", default=GATES)
        command.add_argument("--finish", default=FINISH)
    supervising.add_argument("--slot-command", default=SLOT_COMMAND)
    supervising.add_argument("--watcher", type=int, default=None, help="pid of the watcher that starts it")
    controlling.add_argument("--model", required=True)
    controlling.add_argument("--rollout", required=True)
    options = parser.parse_args(arguments)
    try:
        project = project_with_state(options.config, options.state)
        if problem := keep_private(project.state):
            sys.stderr.write(f"{problem}\n")
        if options.command == "supervise":
            supervise(project, Parts(options.slot_command, options.gates, options.finish), options.watcher)
        else:
            run_controller(project, options.model, options.rollout, options.gates, options.finish)
    except TidegateError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
