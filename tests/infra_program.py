"""Runs the real Pulumi program through Pulumi's own test monitor, and hands out what it registered."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml

ROOT = Path(__file__).resolve().parents[1]
STACKS = ("dev", "staging", "production")
SECRETS = {name: f"top-secret-{name}" for name in ("mlflowDatabaseUrl", "objectStoreAccessKey", "objectStoreSecretKey")}
MARK, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"  # how Pulumi marks a secret


@dataclass(frozen=True)
class Registered:
    """`after` are the names of resources that the engine makes first."""

    type: str
    name: str
    inputs: dict[str, Any]
    after: set[str] = field(default_factory=set)


class _Recorder(pulumi.runtime.Mocks):
    def __init__(self) -> None:
        self.registered: list[Registered] = []

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.registered.append(Registered(args.typ, args.name, args.inputs))
        return f"{args.name}-id", args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        return {}, None


class _Monitor(pulumi.runtime.mocks.MockMonitor):
    """Notes what depends on what, too."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__(recorder)
        self._recorder = recorder

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)
        made = [registered for registered in self._recorder.registered if registered.name == request.name]
        for registered in made:
            registered.after.update(urn.rpartition("::")[2] for urn in request.dependencies)
        return answer


def given() -> dict[str, Any]:
    """What a user has to set: everything that has no default."""

    def store(address: str) -> dict[str, Any]:
        return {"address": address, "region": "eu-1", "cidr": "192.0.2.0/28", "port": 443}

    operators = ("rollouts", "keda", "monitoring", "kafka", "pipelines")
    pool = {"provider": "existing", "region": "eu-1", "labels": {"example.org/pool": "cpu"}}
    return {
        "region": "eu-1",
        "allowedRegions": ["eu-1", "eu-2"],
        "apiServer": "192.0.2.16/32",
        "images": {n: f"example.org/{n}@sha256:{'ab' * 32}" for n in ("gateway", "gates", "monitor", "mlflow", "redis")},
        "operators": {n: {"chart": n, "version": "1.2.3", "repository": f"https://charts.example.org/{n}"} for n in operators},
        "postgres": store("postgres.example.org"),
        "objectStore": store("s3://models"),
        "nodePools": {"cpu": pool, "gpu": pool | {"taints": ["nvidia.com/gpu"]}},
        **SECRETS,
    }


def run(stack: str, settings: dict[str, Any]) -> list[Registered]:
    """Everything that `pulumi up` would register for the stack: its own file under `settings`."""
    file = yaml.safe_load((ROOT / f"infra/Pulumi.{stack}.yaml").read_text())["config"]
    merged = file | {f"tidegate:{name}": value for name, value in settings.items()}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in merged.items()}
    recorder = _Recorder()
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(recorder, project="tidegate", stack=stack, preview=False, monitor=_Monitor(recorder))
    pulumi.runtime.set_all_config(texts, [f"tidegate:{name}" for name in SECRETS])
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "infra"))  # as Pulumi's language host does
    try:
        pulumi.runtime.test(lambda: runpy.run_path(str(ROOT / "infra/__main__.py"), run_name="__main__") and None)()
    finally:
        sys.path[:] = before
    return recorder.registered


def objects(registered: list[Registered]) -> list[dict[str, Any]]:
    """The Kubernetes objects among it, without Helm's releases."""
    return [r.inputs for r in registered if "kind" in r.inputs and "apiVersion" in r.inputs]


def releases(registered: list[Registered]) -> list[dict[str, Any]]:
    return [r.inputs for r in registered if r.type == "kubernetes:helm.sh/v3:Release"]
