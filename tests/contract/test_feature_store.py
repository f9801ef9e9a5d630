"""The feature store's contract, over each online store: contracts, vectors without a lost row, parity to the bit, no pickle."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.adapters.packed.online import open_online_reader
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows
from tidegate.data.model_data import ModelData, Timing
from tidegate.data.tables import build_tables
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, InvalidInput, NotFound, Unavailable
from tidegate.files.feature_folder import FeatureFolder, feature_folder
from tidegate.files.source_code import Sources
from tidegate.serving.runtime.vectors import assemble, load_on_demand

REPO = Path(__file__).parents[2] / "features"
START = datetime(2010, 1, 1, tzinfo=UTC)
UNTIL = START + timedelta(days=420)
SKUS = [f"1000{i}" for i in range(6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FeatureFolder:
    """The feature folder of a small shop's model, with tables."""
    state = tmp_path_factory.mktemp("state")
    generator = np.random.default_rng(3)
    n = 3000
    sales = pl.DataFrame(
        {
            "invoice": [str(i // 3) for i in range(n)],
            "sku": generator.choice(SKUS, n),
            "units": generator.integers(1, 20, n),
            "at": [START + timedelta(minutes=int(m)) for m in np.sort(generator.integers(0, 420 * 1440, n))],
            "unit_price": generator.choice([0.4, 1.5, 3.0, 9.0], n),
            "country": generator.choice(["United Kingdom", "France"], n),
        }
    )
    classes = {"sales": sales, "returns": sales.sample(100, seed=1)}
    data = ModelData(classes, dict.fromkeys(classes, Timing("at", timedelta(days=1), timedelta(days=60))))
    folder = feature_folder(state, "demand")
    build_tables(REPO / "demand_tables.py", data, folder.tables, UNTIL)
    return folder


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, folder: FeatureFolder) -> FeastFeatureStore:
    online = "sqlite" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    made = FeastFeatureStore(REPO, folder, online)
    made.apply()
    return made


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    import dill

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was loaded")

    for module in (pickle, dill):
        monkeypatch.setattr(module, "load", refuse)
        monkeypatch.setattr(module, "loads", refuse)


def entity_rows(*rows: tuple[str, datetime, int]) -> pl.DataFrame:
    schema = {"sku": pl.String, "event_timestamp": pl.Datetime("us", "UTC"), "horizon": pl.Int64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def test_served_vectors_equal_historical_ones_to_the_bit(
    store: FeastFeatureStore, no_pickle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert store.apply() == ("demand",)
        contract = store.contract("demand")
        assert contract.request_types == {"horizon": "INT64"}
        assert store.materialize(START + timedelta(days=300)) == store.materialize(UNTIL) == len(SKUS)
        reader = open_online_reader(store.online_url, contract)
        reader.ping()
        skus = [sku for sku in SKUS for _ in range(14)]
        horizons = np.tile(np.arange(1, 15), len(SKUS))
        rows = reader.read(skus)
        assert rows.found.all()
        assert set(rows.event_times.tolist()) == {int(UNTIL.timestamp()) * 1_000_000}
        function = load_on_demand(Sources.of(REPO), contract.on_demand or "")
        served = assemble(contract, rows.values, rows.event_times, {"horizon": horizons}, function)
        asked = pl.DataFrame({"sku": skus, "event_timestamp": rows.event_times, "horizon": horizons}).with_columns(
            pl.col("event_timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        )
        offline = store.historical(contract, asked).select(contract.vector).fill_null(np.nan).to_numpy()
        assert served.shape == (len(skus), len(contract.vector))
        assert np.isfinite(served).mean() > 0.9
        same = (served == offline) | (np.isnan(served) & np.isnan(offline))
        assert same.all(), [name for i, name in enumerate(contract.vector) if not same[:, i].all()]
        # and both are what the tables hold
        table = pl.read_parquet(store._folder.tables / "demand_history.parquet").filter(pl.col("event_timestamp") == UNTIL)
        column = contract.vector.index("demand_history__units_mean_28")
        assert served[::14, column].tolist() == table.sort("sku")["units_mean_28"].cast(pl.Float32).to_list()
        reader.close()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_entity_row_is_lost_and_the_order_stays(store: FeastFeatureStore) -> None:
    contract = store.contract("demand")
    early, late = START - timedelta(days=9), START + timedelta(days=200)
    asked = entity_rows(
        ("10003", late, 3),
        ("NO SUCH SKU", late, 1),
        ("10001", early, 2),  # before its first row
        ("10003", late, 3),  # twice
        ("10003", late, 9),
        ("10000", UNTIL + timedelta(days=400), 1),  # long after its last row
        ("10002", late + timedelta(hours=7), 1),  # between two rows
    ).with_columns(note=pl.Series(list("abcdefg")))
    answer = store.historical(contract, asked)
    assert answer.columns == [*asked.columns, *contract.vector]
    assert answer.select(asked.columns).equals(asked)
    assert {answer.schema[name] for name in contract.vector} == {pl.Float32}
    stored = answer.select(name for name in contract.vector if "__" in name)
    known = [any(value is not None for value in row) for row in stored.iter_rows()]
    assert known == [True, False, False, True, True, False, True]
    assert answer.row(0)[4:] == answer.row(3)[4:]
    assert answer["horizon_days"].to_list() == [3, 1, 2, 3, 9, 1, 1]
    table = pl.read_parquet(store._folder.tables / "demand_history.parquet")
    exact = table.filter(pl.col("sku") == "10002", pl.col("event_timestamp") == late)["units_mean_7"]
    assert answer["demand_history__units_mean_7"][6] == pytest.approx(exact[0], rel=1e-6)


def test_materializing_is_idempotent_atomic_and_goes_back(store: FeastFeatureStore) -> None:
    contract = store.contract("demand")
    reader = open_online_reader(store.online_url, contract)
    store.materialize(UNTIL)
    first = reader.read(SKUS)
    assert store.materialize(UNTIL) == len(SKUS)
    assert reader.read(SKUS).values.tobytes() == first.values.tobytes()
    back = START + timedelta(days=100)
    store.materialize(back)
    assert set(reader.read(SKUS).event_times.tolist()) == {int(back.timestamp()) * 1_000_000}
    with pytest.raises(InvalidInput, match="no feature row at or before"):
        store.materialize(START - timedelta(days=1))
    assert reader.read(SKUS).found.all()
    reader.close()


def test_the_reader_says_what_is_missing(store: FeastFeatureStore) -> None:
    contract = store.contract("demand")
    store.materialize(UNTIL)
    reader = open_online_reader(store.online_url, contract)
    rows = reader.read(["10004", "NO SUCH SKU", "10004", "\x00\ud800"])
    assert rows.found.tolist() == [True, False, True, False]
    assert np.isnan(rows.values[1]).all()
    assert rows.values[0].tobytes() == rows.values[2].tobytes()
    assert reader.read([]).values.shape == (0, rows.values.shape[1])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: reader.read(SKUS).values.tobytes(), range(64)))
    assert len(set(answers)) == 1
    reader.close()
    with pytest.raises(Unavailable, match="no view 'weather'"):
        open_online_reader(store.online_url, replace(contract, stored={"weather": ("rain",)})).ping()
    with pytest.raises(IntegrityError, match="'sku_profile' lacks feature 'colour'"):
        open_online_reader(store.online_url, replace(contract, stored={"sku_profile": ("price_last", "colour")})).ping()


def small(*names: str) -> FeatureContract:
    return FeatureContract("s", "sku", {"v": names}, tuple(f"v__{name}" for name in names))


def view(names: tuple[str, ...], *values: float) -> ViewRows:
    return ViewRows(names, ("a",), np.array([5], dtype=np.int64), np.array([values]))


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_changed_schema_never_gives_wrong_numbers(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path / "online.db") if kind == "sqlite" else f"{request.getfixturevalue('redis_url')}#small"
    backend = open_backend(url, writable=True)
    backend.write({"v": view(("x", "y"), 1.0, 2.0)}, replace=True)
    reader = open_online_reader(url, small("y"))
    assert reader.read(["a"]).values.tolist() == [[2.0]]
    backend.write({"v": view(("w", "y", "x"), 7.0, 8.0, 9.0)}, replace=True)
    assert reader.read(["a"]).values.tolist() == [[8.0]]
    backend.write({"v": view(("w",), 7.0)}, replace=True)
    with pytest.raises(IntegrityError, match="'v' lacks feature 'y'"):
        reader.read(["a"])
    backend.drop(["v"])
    with pytest.raises(Unavailable, match="no view 'v'"):
        open_online_reader(url, small("y")).read(["a"])


def test_a_row_of_another_schema_is_named(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    open_backend(str(path), writable=True).write({"v": view(("x", "y"), 1.0, 2.0)}, replace=True)
    path.with_name("online.db.watermark").unlink()  # which would refuse a file that was changed, whatever the change
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows SET data = ?", (view(("y", "x"), 1.0, 2.0).packed("v")["a"],))
    with pytest.raises(IntegrityError, match="row of 'a' in view 'v' has schema"):
        open_online_reader(str(path), small("y")).read(["a"])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows SET data = x'93c4'")
    with pytest.raises(IntegrityError, match="damaged"):
        open_online_reader(str(path), small("y")).read(["a"])


def test_a_store_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"not a database, but long enough to be looked at as one" * 100)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        urls = [str(tmp_path / "absent.db"), str(foreign), f"redis://user:secret@127.0.0.1:{closed.getsockname()[1]}/0#small"]
        for url in urls:
            with pytest.raises(Unavailable) as caught:
                open_online_reader(url, small("y")).ping()
            assert "secret" not in str(caught.value)


def test_what_is_not_there_yet_is_named(tmp_path: Path, folder: FeatureFolder) -> None:
    fresh = FeastFeatureStore(REPO, feature_folder(tmp_path, "demand"))
    with pytest.raises(NotFound, match="tidegate features apply"):
        fresh.contract("demand")
    fresh.apply()
    with pytest.raises(NotFound, match="'returns' is not registered \\(there is demand\\)"):
        fresh.contract("returns")
    contract = fresh.contract("demand")
    with pytest.raises(NotFound, match="tidegate features build"):
        fresh.materialize(UNTIL)
    with pytest.raises(InvalidInput, match="lack horizon"):
        fresh.historical(contract, entity_rows(("10000", UNTIL, 1)).drop("horizon"))
    with pytest.raises(InvalidInput, match=r"no feature_store\.yaml"):
        FeastFeatureStore(tmp_path / "nowhere", feature_folder(tmp_path, "demand")).apply()
    assert "TIDEGATE_FEATURES" not in os.environ
    # another state folder in the same process reads its own tables
    other = FeastFeatureStore(REPO, folder)
    other.apply()
    assert other.historical(contract, entity_rows(("10000", UNTIL, 1)))["demand_history__units_mean_28"][0] > 0


def test_the_reader_needs_no_control_plane_library() -> None:
    script = "import sys, tidegate.adapters.packed.online as _; print([m for m in sys.argv[1:] if m in sys.modules])"
    vendors = ["feast", "pandas", "polars", "redis", "duckdb", "mlflow", "pyarrow"]
    done = subprocess.run([sys.executable, "-c", script, *vendors], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
