"""A gate of a model's own runs on a cluster where a key signed its release that whoever deployed the model named; no other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.argo_rollouts import FakeArgoRollouts
from release_signing import TRUSTED, sign_release
from tidegate.adapters.files.release_keys import TRUSTED_KEYS
from tidegate.adapters.kubernetes.argo_rollouts import under_way
from tidegate.apps.gate_service import explained, keys_of_model
from tidegate.apps.gates import admission
from tidegate.domain.errors import IntegrityError, InvalidInput

DIGEST, OTHER = "b" * 64, "c" * 64


def admitted(folder: Path, more_keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises where code of the release in `folder` may not run."""
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    project: Any = SimpleNamespace(state=folder.parent / "state", trusted_keys=())
    admission(project, more_keys)(folder)


def release(tmp_path: Path, digest: str) -> Path:
    folder = tmp_path / digest
    folder.mkdir()
    sign_release(folder)
    return folder


def test_a_release_runs_its_code_by_the_key_that_its_own_rollout_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts = FakeArgoRollouts()
    rollouts.judges("demand", DIGEST, None, 1.0, ())
    keys, folder = keys_of_model("demand", rollouts), release(tmp_path, DIGEST)
    with pytest.raises(IntegrityError, match="the keys trusted here are none"):
        admitted(folder, keys, monkeypatch)
    rollouts.change("demand", trusted_keys=(TRUSTED,))
    admitted(folder, keys, monkeypatch)
    with pytest.raises(IntegrityError):
        admitted(release(tmp_path, OTHER), keys, monkeypatch)  # it is not the one that is rolled out
    with pytest.raises(IntegrityError):
        admitted(folder, lambda digest: (), monkeypatch)  # as without --keys-of-models
    rollouts.change("demand", trusted_keys=("no key",))
    with pytest.raises(InvalidInput, match="trusted key 'no key'"):
        admitted(folder, keys, monkeypatch)


def test_a_refusal_names_the_setting_and_the_key_that_would_let_the_code_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)
    rollouts, folder = FakeArgoRollouts(), release(tmp_path, DIGEST)
    rollouts.judges("demand", DIGEST, None, 1.0, ())
    rollouts.change("demand", trusted_keys=(TRUSTED,))
    project: Any = SimpleNamespace(state=tmp_path / "state", trusted_keys=())
    admit = explained(admission(project), keys_of_model("demand", rollouts))
    with pytest.raises(IntegrityError) as refused:
        admit(folder)
    assert f"gates.trustedKeys of the platform's chart ({TRUSTED})" in str(refused.value)
    monkeypatch.setenv(TRUSTED_KEYS, TRUSTED)  # what the chart makes of that setting
    admit(folder)


@pytest.mark.parametrize(
    ("env", "keys"),
    [
        ([{"name": "TIDEGATE_TRUSTED_KEYS", "value": "a+1+x b+2+y"}], ("a+1+x", "b+2+y")),
        ([{"name": "OTHER", "value": "a+1+x"}], ()),
        ([{"name": "TIDEGATE_TRUSTED_KEYS", "valueFrom": {}}], ()),
        (None, ()),
    ],
)
def test_the_keys_are_those_of_the_wanted_pods_environment(env: list[dict[str, Any]] | None, keys: tuple[str, ...]) -> None:
    container = {"name": "server", **({"env": env} if env is not None else {})}
    template = {"metadata": {"annotations": {"tidegate/release": DIGEST}}, "spec": {"containers": [container]}}
    assert under_way("demand", {"metadata": {}, "spec": {"template": template}}, [], None).trusted_keys == keys
