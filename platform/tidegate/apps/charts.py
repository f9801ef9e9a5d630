"""The charts of a project: those that the package ships, with values made of its project file.

`charts/values/platform.yaml` is written anew each time, and says what the project file decides. `own.yaml` and the values of
a model's chart are written once, to begin with: what a release and the project file decide of these is given when it is
rolled out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.adapters.kubernetes.helm_chart import to_yaml, values_of
from tidegate.apps.trust import trusted_keys
from tidegate.domain.errors import Conflict, InvalidInput, Unavailable
from tidegate.domain.project import Project
from tidegate.gates.monitor_file import load_monitor
from tidegate.ports.gates import Slo
from tidegate.rollout.cluster.standing import chart_values

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform

MODEL, PLATFORM = "model", "tidegate"  # the charts
WITH_PLATFORM_IMAGE = ("gates", "monitor", "training", "scheduled")
GRPC_PORT = 8001  # of Triton, in the model's chart
GATES = "tidegate-gates"  # Service and account of the gate service
OF_PLATFORM = """\
# Values of the platform's chart, written by 'tidegate chart export' from {project}: change that, and write this anew.
# What is yours alone is in own.yaml, which is given to helm after this.
"""
OF_MODEL = """\
# Values of the model's chart for {model}, to begin with: yours to change. 'tidegate rollout {model} --target kubernetes'
# adds what the release and the project file decide: release, slot, image, gates, trustedKeys, maxBodyMegabytes.
"""
OWN = """\
# What is yours in the platform's chart, to begin with: images of what others make, by digest (NAME@sha256:...), which are
# refused until they are filled in. A cluster with a Redis or an MLflow of its own needs none here: see values.schema.json.
gateway:
  image: "" # Envoy 1.36 or later, say the vendor's distroless one
redis:
  enabled: true
  image: "" # Redis 7
  args: [--bind, "* -::*", --protected-mode, "no", --dir, /data, --maxmemory, 512mb]
mlflow:
  enabled: true
  image: "" # as 'tidegate image mlflow' names it
  env: {MLFLOW_SERVER_ENABLE_JOB_EXECUTION: "false"}
  args:
    - server
    - --host=0.0.0.0
    - --port=5000
    - --workers=1
    - --allowed-hosts=*
    - --backend-store-uri=sqlite:////var/lib/mlflow/mlflow.db
    - --serve-artifacts
    - --artifacts-destination=/var/lib/mlflow/artifacts
"""


@dataclass(frozen=True)
class Exported:
    """Files to write, and those that are their owner's and stay as they are."""

    files: Mapping[Path, bytes]
    kept: tuple[Path, ...]

    def write(self) -> None:
        for path, content in self.files.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as error:
                raise Unavailable(f"charts: {path} cannot be written ({error.strerror}); make room or allow it") from error


def export(project: Project, image: str = "", force: bool = False) -> Exported:
    """The charts and their values, where the project file says that they lie. `image` is the platform's; without it the values
    keep the one that they have. Raises Conflict for a chart's file that is there and differs, unless `force`."""
    settings = project.targets.kubernetes
    made: dict[Path, bytes] = {}
    for chart, place in ((MODEL, settings.chart), (PLATFORM, settings.chart.with_name(PLATFORM))):
        made |= {place / path: content for path, content in _shipped_files(shipped() / chart)}
    differing = [path for path, content in made.items() if path.exists() and path.read_bytes() != content]
    if differing and not force:
        raise Conflict(f"chart export: {differing[0]} is there and differs from the package's; --force replaces it")
    file = settings.values / "platform.yaml"
    platform = to_yaml(platform_values(project, image or _image_in(file)))
    made[file] = (OF_PLATFORM.format(project=project.file.name) + platform).encode()
    first = {settings.values / f"{name}.yaml": partial(_of_model, project, name) for name in project.models}
    made |= {path: text().encode() for path, text in first.items() if not path.exists()}
    if not (own := settings.values / "own.yaml").exists():
        made[own] = OWN.encode()
    kept = tuple(path for path in (*first, own) if path not in made)
    return Exported(made, kept)


def decided_values(project: Project, model: str) -> dict[str, Any]:
    """Values of the model's chart that the project decides, whatever its values file says."""
    keys = [str(key) for key in trusted_keys(project)]
    return {"trustedKeys": keys, "maxBodyMegabytes": project.model(model).max_body_megabytes}


def release_values(platform: Platform, model: str, release: str | None, image: str) -> dict[str, Any]:
    """All that the model's chart is given for a release; raises IntegrityError for one that may not be served."""
    manifest, config = platform.to_roll_out(model, release)
    platform.admit(manifest)
    return chart_values(manifest, config, image, decided_values(platform.project, model))


def platform_values(project: Project, image: str = "") -> dict[str, Any]:
    """What the project file decides in the platform's chart."""
    namespace = project.targets.kubernetes.namespace
    schedules = scheduled_values(project)
    values: dict[str, dict[str, Any]] = {
        "gateway": {"models": [_routed(project, name) for name in project.models]},
        "gates": {"namespace": namespace, "trustedKeys": [str(key) for key in trusted_keys(project)]},
        "monitor": {},
        "training": {},
        "scheduled": {"enabled": bool(schedules), "schedules": schedules},
        "networkPolicy": {"modelNamespaces": [namespace]},
    }
    if project.local.default_model:
        values["gateway"]["defaultModel"] = project.local.default_model
    for component in WITH_PLATFORM_IMAGE if image else ():
        values[component]["image"] = image
    return {name: part for name, part in values.items() if part}


def scheduled_values(project: Project) -> list[dict[str, Any]]:
    """The project's schedules, a CronJob each."""
    return [
        {"name": each.name, "cron": each.cron, "timeZone": each.zone, "missed": str(each.missed)}
        | {"args": list(each.run), "timeoutSeconds": each.timeout_seconds}
        for each in project.schedules.values()
    ]


def shipped() -> Path:
    """The folder of the package's charts."""
    packed = Path(str(files("tidegate"))) / "charts"
    return packed if packed.is_dir() else Path(__file__).parents[3] / "charts"  # a checkout's


def _shipped_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder), path.read_bytes()


def _image_in(file: Path) -> str:
    """The platform's image in values that were written before, empty for none."""
    values = values_of(shipped() / PLATFORM, file) if file.is_file() else {}
    return str(values.get("gates", {}).get("image", ""))


def _routed(project: Project, model: str) -> dict[str, Any]:
    """The model as the gateway knows it, its ports as the values of its chart have them."""
    settings, chart = project.targets.kubernetes, shipped() / MODEL
    file = settings.values / f"{model}.yaml"
    values = values_of(chart, file if file.is_file() else chart / "values.yaml")
    route = {"name": model, "namespace": settings.namespace, "port": values["port"]}
    grpc = {"grpcPort": GRPC_PORT} if values["engine"] == "triton" else {}
    return {**route, **grpc, "maxBodyMegabytes": project.model(model).max_body_megabytes}


def _of_model(project: Project, model: str) -> str:
    """Values of the model's chart to begin with."""
    resources = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}
    slo = _counted(load_monitor(project.model(model).monitor).slo)
    fresh = {} if project.model(model).features else {"featuresHours": 0}
    home = project.targets.kubernetes.platform
    redis = f"redis://tidegate-redis.{home}.svc:6379/0"
    values = {"onlineStore": redis, "records": redis, "resources": resources, "slo": {**slo, **fresh}}
    return OF_MODEL.format(model=model) + to_yaml({**values, **_elsewhere(home)})


def _elsewhere(home: str) -> dict[str, Any]:
    """Where the platform is, where that is not the namespace that the model's chart takes it to be in."""
    defaults = values_of(shipped() / MODEL, shipped() / MODEL / "values.yaml")
    if home == defaults["gates"]["serviceAccount"]["namespace"]:
        return {}
    gates = {"address": f"http://{GATES}.{home}.svc:8080", "serviceAccount": {"name": GATES, "namespace": home}}
    return {"gates": gates, "networkPolicy": {name: {"namespace": home} for name in ("gateway", "gates", "onlineStore")}}


def _counted(slo: Slo) -> dict[str, Any]:
    """As the chart's alerts can count it: latency by a bound of the gateway's histogram, the next one above."""
    schema = json.loads((shipped() / MODEL / "values.schema.json").read_bytes())
    bounds = schema["properties"]["slo"]["properties"]["latencyMs"]["enum"]
    given = asdict(slo)
    above = next((bound for bound in bounds if bound >= given["latency_ms"]), None)
    if above is None:
        raise InvalidInput(
            f"the SLO's latency_ms is {given['latency_ms']}; on a cluster the most that is counted is {bounds[-1]}"
        )
    return {"availability": given["availability"], "latencyMs": above, "latencyShare": given["latency_share"]}
