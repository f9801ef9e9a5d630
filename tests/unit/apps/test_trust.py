"""What may be served: releases that a trusted key signed, or that an intact ledger names. What a damaged ledger stops."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

from serving_builders import FakeReader, build_release
from small_disks import read_only
from story import eventually
from tidegate.adapters.files.release_keys import TRUSTED_KEYS, ReleaseKeys, parse_keys, unsigned
from tidegate.adapters.mlflow.artifacts import verify_release
from tidegate.apps import wiring
from tidegate.apps.gate_service import damage_of
from tidegate.apps.platform import Platform
from tidegate.apps.slot import build, main
from tidegate.apps.slot_settings import SlotSettings
from tidegate.apps.trust import admit, adopt_releases, check_startable, release_watch, trusted_keys
from tidegate.cli.main import run
from tidegate.cli.session import acting
from tidegate.domain.actor import Actor
from tidegate.domain.errors import IntegrityError
from tidegate.domain.project import FeaturesConfig, ModelConfig, Project
from tidegate.files.layout import StateFolder
from tidegate.files.release_signature import SIGNATURE
from tidegate.rollout.state import RolloutStore

PROJECT = """apiVersion: tidegate/v1
project: shop
stateDir: state
models:
  demand: {ingest: x.py, sources: [x.py], features: {repo: ., service: demand}, pipeline: x.py, serving: ., monitor: x.py}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with a hand-made release, as nobody signed it."""
    monkeypatch.delenv(TRUSTED_KEYS)
    (tmp_path / "x.py").touch()
    (tmp_path / "tidegate.yaml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    here = tmp_path
    model = ModelConfig(
        name="demand",
        ingest=here,
        sources=(),
        features=FeaturesConfig(here, "demand"),
        pipeline=here,
        serving=here,
        monitor=here,
    )
    return Project(
        file=here / "tidegate.yaml",
        root=here,
        api_version="tidegate/v1",
        name="shop",
        state=here / "state",
        models={"demand": model},
    )


@pytest.fixture
def made(project: Project) -> Path:
    folder = build_release(StateFolder(project.state).releases)
    (folder / SIGNATURE).unlink()
    return folder


def settings(folder: Path, project: Project, *keys: str) -> SlotSettings:
    return SlotSettings(folder, "demand", "blue", 0, 0, "fake", StateFolder(project.state).logs, trusted_keys=keys)


def test_a_hand_made_release_with_a_consistent_manifest_is_refused(
    project: Project, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify_release(made).digest == made.name
    with pytest.raises(IntegrityError, match=r"is not served: there is no manifest\.sig"):
        build(settings(made, project), lambda *_: FakeReader())
    with pytest.raises(IntegrityError, match="the ledger does not name it; if you vouch for it, 'tidegate release sign'"):
        admit(project, wiring.ledger(project), made)
    for command in (["serve", made.name], ["release", "verify", made.name], ["release", "export-triton", made.name, "out"]):
        assert run(command) == 6
        assert "release sign" in capsys.readouterr().err
    process = ["--release-folder", str(made), "--model=demand", "--slot=blue", "--replica=0", "--port=0"]
    assert main([*process, "--online=x", "--log-dir=logs"]) == 6


def test_a_person_may_vouch_for_it(project: Project, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["release", "sign", made.name, "--reason", "a rehearsal", "--by", "ada"]) == 0
    entry = list(wiring.ledger(project).entries())[-1]
    assert (entry.action, entry.actor, entry.body["digest"]) == ("release.signed", "ada", made.name)
    assert run(["release", "verify", made.name]) == 0
    assert "signed by a trusted key" in capsys.readouterr().out
    keys = [str(key) for key in trusted_keys(project)]
    assert len(keys) == 1
    build(settings(made, project, *keys), lambda *_: FakeReader())
    assert verify_release(made).digest == made.name  # the signature is beside the digest
    assert stat.S_IMODE((project.state / "keys" / "release.key").stat().st_mode) == 0o600


def test_a_release_that_lost_its_signature_or_got_a_byte_more_cannot_be_started_and_that_is_found(
    project: Project, made: Path
) -> None:
    with pytest.raises(IntegrityError, match=r"there is no manifest\.sig"):
        check_startable(project, made)
    ReleaseKeys(project.state / "keys").sign(made)
    check_startable(project, made)
    with (made / "model" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(IntegrityError, match=r"file 'model/model\.onnx' has digest"):
        check_startable(project, made)
    watch = release_watch(project)
    watch.look([made.name])
    eventually(lambda: "model.onnx" in " ".join(watch.problems.values()))


def test_a_signature_counts_for_its_release_and_its_key_alone(project: Project, made: Path, tmp_path: Path) -> None:
    keys, others = ReleaseKeys(project.state / "keys"), ReleaseKeys(tmp_path / "others")
    other = build_release(tmp_path / "more", {"service.py": "x = 1\n"})
    keys.sign(made)
    others.sign(other)
    trusted = [keys.public()]
    assert unsigned(made, trusted) == ""
    assert "signed by tidegate/release" in unsigned(other, trusted)
    shutil.copy(made / SIGNATURE, other / SIGNATURE)
    with pytest.raises(IntegrityError, match="is of another release"):
        unsigned(other, trusted)
    for content in (b"", b"\xff\n\n", (made / SIGNATURE).read_bytes().replace(b"\n\n", b"\n")):
        (made / SIGNATURE).write_bytes(content)
        with pytest.raises(IntegrityError, match="cannot be read"):
            unsigned(made, trusted)
    assert str(parse_keys([str(keys.public())])[0]) == str(keys.public())


def test_releases_from_before_signatures_are_signed_where_the_intact_ledger_names_them(project: Project, made: Path) -> None:
    ledger = wiring.ledger(project)
    ledger.append("release", "demand@x", {"digest": made.name, "version": "1"})
    unknown = build_release(StateFolder(project.state).releases, {"service.py": "x = 1\n"})
    (unknown / SIGNATURE).unlink()
    adopt_releases(project)
    assert unsigned(made, [ReleaseKeys(project.state / "keys").public()]) == ""
    assert not (unknown / SIGNATURE).exists()


def test_a_damaged_ledger_signs_nothing_and_stops_promotions_and_rollouts(
    project: Project, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = wiring.ledger(project)
    ledger.append("release", "demand@x", {"digest": made.name, "version": "1"})
    ledger.append("verdict", "demand@x", {"value": 1})
    path = StateFolder(project.state).ledger / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":1', b'"value":2'))
    adopt_releases(project)
    assert not (made / SIGNATURE).exists()
    with pytest.raises(IntegrityError, match="what the ledger says of it does not count"):
        admit(project, wiring.ledger(project), made)
    platform = Platform(project)
    for step in (lambda: platform.promote("demand"), lambda: platform.build_release("demand")):
        with pytest.raises(IntegrityError, match="nothing is promoted or rolled out"):
            step()
    assert run(["rollout", "start", "demand", "--release", made.name, "--by", "ada"]) == 6
    assert "entry 2 was edited" in damage_of(wiring.ledger(project))
    assert "DAMAGED: entry 2 was edited" in platform.ledger_remarks("demand")[0]
    capsys.readouterr()
    assert run(["ledger", "list", "--action", "promotion"]) == 6  # what does not verify is shown whatever the filter
    assert "DOES NOT VERIFY: it was edited" in capsys.readouterr().out
    assert run(["ledger", "verify"]) == 6


def test_a_ledger_taken_away_from_a_state_with_rollouts_is_an_error(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "verify"]) == 3
    assert "no such folder" in capsys.readouterr().err
    assert not project.state.exists()
    records = RolloutStore(StateFolder(project.state).rollouts).folder / "demand"
    records.mkdir(parents=True)
    assert run(["ledger", "verify"]) == 3
    (records / "20110101-000000-abc.json").write_text("{}")
    assert run(["ledger", "verify"]) == 6
    assert "20110101-000000-abc: it was taken away" in capsys.readouterr().err
    with pytest.raises(IntegrityError, match="it was taken away"):
        wiring.ledger(project).append("promotion", "demand/1", {})
    assert not (project.state / "keys").exists()


def test_verify_says_what_was_compared_and_looks_at_a_read_only_copy(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wiring.ledger(project).append("promotion", "demand/1", {})
    with read_only(project.state):
        assert run(["ledger", "verify"]) == 0
        assert "only in itself" in capsys.readouterr().out
        assert run(["ledger", "list"]) == 0
        assert "promotion" in capsys.readouterr().out
    monkeypatch.setenv("TIDEGATE_LEDGER_CHECKPOINT", str(tmp_path / "share" / "checkpoint"))
    assert run(["ledger", "verify"]) == 0
    assert "NOT compared" in capsys.readouterr().out


def test_the_list_has_filters_by_subject_actor_action_and_time(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = wiring.ledger(project)
    for subject, actor in (("demand/1", "ada"), ("demand/2", "bob"), ("returns/1", "ada")):
        ledger.append("promotion", subject, {}, Actor(actor))

    def listed(*filters: str) -> list[str]:
        assert run(["ledger", "list", "--json", *filters]) == 0
        return [entry["subject"] for entry in json.loads(capsys.readouterr().out)]

    assert listed("--actor", "ada") == ["demand/1", "returns/1"]
    assert listed("--actor", "ad") == []
    assert listed("--subject", "demand", "--actor", "bob", "--action", "prom") == ["demand/2"]
    assert listed("--since", "2001-01-01", "--last", "2") == ["demand/2", "returns/1"]
    assert listed("--until", "2001-01-01") == []
    assert run(["ledger", "list", "--since", "yesterday"]) == 2


def test_the_login_is_by_user_id_and_a_name_given_is_recorded_as_a_claim(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER"):
        monkeypatch.setenv(variable, "mallory")
    name = pwd.getpwuid(os.getuid()).pw_name
    me = wiring.login()
    assert me.name == name
    wiring.ledger(project).append("promotion", "demand/1", {}, acting(me, None))
    wiring.ledger(project).append("promotion", "demand/1", {}, acting(me, "ada"))
    assert run(["ledger", "list"]) == 0
    mine, claimed = capsys.readouterr().out.splitlines()
    assert f"by {name} (unproven, login of uid {os.getuid()})" in mine
    assert f"by ada (as {name} says, unproven, login of uid {os.getuid()})" in claimed
