"""Renders the charts into tests/golden/charts: `make goldens-charts`, or `python -m tests.golden.render_charts [--check]`.

Each `NAME.values.yaml` names its chart in its first line and gives `NAME.yaml`. That begins with a digest of what it was
rendered from, so a test without helm can tell that a chart was changed and not rendered again.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/golden/charts"
KEY = "tidegate/release+373c1e82+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
_HEAD = re.compile(r"# chart: (\S+), namespace: (\S+)\n")


@dataclass(frozen=True)
class Case:
    name: str
    chart: Path
    namespace: str
    values: Path

    @property
    def golden(self) -> Path:
        return FOLDER / f"{self.name}.yaml"

    def sources(self) -> str:
        """Digest of the chart's files and the case's values."""
        digest = hashlib.sha256(self.values.read_bytes())
        for path in sorted(path for path in self.chart.rglob("*") if path.is_file()):
            digest.update(path.relative_to(self.chart).as_posix().encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def rendered_from(self) -> str:
        """The digest that the golden file names."""
        return self.golden.read_text().splitlines()[0].removeprefix("# rendered from: ") if self.golden.exists() else ""


def cases() -> list[Case]:
    found = []
    for values in sorted(FOLDER.glob("*.values.yaml")):
        head = _HEAD.match(values.read_text())
        if head is None:
            raise SystemExit(f"{values}: the first line has to be '# chart: NAME, namespace: NAME'")
        found.append(Case(values.name.removesuffix(".values.yaml"), ROOT / "charts" / head[1], head[2], values))
    return found


def render(case: Case, helm: Path) -> str:
    """The chart as helm renders it, without asking a cluster."""
    release = case.chart.name if case.chart.name == "tidegate" else case.name
    command = [str(helm), "template", release, str(case.chart), "--namespace", case.namespace, "--values", str(case.values)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case.name}: {done.stderr.strip()}")
    return f"# rendered from: {case.sources()}\n" + re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE)


def gateway_is_stale() -> bool:
    """Whether the chart's gateway differs from what the platform renders; without --check it is written anew."""
    from tidegate.adapters.envoy import chart as envoy_chart

    folder = ROOT / "charts/tidegate/envoy"
    kept = {path.name: path.read_text() for path in folder.glob("*.json")}
    wanted = envoy_chart.texts()
    if kept != wanted and "--check" not in sys.argv:
        envoy_chart.write(folder)
    return kept != wanted


def of_a_new_project(folder: Path) -> dict[Path, str]:
    """Values that the project of `tidegate init`, made in `folder`, gives its charts; its owner's images are filled in."""
    import yaml

    from tidegate.adapters.files.project_file import load_project
    from tidegate.adapters.kubernetes.helm_chart import to_yaml, values_of
    from tidegate.apps.charts import decided_values, export
    from tidegate.apps.new_project import planned_files, write
    from tidegate.apps.rollouts import rollout_config
    from tidegate.domain.release import ReleaseManifest
    from tidegate.gates.monitor_file import load_monitor
    from tidegate.rollout.cluster.standing import chart_values

    write(planned_files(folder, "bikes")[1])
    project = load_project(folder)
    image = f"registry.example/bikes@sha256:{'ab' * 32}"
    export(project, image).write()
    platform, own, model = (folder / f"charts/values/{name}.yaml" for name in ("platform", "own", "rentals"))
    platform.rename(folder / "values.yaml")
    merged = values_of(folder, own)
    for component in ("gateway", "redis", "mlflow"):
        merged[component]["image"] = image
    manifest = cast(ReleaseManifest, SimpleNamespace(model="rentals", digest="3f2c" * 16))
    config = rollout_config(load_monitor(project.models["rentals"].monitor))
    given = chart_values(manifest, config, image, decided_values(project, "rentals") | {"trustedKeys": [KEY]})
    released = yaml.safe_load(model.read_text()) | given
    return {
        FOLDER / "new-project-platform.values.yaml": f"# chart: tidegate, namespace: tidegate\n{to_yaml(merged)}",
        FOLDER / "new-project-model.values.yaml": f"# chart: model, namespace: models\n{to_yaml(released)}",
    }


def main() -> int:
    from tests.cluster.one_node import recipes

    stale = ["gateway"] if gateway_is_stale() else []
    with tempfile.TemporaryDirectory() as folder:
        for path, text in of_a_new_project(Path(folder) / "bikes").items():
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
                if "--check" not in sys.argv:
                    path.write_text(text)

    helm = recipes.build(recipes.HELM, lambda message: sys.stderr.write(message + "\n") and None) / "bin" / "helm"
    for case in cases():
        text = render(case, helm)
        if not case.golden.exists() or case.golden.read_text() != text:
            stale.append(case.name)
            if "--check" not in sys.argv:
                case.golden.write_text(text)
    if "--check" in sys.argv and stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run: make goldens-charts\n")
        return 1
    sys.stdout.write(f"{len(cases())} renderings, {len(stale)} changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
