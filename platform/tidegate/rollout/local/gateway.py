"""The gateway's process: started once it has somebody to send requests to, and again when it dies or hangs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.ports.local import Probe, Processes, ProcessRecord, Router
from tidegate.rollout.local.backoff import Backoff

ENVOY = "envoy"
READY = "/ready"
HUNG = 8.0  # seconds without any answer after which a process that answered is killed
START = 20.0  # the same for one that was just started
OPEN_ANYWAY = 30.0  # seconds after which it opens without the models that are not there


class Gateway:
    def __init__(
        self,
        processes: Processes,
        router: Router,
        probe: Probe,
        config: LocalConfig,
        logs: Path,
        clock: Callable[[], float],
    ) -> None:
        self.processes, self.router, self.probe, self.config, self.logs = processes, router, probe, config, logs
        self.clock = clock
        self.backoff = Backoff()
        self.was_ready = False
        self._started: float | None = None  # when the process that has not been ready yet was started
        self._waiting: float | None = None

    @property
    def process(self) -> ProcessRecord | None:
        """The one that runs."""
        return next((r for r in self.processes.records() if r.name == ENVOY and self.processes.alive(r)), None)

    @property
    def waits(self) -> bool:
        """Whether it is not opened yet for want of replicas."""
        return self.process is None and self._waiting is not None

    def check_ports(self) -> None:
        """Raise Unavailable naming the port, if one that the gateway needs is taken by someone else."""
        if self.process is not None:
            return
        for port, key in ((self.config.gateway_port, "gatewayPort"), (self.config.admin_port, "adminPort")):
            if not self.processes.port_free(port):
                raise Unavailable(
                    f"starting the gateway: port {port} is taken by another process; "
                    f"stop that one or set targets.local.{key} in tidegate.yaml to a free port"
                )

    def ready(self) -> bool:
        if self.process is None or not self.probe.ready(ENVOY, self.config.admin_port, READY):
            return False
        self.was_ready, self._started = True, None
        self.backoff.lasted(ENVOY)
        return True

    def keep(self, without: Sequence[str]) -> None:
        """Start what is dead and end what hangs. While the live releases of the models `without` have no replica, clients
        would be answered 503 in a release's name: the port stays shut for them, but not for ever."""
        if (running := self.process) is not None:
            if not self.ready() and self.probe.silent_seconds(ENVOY) > (HUNG if self._started is None else START):
                self.processes.terminate(running, force=True)
            return
        for record in [r for r in self.processes.records() if r.name == ENVOY]:
            self.processes.forget(record)
            self.probe.forget(ENVOY)
        if self._waits(without):
            raise Unavailable(f"the gateway opens once what is live of {', '.join(without)} is ready")
        self.check_ports()  # a port that a killed gateway still holds for a moment is no start that failed
        if self.backoff.may_start(ENVOY, self.clock()):
            command = self.router.command()
            self.backoff.started(ENVOY, self.clock())
            self._started = self.clock()
            log = self.logs / "envoy-output.log"
            self.processes.start(ENVOY, command, {"kind": "envoy"}, log, self.router.home)

    def _waits(self, without: Sequence[str]) -> bool:
        if not without:
            self._waiting = None
            return False
        if self._waiting is None:
            self._waiting = self.clock()
        return self.clock() - self._waiting < OPEN_ANYWAY
