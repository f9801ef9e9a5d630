"""KEDA scales the demand model by what a real Prometheus counts at the gateway, from one replica to several and back.

What one replica can do is measured first, and the target is what the autoscaler's own query shows of one replica at a stated
share of that. A replica has a fixed share of a core here, so that it, and not the machine, is what there is too little of.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from tests.cluster import prometheus
from tests.cluster.access import await_true
from tests.cluster.client import Client, Record
from tests.cluster.platform_on_cluster import MODEL, Commands
from tests.cluster.prometheus import Scraped
from tests.cluster.train import Releases, Training

from tidegate.demo.story import SEPTEMBER

pytestmark = pytest.mark.timeout(900)
CORES = 0.3  # of a replica
LOAD = (
    0.6  # share of one replica's greatest throughput that a replica is meant to have: the rest is for the time a new one takes
)
MOST = 3
SELECTOR = {"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/component": "monitor"}
MONITOR = {  # a PodMonitor needs no Service, a Prometheus that asks DNS does
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "tidegate-monitor"},
    "spec": {"clusterIP": "None", "selector": SELECTOR, "ports": [{"name": "http", "port": 8080}]},
}


@dataclass
class Scaled:
    """What was seen; rates in requests a second, `target` in requests in flight."""

    capacity: float = 0.0
    target: float = 0.0
    most: int = 0
    least_after: int = 0
    endpoints: list[int] = field(default_factory=list)
    requests: list[Record] = field(default_factory=list)
    conditions: dict[str, str] = field(default_factory=dict)
    panels: dict[str, int] = field(default_factory=dict)  # samples that Prometheus has for each query of the dashboards


@dataclass
class Trial:
    commands: Commands
    releases: Releases
    seen: Scaled = field(default_factory=Scaled)

    def run(self) -> None:
        self.commands.materialize(SEPTEMBER)
        self.kubectl("delete", "rollout", MODEL, "--ignore-not-found", "--timeout=90s")
        self.apply(enabled=False)
        self.until(lambda: self.ready() == 1, "one replica is ready")
        home, labels = self.commands.on.home, {"tidegate_model": MODEL}
        self.commands.on.kubernetes.apply(MONITOR, home)
        scraped = [
            Scraped("tidegate-gateway-pods", home, 8082),
            Scraped("tidegate-gates", home, 8080),
            Scraped("tidegate-monitor", home, 8080),
            Scraped(f"{MODEL}-active", self.commands.on.models, 8080, labels),
        ]
        rules = next(document["spec"] for document in self.objects() if document["kind"] == "PrometheusRule")
        prometheus.install(self.commands.on.kubernetes, scraped, rules, lambda _: None)
        self.measure()
        self.apply(enabled=True, target=self.seen.target, maxReplicas=MOST, cooldownSeconds=15, pollingSeconds=2)
        self.until(lambda: self.conditions().get("Ready") == "True", "KEDA is ready", 60)
        self.until(lambda: bool(self.status().get("HPAReplicas")), "the Rollout is scaled", 60)
        steady = self.client("steady", 0.2)
        more = []
        for i in range(3):  # a morning's rise: 0.2 to 1.55 times what one replica can do
            more.append(self.client(f"more{i}", 0.45))
            self.watch(15)
        self.watch(20)
        for client in more:
            self.seen.requests += client.stop()
        self.seen.conditions = self.conditions()
        self.seen.panels = self.panels()
        self.until(lambda: self.look() == 1, "it is back at one replica", 180)
        self.seen.least_after = self.look()
        self.seen.requests += steady.stop()

    def measure(self) -> None:
        busy = Client(self.commands.on, "busy")
        busy.start(self.releases.skus, 300, seconds=14)
        answers = [record["at"] + record["ms"] / 1000 for record in busy.ended() if record["status"] == 200]
        start = min(answers)
        self.seen.capacity = len([at for at in answers if start + 4 <= at < start + 12]) / 8
        moderate = self.client("moderate", LOAD)
        time.sleep(38)  # the query looks back 30 seconds
        found = prometheus.query(self.commands.on.kubernetes, self.query())
        moderate.stop()
        assert len(found) == 1, found
        self.seen.target = round(found[0][1], 2)

    def query(self) -> str:
        scaled = next(document for document in self.objects() if document["kind"] == "ScaledObject")
        return str(scaled["spec"]["triggers"][0]["metadata"]["query"])

    def objects(self) -> list[dict[str, Any]]:
        rendered = self.rendered(enabled=True, target=1)
        return [document for document in yaml.safe_load_all(rendered) if document]

    def panels(self) -> dict[str, int]:
        """Of the dashboards that the platform's chart has installed."""
        on = self.commands.on
        maps = json.loads(on.kubernetes.kubectl("get", "configmaps", "-n", on.home, "-l", "grafana_dashboard=1", "-o", "json"))
        dashboards = [json.loads(text) for found in maps["items"] for text in found["data"].values()]
        queries = [target["expr"] for each in dashboards for panel in each["panels"] for target in panel["targets"]]
        return {query: len(prometheus.query(on.kubernetes, query.replace("$model", MODEL))) for query in queries}

    def client(self, name: str, share: float) -> Client:
        client = Client(self.commands.on, name)
        client.start(self.releases.skus, share * self.seen.capacity)
        return client

    def rendered(self, **autoscaling: Any) -> str:
        on = self.commands.on
        values = on.model_values() | {
            "model": MODEL,
            "release": self.releases.second,
            "image": self.commands.image(self.releases.second),
            "replicas": 1,
            "autoscaling": autoscaling,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": str(CORES), "memory": "700Mi"}},
        }
        return on.kubernetes.helm_template("model", MODEL, on.models, values)

    def apply(self, **autoscaling: Any) -> None:
        self.commands.on.kubernetes.apply(self.rendered(**autoscaling), self.commands.on.models)

    def kubectl(self, *arguments: str) -> str:
        return self.commands.on.kubernetes.kubectl(*arguments, "-n", self.commands.on.models)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.commands.on.kubernetes.get("rollout", MODEL, self.commands.on.models).get("status", {})
        return status

    def ready(self) -> int:
        return int(self.status().get("readyReplicas", 0))

    def conditions(self) -> dict[str, str]:
        found = self.commands.on.kubernetes.get("scaledobject", MODEL, self.commands.on.models)
        return {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", ())}

    def look(self) -> int:
        """Replicas now; remembers the most, and how many addresses clients could reach."""
        on, name = self.commands.on, f"kubernetes.io/service-name={MODEL}-active"
        slices = on.kubernetes.list("endpointslice", on.models, name)
        ready = [e for each in slices for e in each.get("endpoints") or () if e["conditions"].get("ready")]
        self.seen.endpoints.append(len(ready))
        replicas = self.ready()
        self.seen.most = max(self.seen.most, replicas)
        return replicas

    def watch(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(1)

    def until(self, check: Any, what: str, timeout_s: float = 120) -> None:
        await_true(check, timeout_s, lambda: f"not so: {what}; {self.status()}", every_s=1)


@pytest.fixture(scope="module")
def scaled(commands: Commands, trained: Training) -> Iterator[Scaled]:
    trial = Trial(commands, trained.result())
    try:
        trial.run()
        yield trial.seen
    finally:
        prometheus.remove(commands.on.kubernetes)


def test_replicas_follow_the_load_up_and_down(scaled: Scaled) -> None:
    print(f"one replica: {scaled.capacity:.0f} requests/s; target {scaled.target} in flight; {scaled.most} replicas at most")
    assert scaled.most > 2, scaled
    assert scaled.least_after == 1


def test_keda_had_numbers_all_the_time(scaled: Scaled) -> None:
    assert scaled.conditions["Ready"] == "True"
    assert scaled.conditions.get("Fallback") != "True"


def test_no_request_is_lost_while_replicas_come_and_go(scaled: Scaled) -> None:
    outcomes = Counter((record["outcome"], record["status"], record["mixed"]) for record in scaled.requests)
    assert set(outcomes) == {("answered", 200, False)}, outcomes
    assert len(scaled.requests) > 1_000


def test_every_panel_of_the_dashboards_shows_something(scaled: Scaled) -> None:
    assert scaled.panels
    assert not [query for query, samples in scaled.panels.items() if not samples]


def test_there_was_somebody_to_answer_all_the_time(scaled: Scaled) -> None:
    assert min(scaled.endpoints) >= 1
