"""The registry's contract, kept by MLflow (SQLite) and by the fake; and promotion over both."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from fakes.memory_registry import MemoryRegistry
from tidegate.adapters.lightgbm_quantiles import LightgbmQuantiles
from tidegate.adapters.mlflow_registry import MlflowModelRegistry
from tidegate.domain.errors import GateClosed, IntegrityError, InvalidInput, NotFound, Unavailable
from tidegate.domain.release_folder import CONTRACT, MODEL
from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.registry.promotion import CANDIDATE, CHAMPION, PREVIOUS, activate, aliased, is_promoted, promote

SETTINGS = {
    "trees": 2,
    "leaves": 4,
    "learning_rate": 0.3,
    "min_rows_in_leaf": 5,
    "feature_fraction": 1.0,
    "bagging_fraction": 1.0,
    "max_bin": 15,
    "seed": 1,
    "threads": 1,
}


class Entries:
    def __init__(self) -> None:
        self.actions: list[tuple[str, str]] = []

    def append(self, action: str, subject: str, body: object, actor: str = "") -> None:
        self.actions.append((action, subject))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    x = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    onnx = LightgbmQuantiles().fit(x, np.abs(x[:, 0]), ("a", "b"), SETTINGS).onnx
    for name, content in ((MODEL, onnx), (CONTRACT, b"{}"), ("card.md", b"# A card\n")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(params=["mlflow", "memory"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return MlflowModelRegistry(tmp_path / "mlflow") if request.param == "mlflow" else MemoryRegistry()


def passing(gate: str = "beats_baseline", verdict: Verdict = Verdict.PASS) -> GateResult:
    return GateResult(gate, "demand/1", verdict, Evidence("as it should be", 10), 1.0, 0.1)


def test_versions_aliases_tags_and_artifacts(registry, output: Path, tmp_path: Path) -> None:
    assert registry.versions("demand") == []
    with pytest.raises(NotFound, match="demand/champion"):
        registry.get("demand", "champion")
    one = registry.register("demand", output, {"model_wape": 0.8}, {"kind": "test"})
    two = registry.register("demand", output, {"model_wape": 0.7}, {})
    assert (one.version, two.version) == ("1", "2")
    assert [v.version for v in registry.versions("demand")] == ["1", "2"]
    assert (one.metrics["model_wape"], one.tags["kind"]) == (0.8, "test")
    assert one.artifact_digest == two.artifact_digest
    for _ in range(2):  # each order may be repeated
        registry.set_alias("demand", CHAMPION, "1")
        registry.set_tags("demand", "1", {"seen": "yes"})
    assert registry.get("demand", CHAMPION).version == "1"
    assert registry.get("demand", "1").aliases == (CHAMPION,)
    assert registry.get("demand", "1").tags["seen"] == "yes"
    registry.set_alias("demand", CHAMPION, "2")
    assert registry.get("demand", "1").aliases == ()
    registry.delete_alias("demand", CHAMPION)
    with pytest.raises(NotFound):
        registry.get("demand", CHAMPION)
    with pytest.raises(NotFound):
        registry.get("demand", "3")
    fetched = registry.fetch(two, tmp_path / "fetched")
    assert (fetched / MODEL).read_bytes() == (output / MODEL).read_bytes()
    assert (fetched / "card.md").read_text() == "# A card\n"
    with pytest.raises(InvalidInput, match="is no training output"):
        registry.register("demand", tmp_path, {}, {})


def test_a_damaged_artifact_is_never_handed_out(registry, output: Path, tmp_path: Path) -> None:
    version = registry.register("demand", output, {}, {})
    if isinstance(registry, MemoryRegistry):
        stored = [registry.artifact(version)]
    else:
        stored = list((tmp_path / "mlflow").rglob(f"output/{MODEL}"))
    assert len(stored) == 1
    stored[0].write_bytes(stored[0].read_bytes()[:-1] + b"\x00")
    with pytest.raises(IntegrityError, match="SHA-256"):
        registry.fetch(version, tmp_path / "fetched")


def test_promotion_moves_aliases_only_through_gates(registry, output: Path) -> None:
    ledger = Entries()
    versions = [registry.register("demand", output, {}, {}) for _ in range(3)]
    for results in ([], [passing(), passing("segments", Verdict.INCONCLUSIVE)], [passing("segments", Verdict.ERROR)]):
        with pytest.raises(GateClosed, match="was not promoted"):
            promote(registry, ledger, versions[0], results)
        assert aliased(registry, "demand", CANDIDATE) is None
        assert not is_promoted(registry.get("demand", "1"))
    for _ in range(2):
        promote(registry, ledger, versions[0], [passing()])
        activate(registry, ledger, "demand", "1")
    assert is_promoted(registry.get("demand", "1"))
    promote(registry, ledger, versions[1], [passing()])
    assert aliased(registry, "demand", CANDIDATE).version == "2"
    for _ in range(2):
        activate(registry, ledger, "demand", "2")
    aliases = {alias: aliased(registry, "demand", alias) for alias in (CANDIDATE, CHAMPION, PREVIOUS)}
    assert {alias: found and found.version for alias, found in aliases.items()} == {
        CANDIDATE: None,
        CHAMPION: "2",
        PREVIOUS: "1",
    }
    activate(registry, ledger, "demand", "1")  # a rollback
    assert (aliased(registry, "demand", CHAMPION).version, aliased(registry, "demand", PREVIOUS).version) == ("1", "2")
    assert [subject for action, subject in ledger.actions if action == "champion"] == ["demand/1", "demand/2", "demand/1"]


def test_mlflow_itself_can_read_what_was_registered(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registry = MlflowModelRegistry(tmp_path / "mlflow")
    version = registry.register("demand", output, {}, {})
    flavour = next((tmp_path / "mlflow").rglob("model/MLmodel"))
    from mlflow.models import Model

    model = Model.load(str(flavour))
    assert set(model.flavors) == {"onnx", "python_function"}
    assert [str(each.name) for each in model.signature.inputs] == ["features"]
    assert not [path for path in (tmp_path / "mlflow").rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib", ".dill")]
    assert version.run_id in {path.parent.parent.parent.name for path in (tmp_path / "mlflow").rglob("model/MLmodel")}


def test_an_mlflow_that_does_not_answer_is_one_sentence(output: Path, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        registry = MlflowModelRegistry(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
        for ask in (lambda: registry.versions("demand"), lambda: registry.register("demand", output, {}, {})):
            with pytest.raises(Unavailable, match=r"MLflow at http://127\.0\.0\.1") as caught:
                ask()
            assert "\n" not in str(caught.value)
