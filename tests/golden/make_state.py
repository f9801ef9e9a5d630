"""A small state folder as a commit's own commands leave it, packed so that equal folders give equal bytes.

    git worktree add --detach FOLDER COMMIT && make -C FOLDER setup
    FOLDER/build/venv/bin/python tests/golden/make_state.py FOLDER tests/golden/states/COMMIT.tar.xz

Two models are trained on some SKUs of the sample and released; both go live one after the other under load, the second behind
all gates. What is packed: `state/` (stopped), `project/` (the definitions it was made with, without the raw files) and
`requests.json` (some requests with their answers). The state lies unpacked in another place than where it was made.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

SKUS = 48
PORTS = {"gatewayPort": 18800, "adminPort": 18801, "slotPorts": 18810}
PARTS = ("features", "pipelines", "serving", "monitoring")
SMALLER = {
    "pipelines/demand/pipeline.py": {"trees": 12, "leaves": 15, "training_rows": 8000, "reference_rows": 4000, "origins": 2},
    "monitoring/demand.yaml": {"min_requests": 120, "window": 200, "min_seconds": 2, "min_vectors": 100, "min_rows": 300},
}
FIRST, SECOND = "2011-06-06", "2011-09-05"
LEFT_OUT = ("state/pipelines", "state/exports", "state/target/supervisor.lock")


class Made:
    """A copy of the checkout's project in `root`, and its command."""

    def __init__(self, checkout: Path, root: Path) -> None:
        self.root, self.checkout = root, checkout
        self.project, self.state = root / "project", root / "state"
        self.gateway = f"http://127.0.0.1:{PORTS['gatewayPort']}/predict"
        for part in PARTS:
            shutil.copytree(checkout / part, self.project / part, ignore=shutil.ignore_patterns("__pycache__"))
        self._edit("tidegate.yaml", checkout / "tidegate.yaml", {name: (name, port) for name, port in PORTS.items()})
        for name, values in SMALLER.items():
            self._edit(name, checkout / name, {key: (f'"?{key}"?', value) for key, value in values.items()})
        self.skus, self.order, self.chance = self._sample(), list[str](), random.Random(7)

    def _edit(self, name: str, source: Path, values: dict[str, tuple[str, int]]) -> None:
        text = source.read_text()
        for pattern, value in values.values():
            text, found = re.subn(rf"(\b|(?<=\"))({pattern}): [\d_.]+", rf"\g<2>: {value}", text)
            assert found, f"{name} sets no {pattern}"
        (self.project / name).write_text(text)

    def _sample(self) -> list[str]:
        lines = pl.read_parquet(self.project / "features/data/online_retail_year1.parquet")
        goods = lines.filter(pl.col("StockCode").str.contains(r"^\d{5}"))["StockCode"]  # no postage, no fees
        chosen = goods.value_counts(sort=True).head(3 * SKUS)["StockCode"].sort()[::3].to_list()
        for year in ("year1", "year2"):
            path = self.project / f"features/data/online_retail_{year}.parquet"
            kept = pl.read_parquet(path).filter(pl.col("StockCode").is_in(chosen))
            path.unlink()
            kept.write_parquet(path)
        return chosen

    def run(self, *arguments: str) -> Any:
        print("tidegate", *arguments, flush=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "MLFLOW_"))}
        environment = {**kept, "TIDEGATE_STATE": str(self.state), "NO_COLOR": "1", "LOGNAME": "maker", "USER": "maker"}
        command = [self.checkout / "build/venv/bin/tidegate", *arguments, "--json"]
        done = subprocess.run(command, cwd=self.project, env=environment, text=True, capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(f"tidegate {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-4000:]}")
        return json.loads(done.stdout) if done.stdout else None

    def ask(self, number: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
        if len(self.order) < 3:  # each SKU once before any comes again, as a planning run does
            self.order += self.chance.sample(self.skus, len(self.skus))
        count = self.chance.randint(1, 3)
        asked, self.order = self.order[:count], self.order[count:]
        body = {"skus": sorted(set(asked)), "horizon": self.chance.randint(1, 7)}
        name = f"golden-{number:06d}"
        headers = {"content-type": "application/json", "x-request-id": name}
        request = urllib.request.Request(self.gateway, json.dumps(body).encode(), headers)  # noqa: S310 (loopback)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return name, body, json.loads(answer.read())

    @contextmanager
    def load(self, first: int, rate: float = 15.0) -> Iterator[None]:
        stopping = threading.Event()

        def send() -> None:
            number = first
            while not stopping.wait(1 / rate):
                try:
                    self.ask(number)
                except urllib.error.HTTPError as error:
                    print("refused", number, error.code, error.read()[:300])
                number += 1

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def release(self, until: str) -> str:
        self.run("train", "demand", "--until", until)
        self.run("promote", "demand")
        return str(self.run("release", "build", "demand")["id"])


def make(checkout: Path, root: Path) -> Made:
    made = Made(checkout, root)
    made.run("ingest", "demand")
    made.run("features", "build", "demand")
    made.run("features", "apply", "demand")
    made.run("features", "materialize", "demand", "--until", FIRST)
    made.run("up")
    try:
        made.run("rollout", "demand", "--release", made.release(FIRST))
        made.run("features", "materialize", "demand", "--until", SECOND)
        second = made.release(SECOND)
        with made.load(1):
            made.run("rollout", "demand", "--release", second)
        asked = [made.ask(900_000 + n) for n in range(5)]
        time.sleep(2)  # the inference log writes behind
        told = [{"id": name, "body": body, "answer": answer} for name, body, answer in asked]
        (root / "requests.json").write_text(json.dumps(told, indent=1) + "\n")
    finally:
        made.run("down")
    return made


def pack(root: Path, archive: Path) -> None:
    """`root` as a tar with sorted names and no owner."""
    for path in (*root.glob("project/**/data/*.parquet"), *root.glob("project/**/__pycache__")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            if name.as_posix().startswith(LEFT_OUT) or not (path.is_file() or path.is_dir()) or path.is_symlink():
                continue
            info = tar.gettarinfo(path, name.as_posix())
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(info.mtime)  # kept: releases are listed in its order
            with path.open("rb") if path.is_file() else io.BytesIO() as data:
                tar.addfile(info, data if path.is_file() else None)
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{archive}: {archive.stat().st_size:,} bytes of {len(content.getvalue()):,}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tidegate-golden-") as scratch:
        make(Path(sys.argv[1]).resolve(), Path(scratch))
        pack(Path(scratch), Path(sys.argv[2]))
