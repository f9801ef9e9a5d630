"""What goes into an image, the file that says so, and the programs that build and push it."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest

from tidegate.adapters.files.project_file import load_project
from tidegate.adapters.oci import builders, contents, recipe
from tidegate.adapters.oci.distributions import copy, of_project, pinned, required, requirements
from tidegate.domain.errors import InvalidInput, Unavailable

PROJECT = """\
apiVersion: tidegate/v1
project: shop
stateDir: features/state
datasets:
  lines: {definition: features/lines.py, sources: [data/lines.csv, SOURCE]}
models:
  demand: {features: {repo: features, service: demand}, monitor: MONITOR}
"""


def written(folder: Path, source: str = "data/lines.csv", monitor: str = "demand.yaml") -> Path:
    features = [f"features/{name}" for name in ("lines.py", ".feastignore", ".env", "state/secret")]
    for name in (*features, "data/lines.csv", "demand.yaml", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "tidegate.yaml").write_text(PROJECT.replace("SOURCE", source).replace("MONITOR", monitor))
    return folder


def test_a_projects_image_has_what_its_file_names_and_nothing_that_it_generates(tmp_path: Path) -> None:
    (tmp_path / "raw.csv").touch()
    project = load_project(written(tmp_path / "shop", source=str(tmp_path / "raw.csv")))
    (tmp_path / "image").mkdir()
    contents.project(project, tmp_path / "image")
    found = {path.relative_to(tmp_path / "image").as_posix() for path in (tmp_path / "image").rglob("*") if path.is_file()}
    assert found == {"tidegate.yaml", "features/lines.py", "features/.feastignore", "data/lines.csv", "demand.yaml"}


def test_a_definition_elsewhere_is_said_and_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").touch()
    project = load_project(written(tmp_path / "shop", monitor="../monitor.yaml"))
    with pytest.raises(InvalidInput, match=r"monitor\.yaml does not lie in a folder of"):
        contents.parts_of(project)


def test_a_requirements_file_names_packages_of_this_environment(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(
        "# ours\n--index-url https://example\ntidegate[serving]\nscikit-learn>=1 # trees\n\nnumpy==2.0 --hash=sha256:1 \\\n"
    )
    assert set(of_project(file)) == {*requirements("serving"), "scikit-learn", "numpy"}
    file.write_text("-r other.txt\n")
    with pytest.raises(InvalidInput, match=r"requirements\.txt:1: '-r other\.txt' names no package"):
        of_project(file)


def test_versions_are_those_that_are_installed_here() -> None:
    lines = pinned(required(["numpy"])).splitlines()
    assert lines == [f"numpy=={importlib.metadata.version('numpy')}"]
    with pytest.raises(Unavailable, match="this environment lacks no-such-package"):
        required(["no-such-package"])


def test_a_package_in_editable_mode_cannot_be_copied(tmp_path: Path) -> None:
    info = tmp_path / "ours-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: ours\nVersion: 1\n")
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///ours", "dir_info": {"editable": True}}))
    with pytest.raises(Unavailable, match="ours is installed in editable mode"):
        copy(importlib.metadata.Distribution.at(info), tmp_path / "image")


def test_a_containerfile_copies_what_changes_least_first_and_gives_up_rights() -> None:
    made = recipe.of_release("shop-demand", "3f" * 32, Path("own"), Path("release"), "tidegate.apps.slot")
    text = made.text("python:3.11-slim", lambda place: made.folders[place].name)
    assert text.splitlines() == [
        "FROM python:3.11-slim",
        "COPY own /opt/tidegate",
        f"COPY release /release/{'3f' * 32}",
        "USER 65532:65532",
        "WORKDIR /",
        'ENTRYPOINT ["python3", "-m", "tidegate.apps.slot"]',
    ]


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\necho "$@" >> {folder}/said\n{script}\n')
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("buildah", 'while [ $# -gt 1 ]; do [ "$1" = --digestfile ] && printf sha256:12 > "$2"; shift; done'),
        ("podman", 'while [ $# -gt 1 ]; do [ "$1" = --digestfile ] && printf sha256:12 > "$2"; shift; done'),
        ("docker", 'if [ "$1" = image ]; then echo \'["other/x@sha256:34", "registry:5000/shop/demand@sha256:12"]\'; fi'),
    ],
)
def test_the_first_builder_that_is_here_builds_and_pushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str
) -> None:
    program(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(builders, "PROGRAMS", (name,))
    assert builders.find() == name
    builders.build(name, tmp_path, "registry:5000/shop/demand:1")
    assert builders.push(name, "registry:5000/shop/demand:1") == "registry:5000/shop/demand@sha256:12"
    first, second, *_ = (tmp_path / "said").read_text().splitlines()
    assert first.endswith(f"--tag registry:5000/shop/demand:1 --file {tmp_path}/Containerfile {tmp_path}")
    assert "registry:5000/shop/demand:1" in second


def test_what_a_builder_says_last_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "podman", "echo step 1 >&2; echo no space left >&2; exit 125")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(Unavailable, match="`podman build` failed: no space left"):
        builders.build("podman", tmp_path, "x:1")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match="there is no buildah, podman or docker; install one, or write what it is made of"):
        builders.find()
