"""Renders the charts into tests/golden/charts: `make goldens-charts`, or `python -m tests.golden.render_charts [--check]`.

Each `NAME.values.yaml` names its chart in its first line and gives `NAME.yaml`. That begins with a digest of what it was
rendered from, so a test without helm can tell that a chart was changed and not rendered again.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests/golden/charts"
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


def main() -> int:
    from tests.cluster.one_node import recipes

    stale = ["gateway"] if gateway_is_stale() else []

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
