"""Charts of a project: what the project file decides, what stays its owner's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tidegate.adapters.files.project_file import load_project
from tidegate.apps.charts import decided_values, export, platform_values
from tidegate.domain.errors import Conflict
from tidegate.domain.project import Project

KEY = "tidegate/release+373c1e82+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
PROJECT = f"""\
apiVersion: tidegate/v1
project: shop
trustedKeys: [{KEY}]
models:
  demand: {{monitor: monitor.yaml, maxBodyMegabytes: 4}}
  lead_time: {{monitor: monitor.yaml}}
  pictures: {{monitor: monitor.yaml}}
targets:
  local: {{defaultModel: demand}}
  kubernetes: {{namespace: shop}}
schedules:
  nightly: {{cron: 30 2 * * *, run: [features, materialize, demand]}}
"""
MONITOR = """\
slo: {availability: 0.99, latency_ms: 180, latency_share: 0.95}
gates: [{name: shadow, kind: shadow, stage: shadow}, {name: bake, kind: bake, stage: bake}]
promotion:
  min_rows: 200
  beats_baseline: {margin: 0.05}
  no_worse_than_champion: {margin: 0.02}
  segments: {max_worse: 0.2, min_rows: 50}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("TIDEGATE_TRUSTED_KEYS", raising=False)
    monkeypatch.delenv("TIDEGATE_STATE", raising=False)
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    (tmp_path / "monitor.yaml").write_text(MONITOR)
    return load_project(tmp_path)


def values(project: Project, name: str) -> dict:
    return yaml.safe_load((project.root / "charts/values" / f"{name}.yaml").read_text())


def test_the_platform_has_what_the_project_file_decides(project: Project) -> None:
    found = platform_values(project, "registry.example/shop@sha256:12")
    assert found["gateway"] == {
        "models": [
            {"name": "demand", "namespace": "shop", "port": 8080, "maxBodyMegabytes": 4},
            {"name": "lead_time", "namespace": "shop", "port": 8080, "maxBodyMegabytes": 1},
            {"name": "pictures", "namespace": "shop", "port": 8080, "maxBodyMegabytes": 1},
        ],
        "defaultModel": "demand",
    }
    image, keys = "registry.example/shop@sha256:12", [KEY]
    assert found["gates"] == {"namespace": "shop", "trustedKeys": keys, "image": image}
    assert found["networkPolicy"] == {"modelNamespaces": ["shop"]}
    assert found["scheduled"]["enabled"]
    assert found["scheduled"]["schedules"][0]["args"] == ["features", "materialize", "demand"]


def test_the_largest_body_of_a_models_pods_is_the_project_files_whatever_its_values_say(project: Project) -> None:
    assert decided_values(project, "demand") == {"trustedKeys": [KEY], "maxBodyMegabytes": 4}


def test_values_of_a_model_are_written_once_and_those_of_the_platform_each_time(project: Project) -> None:
    made = export(project, "registry.example/shop@sha256:12")
    made.write()
    assert (project.root / "charts/values/lead_time.yaml").is_file()
    assert values(project, "demand")["slo"] == {
        "availability": 0.99,
        "latencyMs": 250,
        "latencyShare": 0.95,
        "featuresHours": 0,
    }
    own = project.root / "charts/values/pictures.yaml"
    own.write_text("engine: triton\nport: 8000\n")
    changed = replace(project.models["demand"], max_body_megabytes=9)
    again = export(replace(project, models={**project.models, "demand": changed}))
    kept = ("demand", "lead_time", "pictures", "own")
    assert again.kept == tuple(project.root / f"charts/values/{name}.yaml" for name in kept)
    again.write()
    assert own.read_text() == "engine: triton\nport: 8000\n"
    routed = {"name": "pictures", "namespace": "shop", "port": 8000, "grpcPort": 8001, "maxBodyMegabytes": 1}
    assert values(project, "platform")["gateway"]["models"][2] == routed
    assert values(project, "platform")["gateway"]["models"][0]["maxBodyMegabytes"] == 9
    assert values(project, "platform")["gates"]["image"] == "registry.example/shop@sha256:12"


def test_pods_find_a_platform_that_is_installed_in_another_namespace(project: Project) -> None:
    export(project).write()
    found = values(project, "demand")
    assert found["onlineStore"] == found["records"] == "redis://tidegate-redis.tidegate.svc:6379/0"
    assert not {"gates", "networkPolicy"} & set(found), "the chart's own defaults"
    elsewhere = replace(project.targets.kubernetes, platform="sea", values=project.root / "elsewhere")
    export(replace(project, targets=replace(project.targets, kubernetes=elsewhere))).write()
    found = yaml.safe_load((project.root / "elsewhere/demand.yaml").read_text())
    assert found["onlineStore"] == found["records"] == "redis://tidegate-redis.sea.svc:6379/0"
    assert found["gates"] == {
        "address": "http://tidegate-gates.sea.svc:8080",
        "serviceAccount": {"name": "tidegate-gates", "namespace": "sea"},
    }
    home = {"namespace": "sea"}
    assert found["networkPolicy"] == {"gateway": home, "gates": home, "onlineStore": home}


def test_a_chart_that_was_changed_is_not_replaced_without_a_word(project: Project) -> None:
    export(project).write()
    chart = project.root / "charts/model/Chart.yaml"
    chart.write_text("mine")
    with pytest.raises(Conflict, match=r"Chart\.yaml is there and differs from the package's; --force replaces it"):
        export(project)
    export(project, force=True).write()
    assert chart.read_text() != "mine"
