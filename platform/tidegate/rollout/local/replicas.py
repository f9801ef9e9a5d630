"""Replicas of the slots: start what is wanted, take from the route what is not, and stop it once it is idle.

A replica that dies is started again at once if it was ready before, and ever later if it never was; one that hangs is
killed, and one that says it is not ready, while another of its slot is, is replaced. A replica is retired in order: out of
the endpoints, no request in flight (bounded by `drain_seconds`), SIGTERM, and after `stop_seconds` SIGKILL. Nothing is
retired from a slot that the proxy still routes to, unless the slot keeps replicas of the wanted release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from tidegate.domain.errors import Unavailable
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Desired, Slot
from tidegate.ports.local import Probe, Processes, ProcessRecord, Router
from tidegate.rollout.local.backoff import Backoff
from tidegate.rollout.local.failed_starts import FailedStarts

HUNG = 8.0  # seconds without any answer after which a replica that answered is killed
START = 90.0  # the same for one that has never answered
UNREADY = 20.0  # seconds after which one that was ready and says it is not is replaced, if another of its slot is ready
Clock = Callable[[], float]


@dataclass(frozen=True)
class Replica:
    """What a slot's command is built from."""

    model: str
    slot: Slot
    number: int
    release: str
    port: int

    @property
    def name(self) -> str:
        return f"slot-{self.model}-{self.slot}-{self.number}-{self.release[:12]}"

    @property
    def labels(self) -> Mapping[str, object]:
        return {
            "kind": "slot",
            "model": self.model,
            "slot": str(self.slot),
            "replica": self.number,
            "release": self.release,
            "port": self.port,
        }


SlotCommand = Callable[[Replica], Sequence[str]]


def replica_of(record: ProcessRecord) -> Replica:
    labels = record.labels
    return Replica(labels["model"], Slot(labels["slot"]), labels["replica"], labels["release"], labels["port"])


class Replicas:
    """Keeps the processes of all slots as wanted; one `reconcile` is short and never waits."""

    def __init__(
        self,
        processes: Processes,
        probe: Probe,
        router: Router,
        config: LocalConfig,
        command: SlotCommand,
        logs: Path,
        clock: Clock,
    ) -> None:
        self.processes, self.probe, self.router = processes, probe, router
        self.config, self.command, self.logs, self.clock = config, command, logs, clock
        self.backoff = Backoff()
        self._retired: dict[str, float] = {}  # name -> when it left the endpoints
        self._asked: dict[str, float] = {}  # name -> when SIGTERM was sent
        # after a restart nothing is probed yet, and what was routed to until now is what must go on being routed to
        routed = {port for routes in router.applied() for ports in routes.endpoints.values() for port in ports}
        self._was_ready = {record.name for record in processes.records() if record.labels.get("port") in routed}
        self.failed = FailedStarts(logs)
        self._refused: dict[str, str] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        return {**self._refused, **self.failed.problems}

    def of(self, model: str, slot: Slot) -> list[ProcessRecord]:
        return [
            record
            for record in self.processes.records()
            if record.labels.get("kind") == "slot" and (record.labels["model"], record.labels["slot"]) == (model, slot)
        ]

    def reconcile(self, desired: Sequence[Desired]) -> None:
        wanted = {
            (want.model, slot, number): release
            for want in desired
            for slot in Slot
            if (release := want.release_of(slot)) is not None
            for number in range(self.config.replicas)
        }
        for record in [r for r in self.processes.records() if r.labels.get("kind") == "slot"]:
            replica = replica_of(record)
            if wanted.get((replica.model, replica.slot, replica.number)) == replica.release:
                self._retired.pop(record.name, None)
                if record.name in self._asked:
                    self._clear(record)
                elif not self.processes.alive(record):
                    self._died(record, replica)
                else:
                    self._heal(record, replica)
            else:
                self._retire(record, replica)
        names = {record.name for record in self.processes.records()}
        missing = [Replica(*place, release, 0) for place, release in wanted.items()]
        self._forget_unwanted({replica.name for replica in missing})
        for replica in missing:
            if replica.name not in names:
                self._start(replica)

    def _forget_unwanted(self, wanted: Set[str]) -> None:
        """What is not wanted any more is no problem."""
        self.failed.keep_only(wanted)
        self._refused = {name: why for name, why in self._refused.items() if name in wanted}

    def _died(self, record: ProcessRecord, replica: Replica) -> None:
        if record.name not in self._was_ready:
            self.failed.ended(record.name, replica, self.processes.exit_code(record))
        self._clear(record)

    def _heal(self, record: ProcessRecord, replica: Replica) -> None:
        """A process that answers nothing is killed. One that answers that it is not ready may lack what all of them share,
        and then a restart would only make it worse."""
        if self.ready(record):
            return
        silent = self.probe.silent_seconds(record.name)
        if silent > (HUNG if record.name in self._was_ready else START):
            self.processes.terminate(record, force=True)
        elif self.probe.unready_seconds(record.name) > UNREADY and any(
            self.ready(other) for other in self.of(replica.model, replica.slot) if other.labels["release"] == replica.release
        ):
            self.processes.terminate(record)
            self._asked[record.name] = self.clock()

    def _clear(self, record: ProcessRecord) -> None:
        """Forget a process that is dead (with what is left of its group), so that another can take its place."""
        if self.processes.alive(record):
            self._kill_when_late(record)
            return
        self.processes.terminate(record, force=True)
        self.processes.forget(record)
        self.probe.forget(record.name)
        self._was_ready.discard(record.name)
        for known in (self._retired, self._asked):
            known.pop(record.name, None)

    def _retire(self, record: ProcessRecord, replica: Replica) -> None:
        now = self.clock()
        if not self.processes.alive(record):
            self._clear(record)
            return
        if record.name in self._asked:
            self._kill_when_late(record)
            return
        since = self._retired.setdefault(record.name, now)
        if self._routed_to(replica):
            self._retired[record.name] = now  # its time to drain begins once nothing is routed to it
            return
        if now - since < 0.3 or (self._in_flight(replica) and now - since < self.config.drain_seconds):
            return
        self.processes.terminate(record)
        self._asked[record.name] = now

    def _kill_when_late(self, record: ProcessRecord) -> None:
        if self.clock() - self._asked[record.name] > self.config.stop_seconds:
            self.processes.terminate(record, force=True)

    def _routed_to(self, replica: Replica) -> bool:
        try:
            active, mirror = self.router.routed(replica.model)
        except Unavailable:
            return False  # a proxy that is not there routes nothing
        if replica.slot is active or (mirror and active is not None and replica.slot is active.other):
            return any(
                replica.port in ports
                for routes in self.router.applied()
                if routes.model == replica.model
                for slot, ports in routes.endpoints.items()
                if slot is replica.slot
            )
        return False

    def _in_flight(self, replica: Replica) -> int:
        try:
            return self.router.in_flight(replica.model, replica.slot)
        except Unavailable:
            return 0

    def _start(self, wanted: Replica) -> None:
        if not self.backoff.may_start(wanted.name, self.clock()):
            return
        self.backoff.started(wanted.name, self.clock())
        try:
            replica = replace(wanted, port=self._free_port())
            log = self.logs / f"{replica.model}-{replica.slot}-{replica.number}.log"
            self.failed.starting(replica.name, log)
            self.processes.start(replica.name, self.command(replica), replica.labels, log)
            self._refused.pop(replica.name, None)
        except Unavailable as error:
            self._refused[wanted.name] = str(error)

    def _free_port(self) -> int:
        first, count = self.config.slot_ports, self.config.slot_port_count
        taken = {record.labels.get("port") for record in self.processes.records()}
        taken |= {self.config.gateway_port, self.config.admin_port}
        for port in range(first, first + count):
            if port not in taken and self.processes.port_free(port):
                return port
        raise Unavailable(
            f"starting a slot's replica: none of the ports {first} to {first + count - 1} is free; "
            "stop what holds them or set targets.local.slotPorts in tidegate.yaml"
        )

    def ready(self, record: ProcessRecord) -> bool:
        """Whether a replica answers `/readyz` now and may take traffic."""
        if record.name in self._retired or record.name in self._asked or not self.processes.alive(record):
            return False
        ready = self.probe.ready(record.name, record.labels["port"], release=record.labels["release"])
        if ready:
            self._was_ready.add(record.name)
            self.backoff.lasted(record.name)
            self.failed.lasted(record.name)
        return ready

    def endpoints(self, model: str, slot: Slot, release: str | None) -> tuple[int, ...]:
        """Ports that may take the slot's traffic: ready replicas of `release`; if none is ready now, those that were
        and still run (all of them failing their probe at once says more about what they share than about them)."""
        records = [r for r in self.of(model, slot) if r.labels["release"] == release and r.name not in self._retired]
        ready = [r.labels["port"] for r in records if self.ready(r)]
        fallen = [r.labels["port"] for r in records if r.name in self._was_ready and self.processes.alive(r)]
        return tuple(sorted(ready or fallen))

    def observed(self, desired: Desired, routed: Mapping[Slot, Sequence[int]]) -> Mapping[str, object]:
        """The slots of one model for `observed.json`. A replica is ready there once its port is `routed` to as well: whoever
        reads that both are may stop the other one."""
        return {str(slot): self._observed_slot(desired, slot, routed.get(slot, ())) for slot in Slot}

    def _observed_slot(self, desired: Desired, slot: Slot, routed: Sequence[int]) -> Mapping[str, object]:
        records = [record for record in self.of(desired.model, slot) if self.processes.alive(record)]
        replicas = [
            {
                "replica": record.labels["replica"],
                "port": record.labels["port"],
                "pid": record.pid,
                "release": record.labels["release"],
                "ready": self.ready(record) and record.labels["port"] in routed,
            }
            for record in records
        ]
        releases = {str(replica["release"]) for replica in replicas}
        wanted = desired.release_of(slot)
        only = releases.pop() if len(releases) == 1 else None
        return {
            "release": only,  # None while two releases run, one of them on its way out
            "wanted": self.config.replicas if wanted else 0,
            "ready": sum(1 for replica in replicas if replica["ready"] and replica["release"] == wanted),
            "problem": self.failed.hopeless(desired.model, slot),
            "replicas": replicas,
        }
