"""A client inside the cluster, which asks for predictions at a steady rate and counts every answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.access import await_true
from tests.cluster.objects import pod
from tests.cluster.platform_on_cluster import MODEL, OnCluster

LOAD = Path(__file__).parents[2] / "demo/load.py"
Record = dict[str, Any]


@dataclass
class Client:
    """`name` is its pod's."""

    on: OnCluster
    name: str = "load"
    model: str = MODEL

    def start(self, asked: Sequence[Any], rate: float, kind: str = "catalogue", seconds: int = 1500) -> None:
        """`rate` in requests a second, of what is asked: `bodies` in turn, or forecasts of a `catalogue`."""
        files = {"asked.json": json.dumps(asked), "phase.json": json.dumps("story"), "load.py": LOAD.read_text()}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "load"}, "data": files}
        self.on.kubernetes.apply(document, self.on.clients)
        url = f"http://tidegate-gateway.{self.on.home}.svc.cluster.local/models/{self.model}/predict"
        arguments = ["--url", url, "--rate", f"{rate:g}", "--seconds", str(seconds), "--log", "/dev/stdout"]
        arguments += [f"--{kind}", "/load/asked.json", "--phase", "/load/phase.json"]
        document = pod(self.name, self.on.images.platform, arguments, restartPolicy="Never")
        container = document["spec"]["containers"][0]
        container["command"] = ["/usr/bin/python3", "/load/load.py"]
        container["resources"] = {"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}}
        container["volumeMounts"] = [{"name": "load", "mountPath": "/load"}]
        # the network of a pod that has just started may not let it through yet
        reached = pod("reached", self.on.kubernetes.responder, ["get", f"{url.removesuffix('predict')}readyz"])
        document["spec"]["initContainers"] = [reached["spec"]["containers"][0] | {"name": "reached"}]
        document["spec"]["volumes"] = [{"name": "load", "configMap": {"name": "load"}}]
        self.on.kubernetes.kubectl("delete", "pod", self.name, "-n", self.on.clients, "--ignore-not-found")
        self.on.kubernetes.apply(document, self.on.clients)
        await_true(lambda: bool(self.records()), 60, lambda: "the client has sent nothing")

    def records(self) -> list[Record]:
        lines = self.on.kubernetes.kubectl("logs", self.name, "-n", self.on.clients, check=False).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def stop(self) -> list[Record]:
        """Ask it to end, which it does when every request under way is answered."""
        stop = "import os, signal; os.kill(1, signal.SIGTERM)"
        self.on.kubernetes.kubectl("exec", self.name, "-n", self.on.clients, "--", "/usr/bin/python3", "-c", stop, check=False)
        return self.ended()

    def ended(self) -> list[Record]:
        phase = lambda: self.on.kubernetes.get("pod", self.name, self.on.clients).get("status", {}).get("phase")  # noqa: E731
        await_true(lambda: phase() == "Succeeded", 60, lambda: f"the client is {phase()}")
        return self.records()
