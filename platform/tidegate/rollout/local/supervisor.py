"""The local target's supervisor: compares what is wanted with what runs, a few times a second, and acts on the difference.

All processes are detached, and each says in its environment what it is, so the supervisor may be killed at any moment:
traffic goes on, and the next supervisor adopts what runs. It is the only writer of Envoy's routes. A slot gets live traffic
only while it has ready replicas of the wanted release; until then the slot that was routed before keeps it.

It replaces what is dead and what hangs: replicas and gateway by their answers, controllers and its watcher by their beats.
It says itself that it makes steps, between any two parts of a look, and its watcher (or systemd) replaces it by that.

A small file that is damaged and a disk that is full or read-only are problems it names, in `observed.json` or, where that
cannot be written, in its log; they end neither the supervisor nor what runs, and one model's trouble is not another's.

Limits: one machine; a gateway that dies loses its open connections, and is back with the same routes within about half
a second.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tidegate.domain.clocks import Reading
from tidegate.domain.errors import TidegateError
from tidegate.domain.local import LocalConfig
from tidegate.domain.slots import Desired, Slot
from tidegate.files.durable_files import remove, replace_durably
from tidegate.files.layout import StateFolder
from tidegate.ports.local import ModelRoutes, Probe, Processes, ProcessRecord, Router
from tidegate.rollout.local.companions import Companion, Companions, Silence
from tidegate.rollout.local.gateway import Gateway
from tidegate.rollout.local.release_watch import ReleaseWatch
from tidegate.rollout.local.replicas import Replicas, SlotCommand
from tidegate.rollout.wanted import known_models, look_up

T = TypeVar("T")
HEARTBEAT = 0.5  # seconds between observations that say the same
WITHOUT_GATEWAY = 60.0  # seconds after which rollouts are driven although the gateway was never ready
RESTORE_EVERY = 5.0  # seconds between attempts to write down again what is wanted
logger = logging.getLogger("tidegate.supervisor")


Controllers = Callable[[str], Companion | None]  # of a model's rollout that needs one
Job = Callable[[str], Companion | None]  # the run of a schedule that is due
Restore = Callable[[str], None]  # write down again what is wanted of a model, and record that


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
        controllers: Controllers = lambda model: None,
        restore: Restore = lambda model: None,
        watchers: Sequence[Companion] = (),
        schedules: Sequence[str] = (),
        job: Job = lambda name: None,
        silence: Silence = lambda _: None,
        beat: Callable[[], object] = lambda: None,
        models: Sequence[str] = (),
        changes: Callable[[], None] = lambda: None,
        releases: ReleaseWatch | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.state, self.config, self.processes, self.router = state, config, processes, router
        self.controllers, self.restore, self.watchers, self.beat = controllers, restore, watchers, beat
        self.schedules, self.job, self.models, self.changes = schedules, job, models, changes
        self.releases, self.clock, self.sleep = releases, clock, sleep
        self.replicas = Replicas(processes, probe, router, config, slot_command, state.logs, clock)
        self.gateway = Gateway(processes, router, probe, config, state.logs, clock)
        self.companions = Companions(processes, silence, state.logs, clock)
        self.problems: dict[str, str] = {}
        self._began = clock()
        self._written: tuple[str, float] = ("", -1e9)
        self._restoring: dict[str, float] = {}  # model -> when that was last tried

    def check_ports(self) -> None:
        """Raise Unavailable naming the port, if one that the gateway needs is taken by someone else."""
        self.gateway.check_ports()

    def step(self) -> None:
        models = self._attempt("state", lambda: known_models(self.state)) or []
        desired = [want for model in self._with_running(models) if (want := self._wanted(model)) is not None]
        self._attempt("replicas", lambda: self.replicas.reconcile(desired))
        self._attempt("routes", lambda: self.router.apply([self._routes(want) for want in desired]))
        self._attempt("gateway", lambda: self.gateway.keep(self._without_replicas(desired)))
        self._attempt("controllers", lambda: self.companions.keep("control", self._wanted_controllers(models)))
        self._attempt("watcher", lambda: self.companions.keep("watcher", self.watchers))
        self._attempt("schedules", lambda: self.companions.keep("job", self._due_jobs()))
        self._attempt("strays", self._end_strays)
        self._attempt("project file", self.changes)
        self._attempt("releases", lambda: self._look_at_releases(desired))
        self._attempt("observed", lambda: self._observe(desired))

    def _attempt(self, name: str, act: Callable[[], T]) -> T | None:
        """One part failing (a full disk, a damaged file, a defect of ours) must not keep the others from being looked after."""
        self.beat()
        try:
            result = act()
        except (TidegateError, OSError) as error:
            self._trouble(name, str(error))
            return None
        except Exception as error:
            if self._trouble(
                name, f"unexpected {type(error).__name__}: {error}; this is a defect, see {self.state.supervisor_log}"
            ):
                logger.exception("%s", name)
            return None
        self.problems.pop(name, None)
        return result

    def _trouble(self, name: str, problem: str) -> bool:
        """Keep a problem; whether it is new, and so was logged."""
        new = self.problems.get(name) != problem
        self.problems[name] = problem
        if new:
            logger.warning("%s: %s", name, problem)
        return new

    def _with_running(self, models: Sequence[str]) -> list[str]:
        routed = self._attempt("routed", lambda: [routes.model for routes in self.router.applied()]) or []
        running = [r.labels["model"] for r in self.processes.records() if r.labels.get("kind") == "slot"]
        return sorted({*models, *routed, *running})

    def _wanted(self, model: str) -> Desired | None:
        """What is wanted of a model. Where nothing on disk tells, what runs is to go on."""
        name = f"desired {model}"
        found = self._attempt(name, lambda: look_up(self.state, model))
        if found is not None and found.problem:
            self._trouble(name, found.problem)
            self._restore(model, found.restorable)
        if found is not None and (found.problem or found.desired.generation):
            return found.desired
        running = self._running(model)
        if running is None:
            return found.desired if found is not None else None
        gone = f"what is wanted for model {model}: {self.state.desired(model)} is gone and no rollout tells what was live"
        self._trouble(name, f"{self.problems.get(name, gone)}; what runs goes on running, 'tidegate rollout' sets it anew")
        return running

    def _restore(self, model: str, restorable: bool) -> None:
        if restorable and self.clock() - self._restoring.get(model, -1e9) >= RESTORE_EVERY:
            self._restoring[model] = self.clock()
            self._attempt(f"restoring {model}", lambda: self.restore(model))

    def _running(self, model: str) -> Desired | None:
        """What runs of a model, as if it were wanted; None for nothing."""
        alive = [r for slot in Slot for r in self.replicas.of(model, slot) if self.processes.alive(r)]
        releases: dict[str, str] = {r.labels["slot"]: r.labels["release"] for r in alive}
        routes = self._attempt("routed", lambda: next((r for r in self.router.applied() if r.model == model), None))
        if not releases:
            return None
        active = routes.active if routes is not None and str(routes.active) in releases else None
        return Desired(model, releases.get("blue"), releases.get("green"), active, routes is not None and routes.mirror)

    def _routes(self, want: Desired) -> ModelRoutes:
        endpoints = {slot: self.replicas.endpoints(want.model, slot, want.release_of(slot)) for slot in Slot}
        before = next((r.active for r in self.router.applied() if r.model == want.model), None)
        active = want.active
        if active is not None and not endpoints[active] and before is not None and endpoints[before]:
            active = before  # not ready yet: whoever serves goes on serving
        mirror = want.mirror and active is want.active and active is not None and bool(endpoints[active.other])
        return ModelRoutes(want.model, active, mirror, endpoints)

    def _without_replicas(self, desired: Sequence[Desired]) -> list[str]:
        """Models whose live release has no replica to send requests to, although one may come."""
        routed = {routes.model: routes for routes in self.router.applied()}
        return [
            want.model
            for want in desired
            if want.active is not None
            and not self.replicas.failed.hopeless(want.model, want.active)
            and (routes := routed.get(want.model)) is not None
            and routes.active is not None
            and not routes.endpoints.get(routes.active)
        ]

    def _wanted_controllers(self, models: Sequence[str]) -> list[Companion]:
        """A rollout that goes on after a restart is judged once clients can reach what it is about."""
        found = [self._attempt(f"rollout {model}", lambda model=model: self.controllers(model)) for model in models]  # type: ignore[misc]
        served = self.gateway.was_ready or self.clock() - self._began > WITHOUT_GATEWAY
        return [controller for controller in found if controller is not None and (served or controller.urgent)]

    def _due_jobs(self) -> list[Companion]:
        found = [self._attempt(f"schedule {name}", lambda name=name: self.job(name)) for name in self.schedules]  # type: ignore[misc]
        return [job for job in found if job is not None]

    def _end_strays(self) -> None:
        """Processes of this state that nobody wants: a second one of the same name, left by a starter that was killed."""
        for record in [r for r in self.processes.records() if r.labels.get("kind") == "stray"]:
            if self.processes.alive(record):
                self.processes.terminate(record, force=True)
            else:
                self.processes.forget(record)

    def _look_at_releases(self, desired: Sequence[Desired]) -> None:
        if self.releases is not None:
            self.releases.look({release for want in desired for slot in Slot if (release := want.release_of(slot))})

    def _observe(self, desired: Sequence[Desired]) -> None:
        gateway = self.gateway.process
        routed = {routes.model: routes.endpoints for routes in self.router.applied()}
        content: Mapping[str, object] = {
            "supervisor": os.getpid(),
            "gateway": {
                "pid": gateway.pid if gateway else None,
                "port": self.config.gateway_port,
                "ready": self.gateway.ready(),
                "waits": self.gateway.waits,
            },
            "onlineStore": self.config.online_place,
            "serves": list(self.models),
            "models": {want.model: self.replicas.observed(want, routed.get(want.model, {})) for want in desired},
            "problems": {**self.problems, **self.replicas.problems, **(self.releases.problems if self.releases else {})},
        }
        text = json.dumps(content)
        if text != self._written[0] or self.clock() - self._written[1] >= HEARTBEAT:
            replace_durably(self.state.observed, json.dumps({**Reading.now().to_json(), **content}).encode())
            self._written = (text, self.clock())

    def stop(self) -> None:
        """Whoever would start things anew, then the gateway's listener and its requests in flight, then slots, then the rest.

        Needs no room on the disk."""
        self._end([r for r in self.processes.records() if r.labels.get("kind") == "watcher"])
        self._end([r for r in self.processes.records() if r.labels.get("kind") in ("control", "job")])
        if self.gateway.process is not None:
            self._attempt("drain", self._drain)
        self._end([r for r in self.processes.records() if r.labels.get("kind") == "slot"])
        self._end(self.processes.records())
        self._attempt("observed", lambda: remove(self.state.observed))

    def _drain(self) -> None:
        self.router.drain()
        deadline = self.clock() + self.config.drain_seconds
        while self.router.downstream_active() and self.clock() < deadline:
            self._wait(0.05)

    def _wait(self, seconds: float) -> None:
        self.beat()
        self.sleep(seconds)

    def _end(self, records: Sequence[ProcessRecord]) -> None:
        for record in records:
            self.processes.terminate(record)
        deadline = self.clock() + self.config.stop_seconds
        while any(self.processes.alive(record) for record in records) and self.clock() < deadline:
            self._wait(0.05)
        for record in records:
            self.processes.terminate(record, force=True)
            killed = self.clock() + 2.0
            while self.processes.alive(record) and self.clock() < killed:
                self._wait(0.02)
            self.processes.forget(record)
