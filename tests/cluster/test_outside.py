"""A project of `tidegate init`, outside of this repository and with the package of the built wheel, comes to a cluster by the
commands of docs/kubernetes.md, beside another project: its own platform, a first version, and a second one past every gate."""

from __future__ import annotations

import csv
import fcntl
import gzip
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import yaml
from infra.images import build
from infra.images.kept import STORAGE, cache_folder, locked
from tests.cluster.access import ROOT, Kubernetes, await_true
from tests.cluster.client import Client
from tests.cluster.given import registry
from tests.cluster.platform_on_cluster import JUDGING, SMALL, Images, OnCluster, publish_redis

from outside import Outside, commands_in, environment_of, new_project, unpacked_wheel

pytestmark = pytest.mark.timeout(1200)  # the first of them waits for the whole story
REGISTRY = "127.0.0.1:5056"  # of the cluster's own network namespace
HOME, MODELS, CLIENTS = "bikes", "bikes-models", "bikes-clients"
FIRST, SECOND = "2012-12-01", "2013-01-01"
PAGE = ROOT / "docs/kubernetes.md"
PLATFORM, A_MODEL = 0, 1  # its blocks of shell
# the gate service tells the registry soon after a rollout's end
TOLD = """
for i in $(seq 60); do
  tidegate registry show rentals champion --json 2> error | grep -q '"version": "VERSION"' && break
  sleep 1
done
echo; tidegate registry list rentals --json
"""
SERVING = {"requests": {"cpu": "30m", "memory": "256Mi"}, "limits": {"memory": "700Mi"}}


@dataclass(frozen=True)
class Bikes:
    """The page's commands in the project, in namespaces of its own and with a registry of this cluster. Its images are made
    upon those that there are already, which have the packages."""

    on: OnCluster
    outside: Outside
    registry: str

    def commands(self, number: int) -> list[str]:
        """Of one of the page's blocks."""
        return [self._here(line) for line in commands_in(PAGE, number)]

    def _here(self, line: str) -> str:
        for said, here in ((r"(--namespace|-n) tidegate\b", rf"\1 {HOME}"), (r"\bnamespace models\b", f"namespace {MODELS}")):
            line = re.sub(said, here, line)
        line = re.sub(r"REGISTRY/shop/bikes-(\w+)@sha256:\.\.\.", r"$(cat \1.image)", line)
        if made := re.match(r"(tidegate image (?:release )?(\w+) --push) REGISTRY/shop", line):
            upon = build.serving if " release " in line else build.packages
            base = f"--base {build.stored(upon(lambda _: None)).tagged} --packages base"
            insecure = "" if self.on.kubernetes.registry else "--insecure"
            line = f"{made[1]} {self.registry} {base} {insecure} > {made[2]}.image"
        return line

    def image(self, name: str) -> str:
        return (self.outside.folder / f"{name}.image").read_text().strip()

    def install(self) -> None:
        """The platform."""
        *before, helm = self.commands(PLATFORM)
        self.outside.run("\n".join(before))
        own = self.outside.folder / "charts/values/own.yaml"
        values = yaml.safe_load(own.read_text())
        images = {"gateway": self.on.images.envoy, "redis": self.on.images.redis, "mlflow": self.image("mlflow")}
        for name, image in images.items():
            values[name] |= {"image": image, "resources": SMALL}
        values |= {"gates": {"resources": JUDGING}, "monitor": {"resources": SMALL}}
        own.write_text(yaml.safe_dump(values))
        model = self.outside.folder / "charts/values/rentals.yaml"
        values = yaml.safe_load(model.read_text())
        values["gates"]["intervalSeconds"] = 2
        model.write_text(yaml.safe_dump(values | {"resources": SERVING}))
        self.outside.run(helm)

    def rollout(self, until: str, version: str) -> list[dict[str, Any]]:
        """A version that knows all before `until`: trained, promoted, released, rolled out. What the registry says then."""
        script = ["trap 'kill $(jobs -p)' EXIT", *self.commands(A_MODEL), TOLD]
        printed = self.outside.run("\n".join(script).replace(FIRST, until).replace("VERSION", version))
        return json.loads(printed[printed.rindex("\n[") :])  # type: ignore[no-any-return]

    def days(self) -> list[dict[str, Any]]:
        """What clients ask about the last days that the data have: some hours of each, and the day's weather."""
        with gzip.open(self.outside.folder / "data/hour.csv.gz", "rt") as file:
            rows = list(csv.DictReader(file))[-24 * 60 :]
        return [
            {
                "hours": sorted({int(row["hr"]), (int(row["hr"]) + 7) % 24, (int(row["hr"]) + 13) % 24}),
                "working_day": row["workingday"] == "1",
                "temperature": round(float(row["temp"]) * 47 - 8, 1),
            }
            for row in rows[::7]
        ]


@dataclass
class Seen:
    """What the story left: the registry's versions after each rollout, as commands print them, what is live then, what `doctor`
    finds, and every request of a client."""

    versions: list[list[dict[str, Any]]] = field(default_factory=list)
    live: list[str] = field(default_factory=list)
    doctor: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)

    def rolled_out(self, bikes: Bikes, until: str) -> None:
        self.versions.append(bikes.rollout(until, str(len(self.versions) + 1)))
        (status,) = json.loads(bikes.outside.run("tidegate status --target kubernetes --json"))
        self.live.append(status["live"])


@pytest.fixture(scope="module")
def bikes(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bikes]:
    own, root = kubernetes.own, tmp_path_factory.mktemp("outside")
    storage = "".join(f'{name} = "{path}"\n' for name, path in build.storage().items())
    (root / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{storage}')
    (root / "containers.conf").write_text('[engine]\ncompression_format = "zstd"\ncompression_level = 1\n')  # as our images are
    package = unpacked_wheel(tmp_path_factory.mktemp("wheel"))
    environment = environment_of(package, root, kubernetes.environment) | {
        "CONTAINERS_STORAGE_CONF": str(root / "storage.conf"),
        "CONTAINERS_CONF": str(root / "containers.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }
    outside = Outside(root / "bikes", package, environment, tuple(own.inside()) if own else ())
    images = Images(kubernetes.envoy, publish_redis(kubernetes, lambda _: None), "", "")
    on = OnCluster(kubernetes, images, HOME, MODELS, CLIENTS, root)
    new_project(outside)
    project = outside.folder / "tidegate.yaml"
    text = project.read_text()
    project.write_text(text.replace("\ntargets:\n", f"\ntargets:\n  kubernetes: {{namespace: {MODELS}, platform: {HOME}}}\n"))
    on.prepare(MODELS)
    with registry(own, root, REGISTRY) if own else nullcontext(), locked(cache_folder() / STORAGE, fcntl.LOCK_SH):
        try:
            yield Bikes(on, outside, kubernetes.registry or f"{REGISTRY}/shop")
        finally:
            outside.run("buildah images --quiet --filter reference='*/bikes-*' | xargs --no-run-if-empty buildah rmi --force")
            if own is None or os.environ.get("CLUSTER"):
                on.remove()


@pytest.fixture(scope="module")
def seen(bikes: Bikes, say: Callable[[str], None]) -> Seen:
    seen = Seen()
    say("bikes: the platform of a project outside of this repository")
    bikes.install()
    say("bikes: a first version")
    seen.rolled_out(bikes, FIRST)
    client = Client(replace(bikes.on, images=replace(bikes.on.images, platform=bikes.image("platform"))), model="rentals")
    client.start(bikes.days(), 12, "bodies")
    say("bikes: a second version, under load")
    seen.rolled_out(bikes, SECOND)
    sent = len(client.records())
    await_true(lambda: len(client.records()) > sent + 40, 90, lambda: "the client sends nothing more")
    seen.requests = client.stop()
    seen.doctor = bikes.outside.run("tidegate doctor")
    say("bikes: told")
    return seen


def test_clients_in_the_cluster_are_told_which_release_of_the_project_answers(seen: Seen) -> None:
    first, second = seen.live
    assert first != second
    answered = [each["release"] for each in seen.requests]
    assert (answered[0], answered[-1]) == (first, second)
    assert set(answered) == {first, second}


def test_its_second_version_becomes_live_past_every_gate_and_no_request_is_lost_or_mixed(seen: Seen) -> None:
    assert {each["status"] for each in seen.requests} == {200}
    assert not [each for each in seen.requests if each["mixed"] or each["outcome"] != "answered"]
    assert len(seen.requests) > 300


def test_the_clusters_registry_knows_what_is_live(seen: Seen) -> None:
    aliases = [{alias: each["version"] for each in versions for alias in each["aliases"]} for versions in seen.versions]
    assert aliases[-1]["champion"] == "2"
    assert aliases[-1]["previous"] == "1"


def test_nothing_is_wrong_in_the_cluster(seen: Seen) -> None:
    assert "WRONG" not in seen.doctor
    assert "gate service of rentals: 1 ready behind Service tidegate-gates in bikes" in seen.doctor
