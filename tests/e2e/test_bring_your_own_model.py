"""The how-to 'bring your own model', executed as it stands: its shell and Python blocks, in order, on a copy of the project."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from story import ROOT, copy_project

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SKUS = 150  # of the sample: enough evaluated rows for promotion


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ports = copy_project(tmp_path)
    definition = tmp_path / "tidegate.yaml"
    definition.write_text(re.sub(r"replicas: \d+", "replicas: 1", definition.read_text()))
    some = sorted(pl.read_parquet(ROOT / "features/data/online_retail_year1.parquet")["StockCode"].unique())[::3][:SKUS]
    for year in ("year1", "year2"):
        path = tmp_path / f"features/data/online_retail_{year}.parquet"
        lines = pl.read_parquet(path)
        path.unlink()
        lines.filter(pl.col("StockCode").str.to_uppercase().is_in([*some, "85123A"])).write_parquet(path)
    (tmp_path / ".port").write_text(str(ports["gatewayPort"]))
    return tmp_path


def test_the_page_is_short_and_imports_the_public_face_alone() -> None:
    text = (ROOT / "docs/bring-your-own-model.md").read_text()
    assert len(text.splitlines()) <= 120
    assert set(re.findall(r"(?:from|import) (tidegate[\w.]*)", text)) == {"tidegate.api.project"}


@pytest.mark.e2e
@pytest.mark.slow
def test_every_step_of_the_how_to_works(project: Path) -> None:
    blocks = BLOCK.findall((ROOT / "docs/bring-your-own-model.md").read_text())
    python = "\n\n".join(code for kind, code in blocks if kind == "python")
    (project / "how_to.py").write_text(python)
    shell = [code for kind, code in blocks if kind == "sh"]
    shell.insert(-1, "python -W ignore how_to.py")  # one program, before the last commands
    bin_folder = Path(sys.executable).parent
    environment = {key: value for key, value in os.environ.items() if key not in ("TIDEGATE_STATE", "PYTHONPATH")}
    environment |= {
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "platform"),
        "GATEWAY_PORT": (project / ".port").read_text(),
        "NO_COLOR": "1",
    }
    script = "set -eux\ncurl() { python - \"$@\" <<'EOF'\n" + CURL + "\nEOF\n}\n" + "\n".join(shell)
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=project, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
        answers = [json.loads(line)["outputs"] for line in done.stdout.splitlines() if line.startswith('{"model"')]
        assert [sorted(each) for each in answers] == [["label", "probabilities"], ["label", "probabilities"], ["variable"]]
        assert [len(next(iter(each.values()))) for each in answers] == [2, 1, 1]
    finally:
        subprocess.run([str(bin_folder / "tidegate"), "down"], cwd=project, env=environment, check=False, timeout=60)


# a bare system has no curl: what the how-to asks of it, in Python
CURL = """
import sys, urllib.request
url, body = sys.argv[2], sys.argv[sys.argv.index("-d") + 1]
request = urllib.request.Request(url, body.encode(), {"content-type": "application/json"})
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""
