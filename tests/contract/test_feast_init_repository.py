"""A repository as `feast init` writes it is read as it is: its own store, registry and provider are replaced, a line each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from tidegate.adapters.feast.features import FeastFeatureStore
from tidegate.adapters.feast.repository import replacements
from tidegate.adapters.packed.online import open_online_reader
from tidegate.domain.errors import InvalidInput
from tidegate.domain.keys import JoinKey
from tidegate.files.feature_folder import FeatureFolder, feature_folder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACEHOLDERS = {
    "PROJECT_NAME": "my_project",
    "LOGGING_PATH": "data",
    "PARQUET_PATH": "data/driver_stats.parquet",
    "LABEL_DATA_PATH": "data/labels.parquet",
}
OWN = """
from feast import KafkaSource, StreamFeatureView
from feast.data_format import JsonFormat

trips = KafkaSource(
    name="trips", kafka_bootstrap_servers="nowhere:9092", topic="trips", timestamp_field="event_timestamp",
    message_format=JsonFormat(schema_json="driver_id integer, conv_rate float"), batch_source=driver_stats_source,
)
streamed = StreamFeatureView(
    name="streamed", entities=[driver], ttl=timedelta(days=3), source=trips, schema=[Field(name="acc_rate", dtype=Float32)],
)
FRESH = ["conv_rate", "avg_daily_trips"]
mine = FeatureService(
    name="mine", features=[driver_stats_fresh_fv[FRESH], streamed],
    logging_config=LoggingConfig(destination=FileLoggingDestination(path="data")),
)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """What `feast init` writes, of one small table, without its command (which takes half a minute)."""
    import feast

    template = Path(feast.__file__).parent / "templates/local/feature_repo"
    made = tmp_path / "feature_repo"
    (made / "data").mkdir(parents=True)
    for file in template.iterdir():
        if file.is_file():
            text = file.read_text().replace("%PROJECT_NAME%", "my_project").replace("%LOGGING_PATH%", "data")
            text = text.replace("%PARQUET_PATH%", "data/driver_stats.parquet").replace(
                "%LABEL_DATA_PATH%", "data/labels.parquet"
            )
            (made / file.name).write_text(text)
    stats = pd.DataFrame(
        {
            "event_timestamp": pd.Series([NOW - timedelta(hours=2), NOW - timedelta(days=2)]).astype("datetime64[ns, UTC]"),
            "driver_id": [1001, 1002],
            "conv_rate": pd.Series([0.25, 0.5], dtype="float32"),
            "acc_rate": pd.Series([0.75, 0.125], dtype="float32"),
            "avg_daily_trips": [29, 549],
            "created": pd.Series([NOW, NOW]).dt.tz_localize(None),
            "driver_metadata": [{"vehicle_type": "SUV"}] * 2,
            "driver_config": ["{}"] * 2,
            "driver_profile": [{"name": "a", "age": "1"}] * 2,
        }
    )
    stats.to_parquet(made / "data/driver_stats.parquet")
    stats[["event_timestamp", "driver_id"]].head(0).to_parquet(made / "data/labels.parquet")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> FeatureFolder:
    return feature_folder(tmp_path / "state", "drivers")


def test_what_feast_init_wrote_is_registered_filled_and_read(repo: Path, folder: FeatureFolder) -> None:
    with (repo / "feature_definitions.py").open("a") as file:
        file.write(OWN)
    store = FeastFeatureStore(repo, folder, "sqlite", "mine")
    assert store.apply() == ("driver_activity_v1", "driver_activity_v2", "driver_activity_v3", "mine")
    remarks = store.remarks()
    assert [line.partition(" is not used")[0] for line in remarks[:3]] == [
        "registry data/registry.db",
        "online_store of type sqlite",
        "offline_store of type dask",
    ]
    assert ["driver_activity_v1" in line and "add tags=" in line for line in remarks[3:]] == [True, False, False]
    contract = store.contract("mine")
    assert contract.key == (JoinKey("driver_id", "INT64"),)
    assert contract.ttl == {"driver_hourly_stats_fresh": 86400.0, "streamed": 3 * 86400.0}
    assert store.materialize(NOW) == 2
    assert store.known(contract, NOW) == ["1001", "1002"]
    mark = store.verify_online(contract)
    assert mark is not None
    reader = open_online_reader(store.online_url, contract, clock=lambda: mark.views["streamed"].written_at)
    rows = reader.read(["1001", "1002", "1003"])
    reader.close()
    assert rows.found.tolist() == [True, True, False]
    assert rows.values[0].tolist() == [0.25, 29.0, 0.75]
    assert rows.values[1, 2] == 0.125
    assert rows.values[1, 0] != rows.values[1, 0]  # two days old, and a value of that view holds one
    assert not (repo / "data/registry.db").exists()
    assert not (repo / "data/online_store.db").exists()


def test_a_service_that_cannot_be_served_says_what_to_do(repo: Path, folder: FeatureFolder) -> None:
    store = FeastFeatureStore(repo, folder, "sqlite", "driver_activity_v1")
    with pytest.raises(InvalidInput, match=r"'driver_activity_v1' has on-demand features but no tag 'on_demand'; add tags="):
        store.apply()
    assert not folder.registry.exists()


STORE, FILES = "online_store of type ", "offline_store of type "


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("provider: gcp\n", ["registry data/registry.db", f"{STORE}sqlite", f"{FILES}dask", "provider gcp"]),
        (
            "registry: s3://b/r.db\noffline_store: {type: duckdb}\nonline_store: redis\n",
            ["registry s3://b/r.db", f"{STORE}redis"],
        ),
        (
            "auth: {type: oidc}\noffline_store: file\nflags: {x: 1}\n",
            ["registry", f"{STORE}sqlite", f"{FILES}file", "auth of type oidc", "flags"],
        ),
    ],
)
def test_what_is_replaced_is_said_in_one_line_each(content: str, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(f"project: p\n{content}")
    lines = replacements(tmp_path, tmp_path / "own.db", "redis://user:secret@h:1/0#m")
    assert len(lines) == len(said)
    assert all(line.startswith(start) for line, start in zip(lines, said, strict=True))
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize("content", ["", "- a\n", "provider: local\n", "project: [\n", "project: 3\n"])
def test_a_feature_store_yaml_that_is_none_is_refused_in_a_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(content)
    with pytest.raises(InvalidInput, match=r"feature_store\.yaml (names no project|cannot be used)"):
        FeastFeatureStore(tmp_path, feature_folder(tmp_path / "state", "m")).apply()
