"""KEDA scales the demand model by what a real Prometheus counts at the gateway, from one replica to several and back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.cluster.access import Kubernetes
from tests.cluster.client import Client, Record
from tests.cluster.platform_on_cluster import MODEL, Commands
from tests.cluster.prometheus import Prometheus, Scraped
from tests.cluster.scaling import Counted, Seen, Trial
from tests.cluster.train import Releases, Training

from tidegate.demo.story import SEPTEMBER

pytestmark = pytest.mark.timeout(900)
CORES = 0.3  # of a replica
SELECTOR = {"app.kubernetes.io/name": "tidegate", "app.kubernetes.io/component": "monitor"}
MONITOR = {  # a PodMonitor needs no Service, a Prometheus that asks DNS does
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "tidegate-monitor"},
    "spec": {"clusterIP": "None", "selector": SELECTOR, "ports": [{"name": "http", "port": 8080}]},
}


@dataclass(frozen=True)
class Demand:
    """Installed by the chart, under the load of a planning job."""

    commands: Commands
    releases: Releases
    name: str = MODEL

    @property
    def kubernetes(self) -> Kubernetes:
        return self.commands.on.kubernetes

    @property
    def namespace(self) -> str:
        return self.commands.on.models

    def rendered(self, **autoscaling: Any) -> str:
        values = self.commands.on.model_values() | {
            "model": MODEL,
            "release": self.releases.second,
            "image": self.commands.image(self.releases.second),
            "replicas": 1,
            "autoscaling": autoscaling,
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": str(CORES), "memory": "700Mi"}},
        }
        return self.kubernetes.helm_template("model", MODEL, self.namespace, values)

    def client(self, name: str, rate: float) -> Callable[[], Counted]:
        client = Client(self.commands.on, name)
        client.start(self.releases.skus, rate)
        return lambda: counted(client.stop())


def counted(records: list[Record]) -> Counted:
    """What the planning job wrote down of each request."""
    outcomes = Counter(f"{r['outcome']} {r['status']}{' mixed' if r['mixed'] else ''}" for r in records)
    times = [record["at"] + record["ms"] / 1000 for record in records if record["status"] == 200]
    seconds = Counter(int(at - min(times)) for at in times)
    return Counted([seconds[i] for i in range(max(seconds, default=-1) + 1)], outcomes)


@dataclass
class Scaled(Seen):
    panels: dict[str, int] = field(default_factory=dict)  # samples that Prometheus has for each query of the dashboards


def panels(commands: Commands, prometheus: Prometheus) -> dict[str, int]:
    """Of the dashboards that the platform's chart has installed."""
    on = commands.on
    maps = json.loads(on.kubernetes.kubectl("get", "configmaps", "-n", on.home, "-l", "grafana_dashboard=1", "-o", "json"))
    dashboards = [json.loads(text) for found in maps["items"] for text in found["data"].values()]
    queries = [target["expr"] for each in dashboards for panel in each["panels"] for target in panel["targets"]]
    return {query: len(prometheus.query(query.replace("$model", MODEL))) for query in queries}


@pytest.fixture(scope="module")
def scaled(commands: Commands, trained: Training) -> Iterator[Scaled]:
    model, prometheus, seen = Demand(commands, trained.result()), Prometheus(commands.on.kubernetes), Scaled()
    trial = Trial(model, prometheus, saturating=300, seen=seen)
    home, labels = commands.on.home, {"tidegate_model": MODEL}
    commands.materialize(SEPTEMBER)
    commands.on.kubernetes.kubectl("delete", "rollout", MODEL, "-n", model.namespace, "--ignore-not-found", "--timeout=90s")
    commands.on.kubernetes.apply(MONITOR, home)
    scraped = [
        Scraped("tidegate-gateway-pods", home, 8082),
        Scraped("tidegate-gates", home, 8080),
        Scraped("tidegate-monitor", home, 8080),
        Scraped(f"{MODEL}-active", model.namespace, 8080, labels),
    ]
    rules = next(document["spec"] for document in trial.objects() if document["kind"] == "PrometheusRule")
    try:
        prometheus.install(scraped, rules, lambda _: None)
        trial.measure()
        seen.target = trial.at_load()
        trial.rise_and_fall(lambda: seen.panels.update(panels(commands, prometheus)))
        yield seen
    finally:
        prometheus.remove()


def test_replicas_follow_the_load_up_and_down(scaled: Scaled) -> None:
    print(f"one replica: {scaled.capacity:.0f} requests/s; target {scaled.target} in flight; {scaled.most} replicas at most")
    assert scaled.most > 2, scaled
    assert scaled.least_after == 1


def test_keda_had_numbers_all_the_time(scaled: Scaled) -> None:
    assert scaled.conditions["Ready"] == "True"
    assert scaled.conditions.get("Fallback") != "True"


def test_no_request_is_lost_while_replicas_come_and_go(scaled: Scaled) -> None:
    assert set(scaled.outcomes) == {"answered 200"}, scaled.outcomes
    assert scaled.outcomes.total() > 1_000


def test_every_panel_of_the_dashboards_shows_something(scaled: Scaled) -> None:
    assert scaled.panels
    assert not [query for query, samples in scaled.panels.items() if not samples]


def test_there_was_somebody_to_answer_all_the_time(scaled: Scaled) -> None:
    assert min(scaled.endpoints) >= 1
