"""Each model has its own feature tables, registry and online rows: nothing that is done for one changes anything of another."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.adapters.feast.flat_features import ASIDE, take_over
from tidegate.adapters.feast.registry import place_files, read_registry
from tidegate.adapters.packed.online import open_online_reader
from tidegate.data.model_data import ModelData, Timing
from tidegate.data.tables import build_tables
from tidegate.domain.errors import IntegrityError, NotFound, Unavailable
from tidegate.files.feature_folder import FeatureFolder, feature_folder

START = datetime(2011, 1, 3, tzinfo=UTC)
UNTIL = START + timedelta(days=20)

CONFIG = """
project: shop
provider: local
registry: {path: registry.db}
offline_store: {type: duckdb}
online_store: {type: tidegate.adapters.feast.packed_store.PackedOnlineStore, url: online.db}
entity_key_serialization_version: 3
"""
TABLES = """
import polars as pl

def build(sales, returns, until):
    midnight = (pl.col("at").dt.truncate("1d") + pl.duration(days=1)).cast(pl.Datetime("us", "UTC"))
    rows = sales.with_columns(event_timestamp=midnight)
    return {"history": rows.group_by("sku", "event_timestamp").agg(pl.col("units").sum().cast(pl.Float64).alias(FEATURE))}
"""
VIEWS = """
import os
from datetime import timedelta
from pathlib import Path
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

sku = Entity(name="sku", join_keys=["sku"], value_type=ValueType.STRING)
source = FileSource(name="history_table", path=PATH, timestamp_field="event_timestamp")
history = FeatureView(
    name="history", entities=[sku], ttl=timedelta(days=9), schema=[Field(name=FEATURE, dtype=Float64)], source=source
)
service = FeatureService(name="shop", features=[history])
"""
OWN = 'os.environ["TIDEGATE_FEATURES"] + "/tables/history.parquet"'
OF_5228C61 = 'str(Path(os.environ["TIDEGATE_STATE"]).resolve() / "features" / "tables" / "history.parquet")'


def repository(folder: Path, feature: str, path: str = OWN) -> Path:
    folder.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(CONFIG)
    (folder / "shop_tables.py").write_text(TABLES.replace("FEATURE", repr(feature)))
    (folder / "shop_views.py").write_text(VIEWS.replace("FEATURE", repr(feature)).replace("PATH", path))
    (folder / ".feastignore").write_text("shop_tables.py\n")
    return folder


def rows(units: int) -> ModelData:
    at = [START + timedelta(days=d, hours=10) for d in range(20)]
    lines = pl.DataFrame({"sku": ["A", "B"] * 20, "at": [a for a in at for _ in range(2)], "units": [units] * 40})
    timing = Timing("at", timedelta(days=1), timedelta(days=30))
    return ModelData({"sales": lines, "returns": lines}, {"sales": timing, "returns": timing})


class Model:
    """A model's features, by what its commands do."""

    def __init__(self, state: Path, name: str, repo: Path, units: int, online: str = "sqlite") -> None:
        self.folder = feature_folder(state, name)
        self.repo, self.data = repo, rows(units)
        (state / "data" / name).mkdir(parents=True)
        self.store = FeastFeatureStore(repo, self.folder, online)

    def build(self) -> None:
        build_tables(self.repo / "shop_tables.py", self.data, self.folder.tables, UNTIL)

    def everything(self) -> None:
        self.build()
        self.store.apply()
        self.store.materialize(UNTIL - timedelta(days=1))
        self.store.materialize(UNTIL)

    def served(self) -> list[float]:
        reader = open_online_reader(self.store.online_url, self.store.contract("shop"))
        try:
            return reader.read(["A", "B"]).values[:, 0].tolist()
        finally:
            reader.close()

    def recomputed(self) -> list[float]:
        return offline(FeastFeatureStore(self.repo, self.folder))


def offline(store: FeastFeatureStore) -> list[float]:
    contract = store.contract("shop")
    asked = pl.DataFrame({"sku": ["A", "B"], "event_timestamp": [UNTIL, UNTIL]}).with_columns(
        pl.col("event_timestamp").cast(pl.Datetime("us", "UTC"))
    )
    return store.historical(contract, asked)[contract.vector[0]].to_list()


def digests(folder: FeatureFolder) -> dict[str, str]:
    files = [path for path in folder.root.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder.root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
@pytest.mark.parametrize("repositories", [1, 2])
def test_no_command_of_one_model_changes_anything_of_another(
    kind: str, repositories: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two models with a repository each, whose views have one name; and two models that share one, with other data."""
    online = kind if kind == "sqlite" else request.getfixturevalue("redis_url")
    repo = repository(tmp_path / "one", "units")
    other = repo if repositories == 1 else repository(tmp_path / "two", "pieces")
    first = Model(tmp_path / "state", "first", repo, 3, online)
    first.everything()
    assert first.served() == first.recomputed() == [3.0, 3.0]
    before = digests(first.folder)
    second = Model(tmp_path / "state", "second", other, 7, online)
    with pytest.raises(NotFound, match="tidegate features apply"):
        second.served()
    second.everything()
    assert second.served() == second.recomputed() == [7.0, 7.0]
    shutil.rmtree(second.folder.root)
    assert digests(first.folder) == before
    assert first.served() == first.recomputed() == [3.0, 3.0]
    assert first.store.verify_online(first.store.contract("shop")) is not None


def test_a_state_folder_can_be_moved(tmp_path: Path) -> None:
    model = Model(tmp_path / "state", "first", repository(tmp_path / "one", "units"), 3)
    model.everything()
    (tmp_path / "state").rename(tmp_path / "moved")
    store = FeastFeatureStore(model.repo, feature_folder(tmp_path / "moved", "first"))
    assert offline(store) == [3.0, 3.0]
    assert store.materialize(UNTIL) == 2
    reader = open_online_reader(store.online_url, store.contract("shop"))
    assert reader.read(["A"]).values.tolist() == [[3.0]]


def test_rows_of_other_tables_and_damaged_rows_are_told_apart(tmp_path: Path) -> None:
    model = Model(tmp_path / "state", "first", repository(tmp_path / "one", "units"), 3)
    model.everything()
    contract = model.store.contract("shop")
    mark = model.store.verify_online(contract)
    assert mark is not None
    assert (mark.sequence, mark.views["history"].until) == (2, int(UNTIL.timestamp()) * 1_000_000)
    assert model.store.outdated(mark) == []
    model.data = rows(9)
    model.build()
    assert model.store.outdated(mark) == ["history"]
    content = bytearray(model.folder.online_db.read_bytes())
    content[-9] ^= 4
    model.folder.online_db.write_bytes(bytes(content))
    with pytest.raises(IntegrityError):
        model.store.verify_online(contract)
    model.store.materialize(UNTIL)
    assert model.served() == [9.0, 9.0]


# --- states of 5228c61, which had one feature folder for all models ---


def flat(tmp_path: Path) -> Path:
    """A state as 5228c61 left it, made elsewhere: its registry names a folder that is no more."""
    repo = repository(tmp_path / "one", "units", OF_5228C61)
    model = Model(tmp_path / "made", "first", repo, 3)
    model.everything()
    state = tmp_path / "state"
    (state / "features").mkdir(parents=True)
    shutil.copytree(tmp_path / "made/data", state / "data")
    for name in ("registry.db", "registry_stored.db"):
        registry = read_registry(model.folder.root / name)
        place_files(registry, lambda uri: f"/gone/build/state/features/{uri}")
        (state / "features" / name).write_bytes(registry.SerializeToString())
    shutil.copytree(model.folder.tables, state / "features/tables")
    with sqlite3.connect(state / "features/online.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("ATTACH ? AS made", (str(model.folder.online_db),))
        connection.execute("CREATE TABLE views AS SELECT * FROM made.views")
        connection.execute("CREATE TABLE rows AS SELECT * FROM made.rows")
    return state


def test_the_feature_folder_of_an_earlier_version_goes_to_its_models(tmp_path: Path) -> None:
    state = flat(tmp_path)
    shutil.copytree(state / "data/first", state / "data/twin")
    assert take_over(state, ["first", "twin", "new"])
    assert sorted(path.name for path in (state / "features").iterdir() if path.name[0] != ".") == ["first", "twin"]
    assert not (state / "features" / ASIDE).exists()
    for name in ("first", "twin"):
        store = FeastFeatureStore(tmp_path / "one", feature_folder(state, name))
        assert offline(store) == [3.0, 3.0]
        reader = open_online_reader(store.online_url, store.contract("shop"))
        assert reader.read(["A", "B"]).values.tolist() == [[3.0], [3.0]]
        reader.close()
        assert store.materialize(UNTIL) == 2
    assert not take_over(state, ["first", "twin", "new"])


def test_taking_over_imports_no_feast(tmp_path: Path) -> None:
    """A supervisor does it before its first look; Feast takes seconds to import, and a watcher ends who is silent."""
    state = flat(tmp_path)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tidegate.adapters.feast.flat_features import take_over\n"
        "print(take_over(Path(sys.argv[1]), ['first']), {'feast', 'pandas', 'polars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(state)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True set()"


def test_taking_over_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = flat(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(Unavailable, match=r"cannot be divided .*No space left"):
        take_over(state, ["first"])
    monkeypatch.undo()
    (state / "features/.first-left-by-a-killed-one").mkdir()
    assert take_over(state, ["first"])
    assert not list((state / "features").glob(".first-*"))
    assert offline(FeastFeatureStore(tmp_path / "one", feature_folder(state, "first"))) == [3.0, 3.0]


def test_a_model_may_be_called_like_a_folder_of_earlier_versions(tmp_path: Path) -> None:
    state = tmp_path / "state"
    tables = feature_folder(state, "tables").tables
    tables.mkdir(parents=True)
    pl.DataFrame({"x": np.arange(3)}).write_parquet(tables / "history.parquet")
    assert not take_over(state, ["tables"])
    assert (tables / "history.parquet").is_file()
