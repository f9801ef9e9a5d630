"""The registry's contract, kept by MLflow (SQLite) and by the fake; and promotion over both."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pipelines.demand.forests import LightgbmQuantiles

from fakes.cluster import FakeCluster
from fakes.memory_registry import MemoryRegistry
from tidegate.adapters.mlflow import database as mlflow_database
from tidegate.adapters.mlflow import registry as mlflow_registry
from tidegate.adapters.mlflow.registry import MlflowModelRegistry
from tidegate.adapters.vendor_imports import settle_mlflow
from tidegate.apps.cluster_aliases import ClusterAliases
from tidegate.domain.errors import GateClosed, IntegrityError, InvalidInput, NotFound, Unavailable
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import Evidence, GateResult, Verdict
from tidegate.files.release_folder import CONTRACT, MODEL
from tidegate.files.training_folder import output_digest
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.cluster_rollouts import UnderWay
from tidegate.ports.registry import OUTPUT_TAG, PRUNED_TAG
from tidegate.registry.evidence import promoted
from tidegate.registry.pending import PendingUpdates
from tidegate.registry.promotion import CANDIDATE, CHAMPION, PREVIOUS, activate, aliased, promote

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


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    x = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    onnx = LightgbmQuantiles().fit(x, np.abs(x[:, 0]), ("a", "b"), SETTINGS).onnx
    for name, content in ((MODEL, onnx), (CONTRACT, b"{}"), ("card.md", b"# A card\n")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: MLflow takes seconds for it."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    settle_mlflow()
    mlflow_database.create(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry's folder with an empty database."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    shutil.copy(empty_database, tmp_path / "mlflow")
    return tmp_path / "mlflow"


@pytest.fixture(params=["mlflow", "memory"])
def make_registry(request: pytest.FixtureRequest, folder: Path):
    return (lambda **more: MlflowModelRegistry(folder, **more)) if request.param == "mlflow" else MemoryRegistry


@pytest.fixture
def registry(make_registry):
    return make_registry()


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


def stored(registry, version, tmp_path: Path) -> Path:
    """Where the registry keeps the training output of `version`."""
    if isinstance(registry, MemoryRegistry):
        return registry.output(version)
    return next((tmp_path / "mlflow").rglob(f"{version.run_id}/artifacts/output"))


@pytest.mark.parametrize(("name", "says"), [(MODEL, "SHA-256"), ("card.md", "evidence was changed"), ("more.txt", "evidence")])
def test_what_was_changed_after_it_was_registered_is_never_handed_out(
    registry, output: Path, tmp_path: Path, name: str, says: str
) -> None:
    version = registry.register("demand", output, {}, {})
    path = stored(registry, version, tmp_path) / name
    path.write_bytes(path.read_bytes()[:-1] + b"\x00" if path.exists() else b"new")
    with pytest.raises(IntegrityError, match=says):
        registry.fetch(version, tmp_path / "fetched")


def test_a_version_says_the_digest_of_its_whole_training_output(registry, output: Path, tmp_path: Path) -> None:
    version = registry.register("demand", output, {}, {})
    assert version.output_digest == output_digest(output) == version.tags[OUTPUT_TAG]
    assert registry.get("demand", "1").output_digest == version.output_digest
    assert output_digest(registry.fetch(version, tmp_path / "fetched")) == version.output_digest


def test_promotion_moves_aliases_only_through_gates(registry, output: Path) -> None:
    ledger = MemoryLedger()
    versions = [registry.register("demand", output, {}, {}) for _ in range(3)]
    for results in ([], [passing(), passing("segments", Verdict.INCONCLUSIVE)], [passing("segments", Verdict.ERROR)]):
        with pytest.raises(GateClosed, match="was not promoted"):
            promote(registry, ledger, versions[0], results)
        assert aliased(registry, "demand", CANDIDATE) is None
        assert not promoted(ledger, registry.get("demand", "1"))
    for _ in range(2):
        promote(registry, ledger, versions[0], [passing()])
        activate(registry, ledger, "demand", "1")
    assert promoted(ledger, registry.get("demand", "1"))
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
    assert champions(ledger) == ["demand/1", "demand/2", "demand/1"]


def test_aliases_follow_what_is_live_on_a_cluster_as_they_follow_a_rollout_here(registry, output: Path, tmp_path: Path) -> None:
    ledger, cluster, releases = MemoryLedger(), FakeCluster(), {}
    for number in "12":
        version = registry.register("demand", output, {}, {})
        lineage = Lineage("data", "features", "code", "pipeline", version.run_id, "2011-01-01T00:00:00")
        made = ReleaseManifest("demand", number, "demand", "schema", lineage, {MODEL: version.artifact_digest})
        releases[made.digest] = made
    one, two = releases
    registry.set_alias("demand", CANDIDATE, "2")
    for live, previous in ((one, one), (two, one), (two, two), (two, two), (one, one)):
        follower = ClusterAliases(
            registry, ledger, releases.__getitem__, PendingUpdates(tmp_path / "pending"), cluster.show_registry
        )
        follower.follow(UnderWay("demand", live, Slot.BLUE, live, Slot.BLUE, previous))
        expected = {one: "1", two: "2"}[previous]
        assert (aliased(registry, "demand", CHAMPION).version, cluster.shown["demand"]) == (expected, None)
    assert (aliased(registry, "demand", PREVIOUS).version, aliased(registry, "demand", CANDIDATE)) == ("2", None)
    assert champions(ledger) == ["demand/1", "demand/2", "demand/1"]


def champions(ledger: MemoryLedger) -> list[str]:
    return [entry.subject for entry in ledger.entries() if entry.action == "champion"]


def test_aliases_that_someone_moved_follow_the_version_that_is_live_again(registry, output: Path) -> None:
    ledger = MemoryLedger()
    for number in ("1", "2", "3"):
        registry.register("demand", output, {}, {})
        activate(registry, ledger, "demand", number)
    registry.delete_alias("demand", CHAMPION)
    registry.set_alias("demand", PREVIOUS, "1")
    registry.set_alias("demand", CANDIDATE, "3")
    activate(registry, ledger, "demand", "3")
    aliases = {alias: aliased(registry, "demand", alias) for alias in (CANDIDATE, CHAMPION, PREVIOUS)}
    assert {alias: found and found.version for alias, found in aliases.items()} == {
        CANDIDATE: None,
        CHAMPION: "3",
        PREVIOUS: "2",
    }
    assert champions(ledger) == ["demand/1", "demand/2", "demand/3"], "nothing is recorded twice"


def test_a_registry_that_lost_a_model_that_is_known_is_refused(make_registry, output: Path) -> None:
    registry = make_registry(known=lambda model: model == "demand")
    asks = (
        lambda: registry.versions("demand"),
        lambda: registry.get("demand", CHAMPION),
        lambda: registry.get("demand", "1"),
        lambda: registry.register("demand", output, {}, {}),
    )
    for ask in asks:
        with pytest.raises(Unavailable, match="no model 'demand', though there are releases or rollouts"):
            ask()
    assert registry.versions("lead_time") == []
    assert registry.register("lead_time", output, {}, {}).version == "1"


@pytest.mark.parametrize("known", [True, False])
def test_a_missing_database_is_made_for_a_first_version_and_by_nothing_else(
    output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registry = MlflowModelRegistry(tmp_path / "mlflow", known=lambda _: known)
    for ask in (lambda: registry.get("demand", "1"), lambda: registry.set_alias("demand", CHAMPION, "1")):
        with pytest.raises(
            Unavailable if known else NotFound, match=r"mlflow\.db is missing" if known else "nothing is registered"
        ):
            ask()
    if known:
        with pytest.raises(Unavailable, match="restore it from a backup"):
            registry.register("demand", output, {}, {})
    else:
        assert registry.versions("demand") == []
    assert not (tmp_path / "mlflow").exists()


@pytest.mark.parametrize("opened", [True, False])
def test_a_locked_database_is_one_sentence_within_seconds(
    output: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    """Left to itself, MLflow takes minutes for each."""
    monkeypatch.setattr(mlflow_database, "WAIT_S", 0.2)
    registry = MlflowModelRegistry(folder)
    if opened:
        registry.register("demand", output, {}, {})
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for ask in (lambda: registry.versions("demand"), lambda: registry.register("demand", output, {}, {})):
            with pytest.raises(Unavailable, match="database is locked") as caught:
                ask()
            assert "\n" not in str(caught.value)
    assert len(registry.versions("demand")) == opened


def test_a_database_locked_in_the_midst_of_a_question_is_not_waited_for_longer(
    output: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_database, "WAIT_S", 0.2)
    registry = MlflowModelRegistry(folder)
    registry.register("demand", output, {}, {})
    monkeypatch.setattr(mlflow_registry, "check_unlocked", lambda *_: None)  # locked just after it was looked at
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked"):
            registry.set_alias("demand", CHAMPION, "1")


def test_a_registry_that_was_moved_gives_its_versions_and_takes_new_ones(output: Path, folder: Path, tmp_path: Path) -> None:
    version = MlflowModelRegistry(folder).register("demand", output, {}, {})
    moved = MlflowModelRegistry(folder.rename(tmp_path / "moved"))
    assert (moved.fetch(version, tmp_path / "old") / MODEL).is_file()
    for number in ("2", "3"):
        newer = moved.register("demand", output, {}, {})
        assert newer.version == number
        assert (moved.fetch(newer, tmp_path / number) / MODEL).is_file()
    assert not folder.exists()


def test_mlflow_itself_can_read_what_was_registered(output: Path, folder: Path) -> None:
    registry = MlflowModelRegistry(folder)
    version = registry.register("demand", output, {}, {})
    flavour = next(folder.rglob("model/MLmodel"))
    from mlflow.models import Model

    model = Model.load(str(flavour))
    assert set(model.flavors) == {"onnx", "python_function"}
    assert [str(each.name) for each in model.signature.inputs] == ["features"]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib", ".dill")]
    assert version.run_id in {path.parent.parent.parent.name for path in folder.rglob("model/MLmodel")}


def test_an_mlflow_that_does_not_answer_is_one_sentence(output: Path, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        registry = MlflowModelRegistry(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
        for ask in (lambda: registry.versions("demand"), lambda: registry.register("demand", output, {}, {})):
            with pytest.raises(Unavailable, match=r"MLflow at http://127\.0\.0\.1") as caught:
                ask()
            assert "\n" not in str(caught.value)


def test_a_version_whose_artifacts_were_pruned_says_so_and_others_have_theirs(registry, output: Path, tmp_path: Path) -> None:
    one, two = (registry.register("demand", output, {}, {}) for _ in range(2))
    kept = registry.kept_at(one)
    assert kept is not None
    registry.set_tags("demand", "1", {PRUNED_TAG: "more than the latest 50 versions"})
    shutil.rmtree(kept)
    with pytest.raises(NotFound, match=r"fetching demand/1: its artifacts were removed \(more than the latest 50 versions\)"):
        registry.fetch(registry.get("demand", "1"), tmp_path / "one")
    assert registry.kept_at(registry.get("demand", "1")) is None
    assert registry.fetch(two, tmp_path / "two").is_dir()
