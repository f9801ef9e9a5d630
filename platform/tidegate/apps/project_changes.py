"""A project file that changes while the platform runs: what a supervisor takes over as it goes on, and what it cannot."""

from __future__ import annotations

from tidegate import __version__
from tidegate.adapters.files.project_file import project_with_state
from tidegate.domain.errors import Conflict, TidegateError
from tidegate.domain.project import Project
from tidegate.rollout.local.supervisor_lock import Runs


class ProjectChanges:
    """`found` is the project as its file says it now, once that is something else which can be taken over without a stop:
    models, datasets, schedules, limits. Ports, replicas, the model at `/` and the online store need one."""

    def __init__(self, project: Project) -> None:
        self.found: Project | None = None
        self._project, self._problem = project, ""
        self._seen = self._stamp()

    def look(self) -> None:
        """Raises Conflict with what the file says and cannot be taken over, for as long as it says so."""
        if (stamp := self._stamp()) != self._seen:
            self._seen, self._problem = stamp, ""
            try:
                self._compare(project_with_state(self._project.file, self._project.state))
            except TidegateError as error:
                self._problem = str(error)
        if self._problem:
            raise Conflict(f"the project file has changed; what runs goes on as it was: {self._problem}")

    def _compare(self, found: Project) -> None:
        before, now = (Runs.of(each, __version__) for each in (self._project, found))
        differences = before.differences(now)
        if found.local.online_store != self._project.local.online_store:
            differences.append("another onlineStore")
        if differences:
            raise Conflict(f"it runs with {', '.join(differences)}; 'tidegate down' and 'tidegate up' take what is new")
        if found != self._project:
            self.found = found

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            now = self._project.file.stat()
        except OSError:
            return None  # being replaced, or gone: what was read last goes on
        return now.st_mtime_ns, now.st_size, now.st_ino
