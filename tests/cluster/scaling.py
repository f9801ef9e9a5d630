"""A model under a load that rises above what one replica can do, and falls again; KEDA scales it by what Prometheus knows.

What one replica can do is measured first, and the target is derived from that. A replica has a fixed share of a core, so that
it, and not the machine, is what there is too little of.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from tests.cluster.access import Kubernetes, await_true
from tests.cluster.deployment import MODEL, Deployed, namespaces
from tests.cluster.prometheus import Prometheus

CORES = 0.2  # of a replica
MOST = 3  # replicas
WARM, MEASURED = 4, 8  # seconds


@dataclass(frozen=True)
class Counted:
    """What a client saw: right answers in each second since its first one, and how many requests ended in what way."""

    answers: list[int]
    outcomes: Counter[str]


@dataclass(frozen=True)
class Scaled:
    """A model on `CORES` of a core, installed by its chart with `values`, and its clients: each sends `body` to `path` of the
    model through the gateway `gateway`."""

    deployed: Deployed
    prometheus: Prometheus
    gateway: str
    digest: str
    path: str
    body: str
    values: Mapping[str, Any]
    name: str = MODEL

    @property
    def kubernetes(self) -> Kubernetes:
        return self.deployed.kubernetes

    @property
    def namespace(self) -> str:
        return self.deployed.namespace

    def rendered(self, **autoscaling: Any) -> str:
        """The model's chart."""
        policy = {"gateway": {"namespace": self.deployed.home}, "monitoring": {"namespace": self.prometheus.namespace}}
        return self.deployed.rendered(
            self.digest,
            {},
            replicas=1,
            autoscaling={"prometheus": self.prometheus.address, **autoscaling},
            resources={"requests": {"cpu": "30m", "memory": "128Mi"}, "limits": {"cpu": str(CORES), "memory": "700Mi"}},
            **{**self.values, "networkPolicy": policy | self.values.get("networkPolicy", {})},
        )

    def client(self, name: str, rate: float) -> Callable[[], Counted]:
        """Begin to send `rate` requests a second (0: eight at once that wait for their answers, so that nothing waits when they
        end); what is returned ends it."""
        end = self.deployed.start_load(f"{self.gateway}{self.path}", f"{rate:g}", self.body, name=name)

        def counted() -> Counted:
            load = end(0)
            answers = [sum(second.values()) for second in load.releases]
            return Counted(answers, Counter(load.errors) + Counter({"answered": sum(answers)}))

        return counted


@contextmanager
def watched(kubernetes: Kubernetes, name: str) -> Iterator[tuple[Deployed, Prometheus, str]]:
    """A namespace for the model, in which every gate passes; a Prometheus of its own; and its address at a gateway."""
    with namespaces(kubernetes) as make:
        deployed = Deployed(kubernetes, make(name), make("gateway"))
        deployed.start_gates()
        prometheus = Prometheus(kubernetes, f"{deployed.namespace}-prometheus")
        gateway = deployed.gateway(prometheus.namespace)
        try:
            prometheus.install([deployed.namespace, deployed.home])
            yield deployed, prometheus, gateway
        finally:
            prometheus.remove()


@dataclass
class Seen:
    """Rates in requests a second, `target` in what the autoscaler compares."""

    capacity: float = 0.0
    target: float = 0.0
    most: int = 0
    least_after: int = 0
    endpoints: list[int] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    conditions: dict[str, str] = field(default_factory=dict)


@dataclass
class Trial:
    """`share` is what one replica is meant to have of its greatest throughput; the rest is for the time that a new one takes,
    and for a machine that is busier than it was when that was measured. The load rises three times, each by `rise` of it."""

    model: Scaled
    say: Callable[[str], None]
    share: float = 0.4
    rise: float = 0.35
    step: float = 15  # seconds between two rises of the load, at least
    seen: Seen = field(default_factory=Seen)

    def measure(self) -> None:
        """The capacity of one replica without an autoscaler."""
        self.apply(enabled=False)
        self.until(lambda: self.ready() == 1, "one replica is ready")
        end = self.model.client("busy", 0)
        time.sleep(WARM + MEASURED + 1)
        self.seen.capacity = sum(end().answers[WARM : WARM + MEASURED]) / MEASURED
        self.say(f"scaling {self.model.namespace}: one replica answers {self.seen.capacity:.0f} requests/s")

    def at_load(self) -> float:
        """What the autoscaler's own query shows of one replica at `share` of its capacity."""
        end = self.model.client("moderate", self.share * self.seen.capacity)
        self.until(lambda: bool(self.model.prometheus.query(self.query())), "the autoscaler sees the load", 180)
        time.sleep(35)  # the query looks back 30 seconds
        found = self.model.prometheus.query(self.query())
        end()
        assert len(found) == 1, found
        return round(found[0][1], 2)

    def rise_and_fall(self) -> None:
        """A morning's rise: from 0.2 times what one replica can do to more than all of it, and back."""
        self.say(f"scaling {self.model.namespace}: load rises and falls, target {self.seen.target}")
        self.apply(enabled=True, target=self.seen.target, maxReplicas=MOST, cooldownSeconds=15, pollingSeconds=2)
        self.until(lambda: self.conditions().get("Ready") == "True", "KEDA is ready", 60)
        self.until(lambda: bool(self.status().get("HPAReplicas")), "the Rollout is scaled", 60)
        load = 0.2
        steady = self.model.client("steady", load * self.seen.capacity)
        more = []
        for i in range(3):
            load += self.rise
            more.append(self.model.client(f"more{i}", self.rise * self.seen.capacity))
            self.watch(self.step)
            # a machine that is busy with other tests may be late with replicas; a quiet one may need fewer
            self.watch(45, min(math.ceil(load / self.share), MOST))
        self.watch(20)
        for end in more:
            self.seen.outcomes += end().outcomes
        self.seen.conditions = self.conditions()
        self.until(lambda: self.look() == 1, "it is back at one replica", 180)
        self.seen.least_after = self.look()
        self.seen.outcomes += steady().outcomes
        self.say(f"scaling {self.model.namespace}: {self.seen.most} replicas at most, {dict(self.seen.outcomes)}")

    def query(self) -> str:
        scaled = next(document for document in self.objects() if document["kind"] == "ScaledObject")
        return str(scaled["spec"]["triggers"][0]["metadata"]["query"])

    def objects(self) -> list[dict[str, Any]]:
        rendered = self.model.rendered(enabled=True, target=1)
        return [document for document in yaml.safe_load_all(rendered) if document]

    def apply(self, **autoscaling: Any) -> None:
        self.model.kubernetes.apply(self.model.rendered(**autoscaling), self.model.namespace)

    def status(self) -> dict[str, Any]:
        found = self.model.kubernetes.get("rollout", self.model.name, self.model.namespace)
        status: dict[str, Any] = found.get("status", {})
        return status

    def ready(self) -> int:
        return int(self.status().get("readyReplicas", 0))

    def conditions(self) -> dict[str, str]:
        found = self.model.kubernetes.get("scaledobject", self.model.name, self.model.namespace)
        return {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", ())}

    def look(self) -> int:
        """Replicas now; remembers the most, and how many addresses clients could reach."""
        name = f"kubernetes.io/service-name={self.model.name}-active"
        slices = self.model.kubernetes.list("endpointslice", self.model.namespace, name)
        ready = [e for each in slices for e in each.get("endpoints") or () if e["conditions"].get("ready")]
        self.seen.endpoints.append(len(ready))
        replicas = self.ready()
        self.seen.most = max(self.seen.most, replicas)
        return replicas

    def watch(self, seconds: float, replicas: float = math.inf) -> None:
        """Look for so long, or until there are so many replicas."""
        deadline = time.monotonic() + seconds
        while self.look() < replicas and time.monotonic() < deadline:
            time.sleep(1)

    def until(self, check: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
        known = lambda: f"{self.seen}, the autoscaler sees {self.model.prometheus.query(self.query())}; {self.status()}"  # noqa: E731
        await_true(check, timeout_s, lambda: f"not so: {what}; {known()}", every_s=1)
