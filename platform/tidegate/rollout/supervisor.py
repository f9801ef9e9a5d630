"""The local target's supervisor: compares what is wanted with what runs, a few times a second, and acts on the difference.

All processes are detached and their records are on disk, so the supervisor may be killed at any moment: traffic goes on,
and the next supervisor adopts what runs. It is the only writer of Envoy's routes. A slot gets live traffic only while it
has ready replicas of the wanted release; until then the slot that was routed before keeps it.

Limits: one machine; a gateway that dies loses its open connections, and is back with the same routes within about half
a second.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidegate.domain.durable_files import replace_durably
from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Desired, Slot
from tidegate.ports.local import ModelRoutes, Probe, Processes, ProcessRecord, Router
from tidegate.rollout.replicas import Backoff, Replicas, SlotCommand
from tidegate.rollout.state_folder import StateFolder, all_desired

ENVOY = "envoy"
T = TypeVar("T")
HEARTBEAT = 0.5  # seconds between observations that say the same


@dataclass(frozen=True)
class Controller:
    """A process that drives one rollout; `name` is unique to it."""

    name: str
    command: Sequence[str]


class Supervisor:
    """`step` is one look and what follows from it; `stop` drains and ends everything."""

    def __init__(
        self,
        state: StateFolder,
        config: LocalConfig,
        processes: Processes,
        router: Router,
        probe: Probe,
        slot_command: SlotCommand,
        controllers: Callable[[], Sequence[Controller]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.state, self.config, self.processes, self.router = state, config, processes, router
        self.controllers, self.clock, self.sleep = controllers, clock, sleep
        self.replicas = Replicas(processes, probe, router, config, slot_command, state.logs, clock)
        self.backoff = Backoff()
        self.problems: dict[str, str] = {}
        self._written: tuple[str, float] = ("", -1e9)

    def check_ports(self) -> None:
        """Raise Unavailable naming the port, if one that Envoy needs is taken by someone else."""
        if any(record.name == ENVOY and self.processes.alive(record) for record in self.processes.records()):
            return
        for port, key in ((self.config.gateway_port, "gatewayPort"), (self.config.admin_port, "adminPort")):
            if not self.processes.port_free(port):
                raise Unavailable(
                    f"starting the gateway: port {port} is taken by another process; "
                    f"stop that one or set targets.local.{key} in tidegate.yaml to a free port"
                )

    def step(self) -> None:
        desired = self._attempt("desired", lambda: all_desired(self.state))
        if desired is not None:
            self._attempt("replicas", lambda: self.replicas.reconcile(desired))
            self._attempt("routes", lambda: self.router.apply([self._routes(want) for want in desired]))
        self._attempt("gateway", self._keep_gateway)
        self._attempt("controllers", self._keep_controllers)
        self._attempt("observed", lambda: self._observe(desired or []))

    def _attempt(self, name: str, act: Callable[[], T]) -> T | None:
        """One part failing (a full disk, a damaged file) must not keep the others from being looked after."""
        try:
            result = act()
        except TidegateError as error:
            self.problems[name] = str(error)
            return None
        self.problems.pop(name, None)
        return result

    def _routes(self, want: Desired) -> ModelRoutes:
        endpoints = {slot: self.replicas.endpoints(want.model, slot, want.release_of(slot)) for slot in Slot}
        before = next((r.active for r in self.router.applied() if r.model == want.model), None)
        active = want.active
        if active is not None and not endpoints[active] and before is not None and endpoints[before]:
            active = before  # not ready yet: whoever serves goes on serving
        mirror = want.mirror and active is want.active and active is not None and bool(endpoints[active.other])
        return ModelRoutes(want.model, active, mirror, endpoints)

    def _keep_gateway(self) -> None:
        record = next((r for r in self.processes.records() if r.name == ENVOY), None)
        if record is not None and self.processes.alive(record):
            return
        if record is not None:
            self.processes.forget(record)
        if self.backoff.may_start(ENVOY, self.clock()):
            self.backoff.started(ENVOY, self.clock())
            self.check_ports()
            self.processes.start(ENVOY, self.router.command(), {"kind": "envoy"}, self.state.logs / "envoy-output.log")

    def _keep_controllers(self) -> None:
        wanted = {controller.name: controller for controller in self.controllers()}
        running = {}
        for record in [r for r in self.processes.records() if r.labels.get("kind") == "control"]:
            if self.processes.alive(record):
                running[record.name] = record
            else:
                self.processes.forget(record)
        for name, controller in wanted.items():
            if name not in running and self.backoff.may_start(name, self.clock()):
                self.backoff.started(name, self.clock())
                self.processes.start(name, controller.command, {"kind": "control"}, self.state.logs / f"{name}.log")

    def _observe(self, desired: Sequence[Desired]) -> None:
        gateway = next((r for r in self.processes.records() if r.name == ENVOY and self.processes.alive(r)), None)
        content: Mapping[str, object] = {
            "supervisor": os.getpid(),
            "gateway": {
                "pid": gateway.pid if gateway else None,
                "port": self.config.gateway_port,
                "ready": gateway is not None and self.router.ready(),
            },
            "models": {want.model: self.replicas.observed(want) for want in desired},
            "problems": {**self.problems, **self.replicas.problems},
        }
        text = json.dumps(content)
        if text != self._written[0] or self.clock() - self._written[1] >= HEARTBEAT:
            replace_durably(self.state.observed, json.dumps({"at": time.time(), **content}).encode())
            self._written = (text, self.clock())

    def stop(self) -> None:
        """Controllers, then the gateway's listener and its requests in flight, then slots, then the gateway."""
        self._end([r for r in self.processes.records() if r.labels.get("kind") == "control"])
        self._attempt("drain", self._drain)
        self._end([r for r in self.processes.records() if r.labels.get("kind") == "slot"])
        self._end(self.processes.records())
        self.state.observed.unlink(missing_ok=True)

    def _drain(self) -> None:
        self.router.drain()
        deadline = self.clock() + self.config.drain_seconds
        while self.router.downstream_active() and self.clock() < deadline:
            self.sleep(0.05)

    def _end(self, records: Sequence[ProcessRecord]) -> None:
        for record in records:
            self.processes.terminate(record)
        deadline = self.clock() + self.config.stop_seconds
        while any(self.processes.alive(record) for record in records) and self.clock() < deadline:
            self.sleep(0.05)
        for record in records:
            self.processes.terminate(record, force=True)
            killed = self.clock() + 2.0
            while self.processes.alive(record) and self.clock() < killed:
                self.sleep(0.02)
            self.processes.forget(record)
