"""A project's processes on this machine: started, stopped, looked for, and one release served by itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate.apps.opened import OpenedProject
from tidegate.domain.errors import Unavailable


@dataclass(frozen=True)
class Running:
    """What `up` left running; `live` is the release id that answers for each model, or None."""

    supervisor: int
    gateway_url: str
    live: Mapping[str, str | None]


class ProjectProcesses(OpenedProject):
    def up(self, wait: bool = False) -> Running:
        """Start supervisor and gateway unless they run; with `wait`, until what is live is ready too. Raises Unavailable."""
        from tidegate.apps.supervision import await_live, ensure_supervisor

        pid = ensure_supervisor(self.project)
        active = {model: self.target.desired(model).active_release for model in self.project.models}
        live = {model: f"{model}@{digest[:12]}" if digest else None for model, digest in active.items()}
        if wait:
            await_live(self.target, [model for model, digest in active.items() if digest])
        return Running(pid, self.target.gateway_url, live)

    def is_up(self) -> bool:
        from tidegate.apps.supervision import supervisor_pid

        return supervisor_pid(self.state) is not None

    def started_otherwise(self) -> str:
        """What the supervisor that runs was started with, where that is not what this project says; else empty."""
        from tidegate.apps.supervision import started_otherwise

        return started_otherwise(self.project)

    def schedule_problems(self, model: str) -> list[str]:
        """What is wrong with the schedules whose command names the model, or no model; a sentence each."""
        from tidegate.apps.scheduled import problems_of

        return problems_of(self.project, model)

    def down(self) -> bool:
        """Drain and stop everything; False when nothing ran."""
        from tidegate.apps.supervision import stop_supervisor

        return stop_supervisor(self.project)

    def serving_arguments(self, release: str, port: int, slot: str) -> list[str]:
        """The command line that serves one release by itself."""
        from tidegate.apps.local_slot import local_slot

        manifest, folder = self.releases.open(release)
        return local_slot(self.project, folder, manifest.model, slot, port).command()

    def serve(self, arguments: Sequence[str]) -> None:
        """Become the serving process; does not return."""
        self.state.logs.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        try:
            os.execv(arguments[0], list(arguments))  # noqa: S606 (a list that we built, no shell)
        except OSError as error:
            raise Unavailable(f"serving: {arguments[0]} cannot be started ({error.strerror})") from error
