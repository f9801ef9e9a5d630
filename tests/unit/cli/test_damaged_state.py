"""Each kind of file of a state folder, with something else in its place: commands name it in one sentence, or do without it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from golden.archives import NAMES, unpack
from tidegate.cli.main import run

COMMANDS = (
    "status demand --no-drift",
    "up --dry-run",
    "rollback demand --reason x --dry-run",
    "ledger verify",
    "release list demand",
    "prune --dry-run",
    "down",
)
FILES = (  # the newest that match; what the older version did not write is put there
    *("data/demand/ingest.json", "features/online.db", "features/demand/online.db.watermark", "features/registry.db"),
    *("keys/head.json", "keys/ledger.pub", "keys/release.pub", "ledger/ledger.jsonl", "ledger/segments.jsonl"),
    *("logs/blue-*.jsonl", "logs/blue-*.summary.json", "logs/blue-x-0-0.jsonl.gz", "logs/envoy-access.jsonl"),
    *("releases/77474*/manifest.json", "releases/77474*/manifest.sig", "releases/77474*/monitor.json"),
    *("releases/77474*/profile/thresholds.json", "releases/77474*/features/features.json", "releases/77474*"),
    *("rollouts/demand/*.json", "rollouts/demand/hold", "rollouts/demand/untold", "rollouts/demand/registry-pending"),
    *(
        "rollouts/demand/unrecorded",
        "rollouts/reserve",
        "watch/demand.json",
        "schedules/nightly.json",
        "gates/demand/bake.json",
    ),
    *("target/desired-demand.json", "target/envoy/routes.json", "target/envoy/bootstrap.json", "target/observed.json"),
    *("target/clock.json", "target/supervisor.lock", "target/beats/supervisor", "target/pids/demand-blue-0.json"),
)


def folder_instead(path: Path) -> None:
    path.mkdir()


def nowhere(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: path.write_bytes(b""),
    "a list": lambda path: path.write_bytes(b"[1, 2]"),
    "no text": lambda path: path.write_bytes(b"\x00\xff\xfe" * 30),
    "a folder": folder_instead,
    "a link to nowhere": nowhere,
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(NAMES[0], tmp_path_factory.mktemp("golden")).state


@pytest.fixture
def state(intact: Path, project: Path) -> Iterator[Path]:
    folder = project / "state"
    shutil.copytree(intact, folder, symlinks=True, ignore=shutil.ignore_patterns("mlflow", "outputs", "pipelines"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("file", FILES)
def test_what_lies_in_a_files_place_is_one_sentence_or_nothing(
    file: str, state: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = max(state.glob(file), default=state / file)
    path.parent.mkdir(parents=True, exist_ok=True)
    for what, damage in DAMAGES.items():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        damage(path)
        for command in COMMANDS:
            code = run(command.split())
            said = capsys.readouterr()
            assert "defect" not in said.out + said.err, (what, command, said)
            assert len(said.err.splitlines()) <= 1, (what, command, said.err)
            assert bool(said.err) is (code != 0), (what, command, code)
    assert not any(record.exc_info for record in caplog.records)
