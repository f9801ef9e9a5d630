"""A way back that needs no supervisor: whoever follows it does the supervisor's and the controller's steps where nobody does.

A supervisor that died or hangs, and whose watcher did too, must not leave a failing release live. `Standby` takes the
supervisor's lock (from one that hangs, after it was ended), and from then on makes the same steps in this process: processes
and routes as wanted, and the engine's. It lets go of the lock when it is closed; what it started goes on running.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from tidegate.adapters.machine.process_identity import owned
from tidegate.apps import wiring
from tidegate.apps.rollouts import open_engine, open_store
from tidegate.apps.supervision import HUNG, PARTS, SUPERVISOR, Parts, end_hung, open_supervisor, supervisor_lock
from tidegate.domain.errors import Conflict, TidegateError
from tidegate.domain.project import Project
from tidegate.files.layout import StateFolder
from tidegate.rollout.local.companions import HUNG as COMPANION_HUNG
from tidegate.rollout.local.follow import follow
from tidegate.rollout.local.supervisor_lock import running
from tidegate.rollout.state import Rollout

if TYPE_CHECKING:
    from tidegate.rollout.engine import Engine
    from tidegate.rollout.local.supervisor import Supervisor


def is_looked_after(state: StateFolder) -> bool:
    """Whether a supervisor runs that has shown signs of life; one that has not beaten yet may be starting."""
    holder = running(state.supervisor_lock)
    if holder is None:
        return False
    beat = wiring.heartbeats(state).last(SUPERVISOR)
    return beat is None or beat.pid != holder.pid or beat.age <= HUNG


def free_locks(project: Project) -> None:
    """Before an order is given where nobody looks after the state folder: a controller that hangs may hold its lock."""
    state = StateFolder(project.state)
    if not is_looked_after(state):
        end_hung_companions(state)


def end_hung_companions(state: StateFolder) -> None:
    """Kill controllers that beat no more: one that was stopped in the middle of a step holds its rollout's lock."""
    beats = wiring.heartbeats(state)
    for path in state.beats.glob("control-*"):
        beat = beats.last(path.name)
        if beat is not None and beat.age > COMPANION_HUNG and beat.runs and owned(beat.pid, state.target):
            with suppress(ProcessLookupError):
                os.kill(beat.pid, signal.SIGKILL)


class Standby:
    """Call `look` a few times a second; it does something only while no supervisor looks after the state folder."""

    def __init__(self, project: Project, model: str, id: str, parts: Parts = PARTS) -> None:
        self.project, self.model, self.id, self.parts = project, model, id, parts
        self.state = StateFolder(project.state)
        self.acted = False
        self._held = ExitStack()
        self._works: tuple[Supervisor, Engine] | None = None

    def look(self) -> None:
        if self._works is None and not is_looked_after(self.state):
            self._take()
        if self._works is None:
            return
        supervisor, engine = self._works
        supervisor.step()
        rollout = engine.step(self.model, self.id)
        if not is_way_back(rollout):
            self.close()

    def _take(self) -> None:
        end_hung(self.state)
        end_hung_companions(self.state)
        with suppress(Conflict):  # a supervisor is back
            self._held.enter_context(supervisor_lock(self.project, patience=1.0))
            engine = open_engine(self.project, self.model, self.parts.gates, self.parts.finish)
            self._works = open_supervisor(self.project, self.parts), engine
            self.acted = True

    def close(self) -> None:
        self._works = None
        self._held.close()

    def __enter__(self) -> Standby:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_way_back(rollout: Rollout) -> bool:
    """Whether it is a way back that is not at its end."""
    back = rollout.kind == "rollback" or rollout.undo is not None or rollout.request is not None
    return back and not rollout.status.terminal


def follow_as_standby(
    project: Project, model: str, id: str, say: Callable[[str], None], up: Callable[[], object], parts: Parts = PARTS
) -> Rollout:
    """Follow a rollout until it settles. While no supervisor does, this process goes a way back; `up` then starts one."""
    store = open_store(project)
    with Standby(project, model, id, parts) as standby:

        def pause(seconds: float) -> None:
            if is_way_back(store.load(model, id)):
                standby.look()
            time.sleep(seconds)

        found = follow(store, model, id, lambda event: say(event["message"]), pause)
    if standby.acted:
        try:
            up()
        except TidegateError as error:
            say(f"the way back is done, but no supervisor could be started: {error}")
    return found
