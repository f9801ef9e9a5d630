"""Building a Bento of a release: BentoML's own archive, with the release, its service and this package inside.

The Bento's service is the release's service behind the same light application as in a slot, so `bentoml serve`, a container
of it and a slot's process answer alike. It is told at run time where things are: TIDEGATE_ONLINE (path or URL of the online
store), TIDEGATE_LOG_DIR, TIDEGATE_TRUSTED_KEYS (one of which signed the release), and optionally TIDEGATE_SLOT and
TIDEGATE_REPLICA. The build runs BentoML in a process of its own,
because BentoML reads where its store lies once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tidegate
from tidegate.adapters.files.release_keys import TRUSTED_KEYS, keys_beside, require_signed
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import SHORT
from tidegate.files.release_folder import SERVING, verified_bytes, verify_release

ENTRY = '''"""Entry of the Bento: the release beside this file, served by its own service."""

from pathlib import Path

from tidegate.apps.bento import bento_service

service = bento_service(next((Path(__file__).resolve().parent / "release").iterdir()))
'''
BENTOFILE = f"{SERVING}/bentofile.yaml"
PLAIN_BENTOFILE = """service: "bento_entry:service"
include: ["bento_entry.py", "release/**", "tidegate/**"]
python:
  packages: [bentoml, cryptography, msgspec, numpy, onnxruntime, prometheus-client, pydantic, redis, uvicorn, uvloop]
  lock_packages: false
"""
BUILD_SECONDS = 300


@dataclass(frozen=True)
class BuiltBento:
    """`tag` is BentoML's, `demand:3f2c91a07b5d`; `folder` holds the Bento."""

    tag: str
    folder: Path


def build_bento(release_folder: Path, home: Path) -> BuiltBento:
    """Build the Bento of a release into the BentoML home `home`; building it again returns the one that is there.

    Raises IntegrityError for a release that is damaged or not signed, InvalidInput with BentoML's reason when the build fails.
    """
    release_folder = release_folder.resolve()
    trusted = keys_beside(release_folder)
    require_signed(release_folder, trusted)
    manifest = verify_release(release_folder)
    version = manifest.digest[:SHORT]
    built = BuiltBento(f"{manifest.model}:{version}", home / "bentos" / manifest.model / version)
    if (built.folder / "bento.yaml").is_file():
        return built
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bento-", dir=home) as name:
        context = Path(name)
        own = BENTOFILE in manifest.files
        bentofile = verified_bytes(release_folder, manifest, BENTOFILE) if own else PLAIN_BENTOFILE.encode()
        (context / "bentofile.yaml").write_bytes(bentofile)
        (context / "bento_entry.py").write_text(ENTRY)
        shutil.copytree(release_folder, context / "release" / release_folder.name)
        package = Path(tidegate.__file__).parent
        shutil.copytree(package, context / "tidegate", ignore=shutil.ignore_patterns("__pycache__"))
        environment = {"BENTOML_HOME": str(home.resolve()), TRUSTED_KEYS: " ".join(map(str, trusted))}
        _run_bentoml(context, environment, manifest.id, manifest.model, version)
    if not (built.folder / "bento.yaml").is_file():
        raise InvalidInput(f"release {manifest.id}: BentoML built no Bento at {built.folder}; its store has another layout")
    return built


def _run_bentoml(context: Path, given: Mapping[str, str], release: str, name: str, version: str) -> None:
    command = [sys.executable, "-m", "bentoml", "build", "--name", name, "--version", version, str(context)]
    environment = {**os.environ, **given, "BENTOML_DO_NOT_TRACK": "true", "PATH": _path_with_uv(release)}
    done = subprocess.run(command, env=environment, cwd=context, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise InvalidInput(f"release {release}: BentoML cannot build it: {lines[-1] if lines else 'no reason given'}")


def _path_with_uv(release: str) -> str:
    """BentoML asks for uv even when it locks nothing, and would install it by itself; ours lies beside the environment."""
    beside = str(Path(sys.prefix).parent / "uv" / "bin")
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), beside])
    if shutil.which("uv", path=path) is None:
        raise InvalidInput(f"release {release}: building a Bento needs 'uv' on PATH; install it")
    return path
