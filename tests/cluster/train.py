"""Trains the models of the demand story in a process of its own, while other tests use the cluster.

Like the cluster's programs and images, what was trained is kept by the content that it was made of.

python -m tests.cluster.train FOLDER
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from infra.images.kept import cache_folder, made_once

ROOT = Path(__file__).resolve().parents[2]
MODEL = "demand"
FAULT = ROOT / "demo/faults/leaking_audit.py"
RESULT, LOG, OUTPUT = "releases.json", "train.log", "output"  # the last has the training output of `second`
KNOWN = "  - {name: known, kind: ./gates/known.py, stage: verify, timeout_seconds: 60}\n"
OWN_GATE = """
from dataclasses import dataclass
from tidegate.api.gates import Evidence, Verdict

@dataclass(frozen=True)
class Rules:
    pass

def judge(case, rules):
    return Verdict.PASS, Evidence("a gate of the project's own", 1, {"files": len(case.candidate.files)})
"""
SMALLER = {"training_rows": 40_000, "origins": 2, "trees": 60}  # than what the project trains with: it is only rolled out here


@dataclass(frozen=True)
class Releases:
    """Digests. `again` and `later` are `second` with one more file beside the service; `fault` fails live, `refusing` answers
    only for short SKUs, and `quick` is `second` whose bake has to end soon, with a gate of its own."""

    first: str
    second: str
    again: str
    later: str
    pence: str
    fault: str
    refusing: str
    quick: str
    skus: list[str]
    version: str  # of `second`


@dataclass(frozen=True)
class Training:
    """`folder` gets the state, with releases and feature tables."""

    folder: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, folder: Path) -> Training:
        """`folder` gets a copy of what was made before of the same content, or is being made by another process, or now."""
        command = ["nice", "-n", "5", sys.executable, "-m", "tests.cluster.train", str(folder)]
        with (folder / LOG).open("wb") as log:
            return cls(folder, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True))

    def result(self) -> Releases:
        assert self.process.wait(600) == 0, (self.folder / LOG).read_text()[-2000:]
        return Releases(**json.loads((self.folder / RESULT).read_text()))

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(30)


def train(folder: Path) -> Releases:
    """Releases of two models, one of them in several ways, and of one that was trained on prices in pence."""
    from demo.faults.pence import export_in_pence
    from demo.story import JUNE, SEPTEMBER
    from tidegate.adapters.files.project_file import load_project
    from tidegate.apps.platform import Platform

    project = load_project(ROOT)
    config = replace(project.models[MODEL], pipeline=_smaller(project.models[MODEL].its_pipeline(), folder))
    platform = Platform(replace(project, state=folder / "state", models={MODEL: config}))
    platform.ingest("online_retail")
    platform.build_features(MODEL)
    platform.apply_features(MODEL)

    def released(version: str, **more: Any) -> str:
        return platform.build_release(MODEL, version, **more).digest

    def trained(until: Any, sources: list[Path] | None = None) -> str:
        return platform.train(MODEL, until, sources={"online_retail": sources} if sources else None).version

    pence_sources = export_in_pence(platform.project.dataset("online_retail").sources, folder / "exports")
    with ThreadPoolExecutor(2) as threads:
        pending = [threads.submit(trained, *about) for about in ((JUNE,), (SEPTEMBER, pence_sources))]
        june, in_pence = (each.result() for each in pending)
    version = trained(SEPTEMBER)  # after the others, so that its number is the third
    platform.registry.fetch(platform.registry.get(MODEL, version), folder / "state" / OUTPUT)
    assert all(platform.promote(MODEL, each).opens for each in (june, version, in_pence))
    first = released(june)
    serving = platform.project.model(MODEL).its_serving()
    for name in ("again", "later", "fault", "refusing"):
        shutil.copytree(serving, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("again", "later"):
        (folder / name / "README.md").write_text(f"The same, {name}.\n")
    shutil.copy(FAULT, folder / "fault" / "middleware.py")
    _changed(folder / "refusing/service.py", "max_length=64", "max_length=5")
    folders = (serving, *(folder / name for name in ("again", "later", "fault", "refusing")))
    second, again, later, fault, refusing = (released(version, serving=path) for path in folders)
    pence = released(in_pence)
    monitor = Path(shutil.copy(config.monitor, folder / "quick.yaml"))
    _changed(monitor, "timeout_seconds: 180", "timeout_seconds: 30")
    _changed(monitor, "\ngates: ", f"\ngates:\n{KNOWN} #")
    (folder / "gates").mkdir()
    (folder / "gates/known.py").write_text(OWN_GATE)
    hurried = Platform(replace(platform.project, models={MODEL: replace(config, monitor=monitor)}))
    quick = hurried.build_release(MODEL, version).digest
    skus = list(platform.known_entities(MODEL, SEPTEMBER))
    return Releases(first, second, again, later, pence, fault, refusing, quick, skus, version)


def content() -> str:
    """Digest of the code, definitions, data and packages that the releases are made of."""
    digest = hashlib.sha256((ROOT / "requirements.lock").read_bytes() + Path(__file__).read_bytes())
    for source in ("platform/tidegate", "demo", "features", "pipelines", "serving", "monitoring"):
        for path in sorted((ROOT / source).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def make(into: Path) -> None:
    """Train; of all that comes of it, `into` gets what the tests use."""
    with tempfile.TemporaryDirectory(prefix="train-") as work:
        result = train(Path(work))
        for name in ("data", "features", "releases", "keys", "ledger", OUTPUT):
            shutil.copytree(Path(work) / "state" / name, into / "state" / name)
    (into / RESULT).write_text(json.dumps(asdict(result)))


def _changed(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has {text.count(old)} times {old}"
    file.write_text(text.replace(old, new))


def _smaller(pipeline: Path, folder: Path) -> Path:
    text = pipeline.read_text()
    for name, value in SMALLER.items():
        text, found = re.subn(rf'"{name}": [\d_]+', f'"{name}": {value}', text)
        assert found == 1, name
    (folder / pipeline.name).write_text(text)
    return folder / pipeline.name


def _end_with(parent: int) -> None:
    """Nothing goes on for tests that were killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    kept = made_once(cache_folder() / "trained" / content(), make)
    shutil.copytree(kept, Path(sys.argv[1]), dirs_exist_ok=True)
