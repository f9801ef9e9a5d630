"""A project made by the built package, outside of this repository, goes live by the two commands of its README."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from story import ROOT, free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, unpacked: what is imported from there is what people install."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_from_nothing_to_a_live_model_by_the_two_commands_of_its_readme(package: Path, tmp_path: Path) -> None:
    project, ports = tmp_path / "bikes", free_ports()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TIDEGATE_", "PYTHON"))}
    environment |= {
        "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(package),
    }
    names = ("TIDEGATE_GATEWAY_PORT", "TIDEGATE_ADMIN_PORT", "TIDEGATE_SLOT_PORTS")
    environment |= {name: str(port) for name, port in zip(names, ports.values(), strict=True)} | {"NO_COLOR": "1"}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tidegate").write_text(f'#!/bin/sh\nexec {sys.executable} -m tidegate.cli.main "$@"\n')
    (tmp_path / "bin/tidegate").chmod(0o755)

    def run(command: str, folder: Path) -> str:
        arguments = ["bash", "-ec", command]
        done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    assert str(package) in run(f'{sys.executable} -c "import tidegate; print(tidegate.__file__)"', tmp_path)
    run("tidegate init bikes", tmp_path)
    block = re.search(r"^```sh\n(.*?)^```", (project / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    commands = block[1].strip().splitlines()
    assert len(commands) == 2
    try:
        for command in commands:
            run(command, project)
        body = json.dumps({"hours": [3, 8, 17], "working_day": True, "temperature": 12.5}).encode()
        url = f"http://127.0.0.1:{ports['gatewayPort']}/predict"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        answer = json.loads(urllib.request.urlopen(request, timeout=10).read())  # noqa: S310 (our own gateway)
        night, morning, evening = answer["rented"]
        assert 0 <= night < 40 < morning
        assert evening > 40
        assert answer["release"].startswith("rentals@")
        assert json.loads(run("tidegate status --json", project))
    finally:
        run("tidegate down", project)
