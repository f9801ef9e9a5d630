"""KEDA scales the demand model by what a real Prometheus counts at the gateway, from one replica to several and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from infra.images import build
from tests.cluster.access import Kubernetes
from tests.cluster.objects import pod, service
from tests.cluster.platform_on_cluster import REDIS_IN_MEMORY, forwarded, materialize, publish_redis
from tests.cluster.scaling import Scaled, Seen, Trial, watched
from tests.cluster.train import Training

from demo.story import SEPTEMBER

pytestmark = pytest.mark.timeout(900)
REDIS = 6379


def start_redis(kubernetes: Kubernetes, namespace: str) -> None:
    arguments = [*REDIS_IN_MEMORY, "--maxmemory", "128mb"]
    document = pod("redis", publish_redis(kubernetes, lambda _: None), arguments)
    document["metadata"]["labels"] |= {"app.kubernetes.io/component": "redis"}  # by which the model's NetworkPolicy knows it
    document["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "30m"}, "limits": {"memory": "256Mi"}}
    kubernetes.apply(document, namespace)
    kubernetes.apply(service("redis", REDIS, REDIS), namespace)
    kubernetes.kubectl("wait", "pod/redis", "-n", namespace, "--for=condition=Ready", "--timeout=90s")


@pytest.fixture(scope="module")
def demand(kubernetes: Kubernetes, trained: Training, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    """A real release, with real features, and gates that pass."""
    releases, work = trained.result(), tmp_path_factory.mktemp("online")
    state = trained.folder / "state"
    image = kubernetes.publish(build.release(state / "releases" / releases.second, lambda _: None))
    with watched(kubernetes, "scaled") as (deployed, prometheus, gateway):
        start_redis(kubernetes, deployed.namespace)
        with forwarded(kubernetes, deployed.namespace, "svc/redis", REDIS) as redis:
            materialize(kubernetes, state, work, redis, SEPTEMBER)
        values = {
            "image": image,
            "trustedKeys": (state / "keys" / "release.pub").read_text().split(),
            "onlineStore": f"redis://redis.{deployed.namespace}.svc:{REDIS}/0",
            "networkPolicy": {"onlineStore": {"namespace": deployed.namespace}},
        }
        question = json.dumps({"skus": releases.skus[:10], "horizon": 7})
        yield Scaled(deployed, prometheus, gateway, releases.second, "predict", question, values)


@pytest.fixture(scope="module")
def scaled(demand: Scaled, say: Callable[[str], None]) -> Seen:
    trial = Trial(demand, say)
    trial.measure()
    trial.seen.target = trial.at_load()
    trial.rise_and_fall()
    return trial.seen


def test_replicas_follow_the_load_up_and_down(scaled: Seen) -> None:
    assert scaled.most > 2, scaled
    assert scaled.least_after == 1


def test_keda_had_numbers_all_the_time(scaled: Seen) -> None:
    assert scaled.conditions["Ready"] == "True"
    assert scaled.conditions.get("Fallback") != "True"


def test_no_request_is_lost_while_replicas_come_and_go(scaled: Seen) -> None:
    assert set(scaled.outcomes) == {"answered"}, scaled.outcomes
    assert scaled.outcomes.total() > 1_000


def test_there_was_somebody_to_answer_all_the_time(scaled: Seen) -> None:
    assert min(scaled.endpoints) >= 1
