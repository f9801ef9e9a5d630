"""Keys of one or several join keys of any type, features that are no plain numbers, and views with TTLs of their own: what is
served is what the offline path recomputes, over each online store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.contract.keyed_features import DAY, HOUR, NOON, TABLES, VIEWS, repository, write_tables

from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.adapters.packed.online import open_online_reader
from tidegate.adapters.packed.places import open_backend
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.keys import JoinKey, columns_of
from tidegate.files.feature_folder import FeatureFolder, feature_folder
from tidegate.ports.features import OnlineRows
from tidegate.serving.runtime.vectors import feature_columns

FLIGHTS = ['["AA",12]', '["AA",7]', '["DL",12]', '["UA",1]']


@pytest.fixture
def folder(tmp_path: Path) -> FeatureFolder:
    made = feature_folder(tmp_path / "state", "flights")
    write_tables(made)
    return made


@pytest.fixture(params=["sqlite", "redis"])
def online(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else str(request.getfixturevalue("redis_url"))


def opened(folder: FeatureFolder, online: str, service: str, tmp_path: Path, views: str = VIEWS) -> FeastFeatureStore:
    repo = tmp_path / "features"
    store = FeastFeatureStore(repo if repo.exists() else repository(repo, views), folder, online, service)
    store.apply()
    return store


def read(
    store: FeastFeatureStore, contract: FeatureContract, entities: list[str], after: timedelta = timedelta(0)
) -> OnlineRows:
    """What is served `after` the store was written."""
    mark = open_backend(store.online_url).stored().watermark
    assert mark is not None
    written = max(each.written_at for each in mark.views.values())
    reader = open_online_reader(store.online_url, contract, clock=lambda: written + after.total_seconds())
    try:
        return reader.read(entities)
    finally:
        reader.close()


def served_and_recomputed(
    store: FeastFeatureStore, contract: FeatureContract, entities: list[str], after: timedelta = timedelta(0)
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Each feature of the vector, as served and as the offline path has it at the time that was served."""
    rows = read(store, contract, entities, after)
    served = feature_columns(contract, rows.values, rows.event_times, {}, None, rows.texts)
    asked = pl.DataFrame(columns_of(entities, contract.key)).with_columns(
        event_timestamp=pl.Series(rows.event_times).cast(pl.Datetime("us", "UTC"))
    )
    offline = store.historical(contract, asked)
    assert offline.select(asked.columns).equals(asked)
    return (
        {name: [None if value != value else value for value in served[name].tolist()] for name in contract.vector},
        {name: offline[name].to_list() for name in contract.vector},
    )


def test_a_composite_key_serves_numbers_whole_numbers_booleans_and_texts(
    folder: FeatureFolder, online: str, tmp_path: Path
) -> None:
    store = opened(folder, online, "departures", tmp_path)
    contract = store.contract("departures")
    assert contract.key == (JoinKey("carrier"), JoinKey("flight", "INT64"))
    assert contract.entity == "carrier,flight"
    assert contract.view_keys == {"weather": ("carrier",)}
    assert contract.ttl == {"flights": 30 * 86400.0, "weather": 12 * 3600.0}
    assert contract.types == {
        "flights__seats": "INT64",
        "flights__red_eye": "BOOL",
        "flights__aircraft": "BYTES",
        "weather__sky": "BYTES",
    }
    assert FeatureContract.from_bytes(_bytes(contract), "here") == contract
    assert store.materialize(NOON) == 3
    assert store.known(contract, NOON) == FLIGHTS[:3] == sorted(FLIGHTS[:3])
    rows = read(store, contract, FLIGHTS)
    assert rows.found.tolist() == [True, True, True, False]
    served, offline = served_and_recomputed(store, contract, FLIGHTS[:3])
    assert served == offline
    assert served == {
        "flights__delay": [4.5, None, -3.0],
        "flights__seats": [180, 2**53, None],
        "flights__red_eye": [True, False, None],
        "flights__aircraft": ["A320", None, "B737 – größer"],
        "weather__wind": [11.0, 11.0, None],  # of DL there is none: a missing value, no unknown entity
        "weather__sky": ["clear", "clear", None],
    }


def test_an_integer_key_is_its_digits(folder: FeatureFolder, online: str, tmp_path: Path) -> None:
    store = opened(folder, online, "sales", tmp_path)
    contract = store.contract("sales")
    assert (contract.entity, contract.key) == ("store_id", (JoinKey("store_id", "INT64"),))
    assert store.materialize(NOON) >= 2
    assert store.known(contract, NOON) == ["-3", "14"]
    served, offline = served_and_recomputed(store, contract, ["14", "-3", "14"])
    assert served == offline == {"shops__revenue": [2.5, 1.25, 2.5]}
    assert read(store, contract, ["014", "none", ""]).found.tolist() == [False] * 3
    assert store.verify_online(contract) is not None


@pytest.mark.parametrize("hours", [0, 10.9, 11.1, 24 * 29, 24 * 30 + 1])
def test_a_value_older_than_its_views_ttl_is_missing_online_and_offline(
    hours: float, folder: FeatureFolder, online: str, tmp_path: Path
) -> None:
    store = opened(folder, online, "departures", tmp_path)
    contract = store.contract("departures")
    store.materialize(NOON)
    after = timedelta(hours=hours)
    served, offline = served_and_recomputed(store, contract, FLIGHTS[:3], after)
    assert served == offline
    assert served["weather__wind"] == ([11.0, 11.0, None] if hours < 11 else [None] * 3)
    assert served["weather__sky"] == (["clear", "clear", None] if hours < 11 else [None] * 3)
    assert served["flights__delay"] == ([4.5, None, -3.0] if hours <= 24 * 30 else [None] * 3)
    assert read(store, contract, FLIGHTS[:3], after).found.all()  # a row of missing values


def test_rows_of_july_2013_are_missing_in_a_store_that_is_brought_to_now(
    folder: FeatureFolder, online: str, tmp_path: Path
) -> None:
    store = opened(folder, online, "departures", tmp_path)
    contract = store.contract("departures")
    store.materialize(datetime(2026, 11, 29, tzinfo=UTC))
    served, offline = served_and_recomputed(store, contract, FLIGHTS[:3])
    assert served == offline
    assert {value for column in served.values() for value in column} == {None}
    mark = store.verify_online(contract)
    assert mark is not None
    newest = {view: datetime.fromtimestamp(each.newest / 1e6, UTC) for view, each in mark.views.items()}
    assert (newest["flights"], newest["weather"]) == (NOON, NOON - HOUR)


def test_a_contract_without_ttls_is_recomputed_without_them(folder: FeatureFolder, tmp_path: Path) -> None:
    """As releases of earlier versions have it: what they serve goes on being what the offline path finds."""
    from dataclasses import replace

    store = opened(folder, "sqlite", "departures", tmp_path)
    contract = replace(store.contract("departures"), ttl={})
    store.materialize(NOON + 300 * DAY)
    served, offline = served_and_recomputed(store, contract, FLIGHTS[:3])
    assert served == offline
    assert served["weather__wind"] == [11.0, 11.0, None]


@pytest.mark.parametrize("hours", [0, 20, 30])
def test_a_view_without_entities_is_known_of_all_keys(hours: int, folder: FeatureFolder, online: str, tmp_path: Path) -> None:
    store = opened(folder, online, "shared", tmp_path)
    contract = store.contract("shared")
    assert contract.view_keys == {"days": ()}
    assert store.materialize(NOON) == 3
    served, offline = served_and_recomputed(store, contract, FLIGHTS[:3], timedelta(hours=hours))
    assert served == offline
    assert served["days__market"] == ([2.0] * 3 if hours < 24 else [None] * 3)
    assert served["days__holiday"] == ([True] * 3 if hours < 24 else [None] * 3)
    rows = read(store, contract, ['["UA",1]', "none"])
    assert rows.found.tolist() == [False, False]  # what all share makes no flight known
    assert store.stored_at(contract, FLIGHTS[:1], NOON - 3 * DAY)["days__market"].to_list() == [1.0]


def test_what_was_known_at_a_past_moment(folder: FeatureFolder, tmp_path: Path) -> None:
    store = opened(folder, "sqlite", "departures", tmp_path)
    contract = store.contract("departures")
    then = store.stored_at(contract, FLIGHTS[:2], NOON - DAY)
    assert then["flights__delay"].to_list() == [99.0, None]
    assert then["flights__aircraft"].to_list() == ["old", None]
    assert then["weather__wind"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("flight=Int64", "flight=Float64"), "join key 'flight' is of type DOUBLE"),
        (("aircraft=String,", "aircraft=Array(Float64),"), r"feature 'flights:aircraft' is of type DOUBLE_LIST, allowed are"),
        (("features=[flights, weather]", "features=[days]"), "'departures' has no key: none of its views has an entity"),
        (('name="departures"', 'name="others"'), "'departures' is not registered"),
        (("hours=12), carrier=String", "hours=12), carrier=Int64"), "join key 'carrier' is (INT64|BYTES) in view"),
        (("features=[flights, weather]", 'features=[flights, weather.with_name("w")]'), "'weather' under another name"),
    ],
)
def test_apply_refuses_what_the_models_own_service_cannot_be(
    change: tuple[str, str], message: str, folder: FeatureFolder, tmp_path: Path
) -> None:
    store = opened(folder, "sqlite", "departures", tmp_path)
    before = store.contract("departures")
    assert change[0] in VIEWS
    imports = VIEWS.replace("import Bool", "import Array, Bool")
    (tmp_path / "features" / "flight_views.py").write_text(imports.replace(*change))
    with pytest.raises((InvalidInput, NotFound), match=message):
        store.apply()
    assert store.contract("departures") == before
    other = FeastFeatureStore(tmp_path / "features", folder, "sqlite", "sales")
    assert "sales" in other.apply()  # which it is none of
    if "another" not in message and "registered" not in message:
        assert any("departures" in line or "weather" in line or "flights" in line for line in other.remarks())


@pytest.mark.parametrize(
    ("view", "column", "values", "message"),
    [
        ("flights", "delay", ["late"] * 4, "feature view 'flights': column 'delay' is String, its definition says a number"),
        ("flights", "aircraft", [1, 2, 3, 4], "column 'aircraft' is Int64, its definition says String"),
        ("flights", "carrier", [1, 2, 3, 4], "join key 'carrier' is Int64, required BYTES"),
        ("flights", "flight", [1, None, 2, 3], "1 rows have no 'flight', which is part of the key"),
        ("flights", "seats", [2**53 + 1, 1, 1, 1], "has the whole number 9007199254740993"),
        ("flights", "aircraft", ["x" * 5000, "", "", ""], "is a text of 5,000 bytes, allowed are 4,096"),
        ("flights", "seats", None, "has no column 'seats'"),
    ],
)
def test_a_table_that_is_not_what_its_view_says_is_named(
    view: str, column: str, values: list[Any] | None, message: str, folder: FeatureFolder, tmp_path: Path
) -> None:
    store = opened(folder, "sqlite", "departures", tmp_path)
    table = {name: kept for name, kept in TABLES[view].items() if name != column}
    write_tables(folder, {view: table if values is None else {**table, column: values}})
    with pytest.raises(InvalidInput, match=message):
        store.materialize(NOON)


def test_tables_of_other_services_need_not_be_there(folder: FeatureFolder, tmp_path: Path) -> None:
    store = opened(folder, "sqlite", "plain", tmp_path)
    (folder.tables / "shops.parquet").unlink()
    assert store.materialize(NOON) == 3
    assert sorted(open_backend(store.online_url).stored().views) == ["days", "flights", "weather"]
    with pytest.raises(NotFound, match=r"feature view 'shops': its table .* does not exist"):
        FeastFeatureStore(tmp_path / "features", folder, "sqlite", "sales").materialize(NOON)


def test_feasts_own_commands_write_and_read_the_same_rows(folder: FeatureFolder, tmp_path: Path) -> None:
    store = opened(folder, "sqlite", "departures", tmp_path)
    contract = store.contract("departures")
    store.materialize(NOON)
    whole = read(store, contract, FLIGHTS)
    feast = store._feast()
    feast.materialize(NOON - 9 * DAY, NOON, feature_views=["flights", "weather"])
    again = read(store, contract, FLIGHTS)
    assert np.array_equal(whole.values, again.values, equal_nan=True)
    assert {n: column.tolist() for n, column in whole.texts.items()} == {
        n: column.tolist() for n, column in again.texts.items()
    }
    asked = [{"carrier": "AA", "flight": 12}, {"carrier": "DL", "flight": 12}]
    answer = feast.get_online_features(
        features=["flights:aircraft", "flights:seats", "weather:sky"], entity_rows=asked
    ).to_dict()
    assert answer["aircraft"] == ["A320", "B737 – größer"]
    assert answer["seats"] == [180, None]
    assert answer["sky"] == ["clear", None]


def _bytes(contract: FeatureContract) -> bytes:
    from tidegate.domain.digests import canonical_json

    return canonical_json(contract.to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("carrier=String, wind", "wind"), r"FileNotFoundError.*declare the join key as a Field, or build it first"),
        (('view("weather"', 'view("flights"'), "cannot be registered"),
    ],
)
def test_definitions_that_feast_does_not_take_are_refused_in_a_sentence(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    assert change[0] in VIEWS
    repo = repository(tmp_path / "features", VIEWS.replace(*change))
    with pytest.raises(InvalidInput, match=message):
        FeastFeatureStore(repo, feature_folder(tmp_path / "state", "flights"), "sqlite", "departures").apply()
