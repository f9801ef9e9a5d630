"""A slot's arguments are one value: what is written from it is read as it, and a chart passes nothing else."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tidegate.adapters.files.release_keys import TRUSTED_KEYS
from tidegate.apps.slot_settings import MODULE, SlotSettings, parse

ROOT = Path(__file__).parents[3]
CHARTS = ["model-bento", "model-bento-autoscaled"]
texts = st.from_regex(r"[a-z0-9/:.]+", fullmatch=True)
settings = st.builds(
    SlotSettings,
    release_folder=texts.map(Path),
    model=texts,
    slot=st.sampled_from(["blue", "green"]),
    replica=st.integers(0, 99),
    port=st.integers(0, 65535),
    online=texts,
    log_dir=texts.map(Path),
    records=st.just("") | texts,
    host=texts,
    body_limit=st.integers(1, 2**40),
    sample_rate=st.floats(0, 1),
    drain_seconds=st.floats(0, 1e6),
    trusted_keys=st.lists(texts, max_size=3).map(tuple),
)


@given(settings)
def test_what_is_written_is_read_as_the_same_settings(made: SlotSettings) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv(TRUSTED_KEYS, raising=False)
        assert parse(made.arguments()) == made
    assert made.command()[1:3] == ["-m", MODULE]


def test_keys_of_the_environment_count_beside_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUSTED_KEYS, "b  c")
    least = SlotSettings(Path("releases/1"), "demand", "blue", 0, 0, "online.db", Path("logs"), trusted_keys=())
    assert parse([*least.arguments(), "--trusted-key", "a"]).trusted_keys == ("a", "b", "c")


@pytest.mark.parametrize("wrong", [["--slot", "red"], ["--port", "x"], ["--colour", "red"]])
def test_arguments_that_a_slot_has_not_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    least = SlotSettings(Path("releases/1"), "demand", "blue", 0, 0, "online.db", Path("logs"))
    with pytest.raises(SystemExit):
        parse([*least.arguments(), *wrong])
    assert MODULE in capsys.readouterr().err


@pytest.mark.parametrize("case", CHARTS)
def test_a_charts_pods_are_given_what_a_slot_needs_and_nothing_that_it_has_not(case: str) -> None:
    golden = ROOT / "tests/golden/charts"
    values = yaml.safe_load((golden / f"{case}.values.yaml").read_text())
    rollouts = [each for each in yaml.safe_load_all((golden / f"{case}.yaml").read_text()) if each["kind"] == "Rollout"]
    [server] = [each for each in rollouts[0]["spec"]["template"]["spec"]["containers"] if each["name"] == "server"]
    assert "command" not in server, "the image's entrypoint is the slot's module"
    read = parse(server["args"])
    assert (read.model, read.release_folder) == (values["model"], Path("/release") / values["release"])
    assert (read.online, read.records) == (values["onlineStore"], values.get("records", ""))
    assert (read.host, read.port) == ("0.0.0.0", server["ports"][0]["containerPort"])
    needed = {
        f"--{each.name.replace('_', '-')}" for each in fields(SlotSettings) if each.default is each.default_factory is MISSING
    }
    assert needed <= {argument.partition("=")[0] for argument in server["args"]}
