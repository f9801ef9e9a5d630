"""The story that test_demand.py looks at: releases of the demand model on a cluster, some good and some bad, under load."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.access import await_true
from tests.cluster.client import Client
from tests.cluster.objects import pod
from tests.cluster.platform_on_cluster import MODEL, Commands, OnCluster
from tests.cluster.prometheus import Prometheus
from tests.cluster.train import Releases

from demo.story import CHRISTMAS, SEPTEMBER
from tidegate.adapters.kubernetes.argo_rollouts import RELEASE

Record = dict[str, Any]


@dataclass
class Seen:
    """What the story left behind: what each command printed and its exit code, and every request that a client sent."""

    releases: Releases
    commands: dict[str, tuple[int, str]] = field(default_factory=dict)
    held: Record = field(default_factory=dict)
    unasked: Record = field(default_factory=dict)
    askers: dict[str, Record] = field(default_factory=dict)  # what the gate service says to a caller, by the token it presents
    requests: list[Record] = field(default_factory=list)
    ledger: list[Record] = field(default_factory=list)
    ledger_verified: bool = False
    jobs: list[Record] = field(default_factory=list)
    mirrored_after: float = -1.0
    panels: dict[str, int] = field(default_factory=dict)  # samples that Prometheus has for each query of the dashboards
    rules: set[tuple[str, str]] = field(default_factory=set)  # of the charts: names, and how evaluating each went
    targets: dict[str, set[str]] = field(default_factory=dict)  # by PodMonitor: how asking its pods went
    switches: int = 0
    aliases: list[dict[str, str]] = field(
        default_factory=list
    )  # of the cluster's registry, before it has the live version and after

    def watched(self, digest: str) -> set[str]:
        """The monitor's verdicts of a release."""
        return {e["body"]["verdict"] for e in self.ledger if about(e, digest, "watch")}


PRESENT = """
import json, sys, urllib.error, urllib.request
url, header = sys.argv[1:]
request = urllib.request.Request(url, headers={"authorization": header} if header else {})
try:
    answer = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps({**json.load(answer), "status": answer.status}))
"""


@dataclass
class Story:
    on: OnCluster
    commands: Commands
    seen: Seen
    progress: Callable[[str], None]
    begun: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        self.progress(f"demand, {time.monotonic() - self.begun:3.0f} s: {what}")

    def tell(self) -> None:
        releases, client = self.seen.releases, Client(self.on)
        wanted = ("first", "second", "refusing", "pence", "fault", "again", "later", "quick")
        self.commands.build(*(getattr(releases, name) for name in wanted))
        prometheus = Prometheus(self.on.kubernetes)
        prometheus.install([self.on.home, self.on.models])
        self.say("materializing")
        self.commands.materialize(SEPTEMBER)
        self.order("first", releases.first)
        self.until(lambda: self.clients_reach(releases.first))
        client.start(releases.skus, 40)
        self.order("good", releases.second)
        self.order("refusing", releases.refusing)
        self.order("pence", releases.pence)
        self.order("fault", releases.fault)
        self.fewer_gates(releases.pence)
        self.frozen(releases)
        self.seen.commands["doctor"] = self.doctor()
        self.christmas(releases)
        self.back()
        self.back_and_forth()
        self.say("retraining")
        self.until(self.retrained, 420, every_s=3)
        self.seen.jobs = self.on.kubernetes.list("job", self.on.home)
        self.registered(releases.version)
        before = self.mirrored()
        sent = len(client.records())
        self.until(lambda: len(client.records()) > sent + 80)
        self.seen.mirrored_after = self.mirrored() - before
        self.seen.panels = self.panels(prometheus)
        self.seen.rules = {(rule["name"], rule["health"]) for rule in prometheus.rules()}
        self.until(lambda: not any("unknown" in health for health in prometheus.targets().values()), 60, every_s=2)
        self.seen.targets = prometheus.targets()
        self.seen.requests = client.stop()
        self.seen.switches = len(_passages(self.seen.requests))
        self.probes_alone(releases.quick)
        self.read_ledger()
        self.verify_ledger()
        self.say("told")

    def registered(self, version: str) -> None:
        """The version that is live was trained elsewhere; from when on the cluster's registry has it, its aliases follow."""
        self.say("registering what is live")
        self.seen.commands["status without the version"] = self.run("status", "--target", "kubernetes")
        self.seen.aliases = [self.commands.aliases(), self.commands.aliases(registered=version)]
        self.until(lambda: "champion" in self.commands.aliases(), 120, every_s=5)
        self.seen.aliases.append(self.commands.aliases())
        self.until(lambda: "registry" not in self.run("status", "--target", "kubernetes")[1], 60, every_s=2)

    def panels(self, prometheus: Prometheus) -> dict[str, int]:
        """Of the dashboards that the platform's chart has installed."""
        on = self.on
        maps = json.loads(on.kubernetes.kubectl("get", "configmaps", "-n", on.home, "-l", "grafana_dashboard=1", "-o", "json"))
        dashboards = [json.loads(text) for found in maps["items"] for text in found["data"].values()]
        queries = [target["expr"] for each in dashboards for panel in each["panels"] for target in panel["targets"]]
        return {query: len(prometheus.query(query.replace("$model", MODEL))) for query in queries}

    def order(self, name: str, digest: str, *options: str) -> None:
        self.say(f"rollout: {name}")
        done = self.commands.rollout(digest, *options)
        self.seen.commands[name] = done.returncode, done.stdout + done.stderr

    def fewer_gates(self, digest: str) -> None:
        """A values file that names one gate alone, applied by hand: the release's plan has more."""
        self.say("a values file with fewer gates")
        own = {"model": MODEL, "release": digest, "image": self.commands.image(digest), "slot": "blue"}
        values = self.on.model_values() | own
        fewer = {"prePromotion": ["parity"], "postPromotion": ["bake"], "deadlineSeconds": 60}
        values["gates"] = values["gates"] | fewer
        self.on.kubernetes.apply(self.on.kubernetes.helm_template("model", MODEL, self.on.models, values), self.on.models)
        self.until(lambda: "asks for parity" in self.asked("parity", digest).get("reason", ""), 120)
        self.seen.commands["doctor with fewer gates"] = self.doctor()
        self.until(lambda: json.loads(self.status() or "{}").get("status") == "ABORTED", 90)
        self.seen.unasked = {"live": self.live()}

    def probes_alone(self, digest: str) -> None:
        """Nobody asks for predictions any more, and somebody asks for nothing but health: what a bake is to see never comes."""
        url = f"http://tidegate-gateway.{self.on.home}.svc.cluster.local/models/{MODEL}/livez"
        self.on.kubernetes.apply(
            pod("probes", self.on.kubernetes.responder, ["load", url, "300"], restartPolicy="Never"), self.on.clients
        )
        checks = [option for gate in ("parity", "shadow", "drift") for option in ("--override", f"{gate}=nobody asks now")]
        self.order("probes alone", digest, *checks, "--by", "ada")
        self.on.kubernetes.kubectl("delete", "pod", "probes", "-n", self.on.clients, "--grace-period=1")

    def frozen(self, releases: Releases) -> None:
        """A freeze holds a rollout in its middle, and keeps others from starting; let go, it goes on by itself, though gate
        service and Argo Rollouts are killed then."""
        about = ["--reason", "stocktaking", "--by", "ada", "--target", "kubernetes"]
        self.order("detached", releases.again, "--detach")
        assert self.commands.run("freeze", MODEL, *about).returncode == 0
        self.order("frozen", releases.fault)
        held = "model demand is frozen by ada: stocktaking"
        self.until(
            lambda: all(self.asked(gate, releases.again).get("reason") == held for gate in ("parity", "shadow", "drift"))
        )
        self.seen.held = {"live": self.live(), "parity": self.asked("parity", releases.again), "deadlines": [self.deadlines()]}
        token = self.on.kubernetes.kubectl("create", "token", "default", "-n", self.on.clients).strip()
        tokens = {"none": "", "its own": f"Bearer {token}", "a forged one": f"Bearer {token[:-8]}AAAAAAAA"}
        self.seen.askers = {name: self.presenting(header, releases.again) for name, header in tokens.items()}
        kubectl = self.on.kubernetes.kubectl
        now = ["--grace-period=0", "--force", "--wait=false"]
        kubectl("delete", "pod", "-n", self.on.home, "-l", "app.kubernetes.io/component=gates", *now)
        if self.on.kubernetes.own:  # the controller of a cluster that was given is not ours to kill
            kubectl("delete", "pod", "-n", "argo-rollouts", "-l", "app.kubernetes.io/name=argo-rollouts", *now)
        assert self.commands.run("unfreeze", MODEL, *about).returncode == 0
        self.seen.held["deadlines"].append(self.deadlines())
        self.until(lambda: self.clients_reach(releases.again), 180)
        self.until(self.settled, 90)

    def deadlines(self) -> list[int]:
        """After how many seconds without progress Argo Rollouts gives the rollout up, and after how many measurements the
        analysis that runs, or the next one."""
        rollout = self.on.kubernetes.get("rollout", MODEL, self.on.models)
        run = rollout["status"]["blueGreen"].get("prePromotionAnalysisRunStatus") or {}
        kind, name = (
            ("analysisrun", run["name"]) if run.get("status") == "Running" else ("analysistemplate", f"{MODEL}-pre-promotion")
        )
        metric = self.on.kubernetes.get(kind, name, self.on.models)["spec"]["metrics"][0]
        return [rollout["spec"]["progressDeadlineSeconds"], metric["count"]]

    def back(self) -> None:
        """Back to the release before, at once; the gate service is down meanwhile, and cannot be asked."""
        kubectl = self.on.kubernetes.kubectl
        self.say("rollback, without gates")
        kubectl("scale", "deployment/tidegate-gates", "-n", self.on.home, "--replicas=0")
        kubectl("wait", "pod", "-n", self.on.home, "-l", "app.kubernetes.io/component=gates", "--for=delete", "--timeout=60s")
        about = ["--reason", "orders look wrong", "--by", "ada", "--target", "kubernetes"]
        self.seen.commands["back"] = self.run("rollback", MODEL, *about)
        self.until(lambda: self.clients_reach(self.seen.releases.second), 60)
        self.seen.commands["doctor without gates"] = self.doctor()
        kubectl("scale", "deployment/tidegate-gates", "-n", self.on.home, "--replicas=1")
        kubectl("rollout", "status", "deployment/tidegate-gates", "-n", self.on.home, "--timeout=120s")
        self.seen.commands["status"] = self.run("status", "--target", "kubernetes")
        self.until(self.settled, 60)

    def back_and_forth(self) -> None:
        """Between the two that passed everything: each was gone back from, so it is named."""
        about = ["--reason", "back and forth", "--by", "ada", "--target", "kubernetes"]
        for digest in (self.seen.releases.again, self.seen.releases.second) * 3:
            self.say(f"rollback to {digest[:12]}")
            code, said = self.run("rollback", MODEL, "--to", f"{MODEL}@{digest[:12]}", *about)
            assert code == 0, said
            self.until(lambda digest=digest: self.clients_reach(digest), 60)  # type: ignore[misc]

    def christmas(self, releases: Releases) -> None:
        """The weeks before Christmas, which no release knows: none is let through, the monitor sees that the live one does not
        know them either, and a Job trains a model that does, while the story goes on."""
        self.commands.materialize(CHRISTMAS)
        self.order("drifted", releases.later)
        self.until(lambda: self.seen_to_drift(releases.again), 180, every_s=3)

    def seen_to_drift(self, digest: str) -> bool:
        """Whether the monitor has reported a FAIL of that release."""
        self.read_ledger()
        return "FAIL" in self.seen.watched(digest)

    def retrained(self) -> bool:
        """Whether every retraining that was asked for has come to an end."""
        self.read_ledger()
        asked = {e["sequence"] for e in self.seen.ledger if e["action"] == "retraining.asked"}
        ended = {
            e["body"]["request"] for e in self.seen.ledger if e["action"].startswith("retraining.") and "request" in e["body"]
        }
        return bool(asked) and asked == ended

    def run(self, *arguments: str) -> tuple[int, str]:
        done = self.commands.run(*arguments)
        return done.returncode, done.stdout + done.stderr

    def doctor(self) -> tuple[int, str]:
        """Once Argo Rollouts is ready: on a busy machine it may lose its lease, and start again."""
        wait = ["wait", "deployment", "--all", "-n", "argo-rollouts", "--for=condition=Available", "--timeout=120s"]
        self.on.kubernetes.kubectl(*wait)
        return self.run("doctor")

    def settled(self) -> bool:
        rollout = self.on.kubernetes.get("rollout", MODEL, self.on.models)
        status = rollout.get("status", {})
        seen = str(status.get("observedGeneration")) == str(rollout["metadata"]["generation"])
        return bool(seen and status.get("phase") == "Healthy" and status.get("stableRS") == status.get("currentPodHash"))

    def status(self) -> str:
        return self.commands.run("rollout", "status", MODEL, "--target", "kubernetes", "--json").stdout

    def asked(self, gate: str, digest: str) -> Record:
        path = f"/v1/models/{MODEL}/releases/{digest}/gates/{gate}"
        return json.loads(self.on.kubernetes.ask(self.on.home, "tidegate-gates", path) or "{}")  # type: ignore[no-any-return]

    def presenting(self, header: str, digest: str) -> Record:
        """What the gate service answers to a caller with this header `authorization`: status and body. Asked from its own pod,
        for the API server's proxy takes such headers for its own."""
        url = f"http://127.0.0.1:8080/v1/models/{MODEL}/releases/{digest}/gates/parity"
        return json.loads(self.inside("/usr/bin/python3", "-c", PRESENT, url, header))  # type: ignore[no-any-return]

    def live(self) -> str:
        """The release of the pods behind the active Service."""
        found = self.on.kubernetes.get("service", f"{MODEL}-active", self.on.models)["spec"].get("selector", {})
        pods = self.on.kubernetes.list("pod", self.on.models)
        chosen = [p for p in pods if found.items() <= p["metadata"]["labels"].items()]
        releases = {p["metadata"]["annotations"][RELEASE] for p in chosen}
        return releases.pop() if len(releases) == 1 else ""

    def clients_reach(self, digest: str) -> bool:
        """Whether the gateway's pods, asked in turn, all answer with that release."""
        path = f"/models/{MODEL}/v2/models/{MODEL}"
        answers = [self.on.kubernetes.ask(self.on.home, "tidegate-gateway", path) for _ in range(6)]
        return self.live() == digest and all(digest[:12] in answer for answer in answers)

    def mirrored(self) -> float:
        """Mirrored requests that the model's pods have answered."""
        total = 0.0
        for found in self.on.kubernetes.list("pod", self.on.models):
            path = f"/api/v1/namespaces/{self.on.models}/pods/{found['metadata']['name']}:8080/proxy/metrics"
            page = self.on.kubernetes.raw(path)
            lines = [line for line in page.splitlines() if line.startswith("tidegate_requests_total{")]
            total += sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'shadow="true"' in line)
        return total

    def read_ledger(self) -> None:
        self.seen.ledger = [
            json.loads(line) for line in self.inside("cat", "/var/lib/tidegate/ledger/ledger.jsonl").splitlines()
        ]

    def verify_ledger(self) -> None:
        verified = self.inside("/usr/bin/python3", "-m", "tidegate.cli.main", "ledger", "verify", "--json")
        self.seen.ledger_verified = bool(verified) and json.loads(verified)["ok"]

    def inside(self, *command: str) -> str:
        """What a command says in the gate service's pod."""
        return self.on.kubernetes.kubectl("exec", "deployment/tidegate-gates", "-n", self.on.home, "--", *command)

    def until(self, check: Callable[[], bool], timeout_s: float = 90, every_s: float = 0.5) -> None:
        await_true(check, timeout_s, lambda: f"{self.status()}\nlive {self.live()[:12]}", every_s=every_s)


def _passages(requests: list[Record]) -> list[str]:
    """The releases that clients passed to, one after the other: by the half seconds in which one alone answered."""
    answering: dict[int, set[str]] = {}
    for record in requests:
        answering.setdefault(int(2 * record["at"]), set()).add(record["release"])
    order = [min(releases) for _, releases in sorted(answering.items()) if len(releases) == 1]
    return [after for before, after in itertools.pairwise(order) if after != before]


def about(entry: Record, digest: str, action: str = "") -> bool:
    return entry["subject"] == f"{MODEL}@{digest[:12]}" and action in ("", entry["action"])


def of(record: Record, digest: str) -> bool:
    return record["release"] == f"{MODEL}@{digest[:12]}"
