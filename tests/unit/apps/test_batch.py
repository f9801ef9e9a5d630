"""A file of rows through a release: every row answered as an endpoint would, or told why not; whole or resumed, never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from serving_builders import FakeReader, build_release
from tensor_models import CASES, CaseReader, release_of
from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps import batch, wiring
from tidegate.domain.actor import PLATFORM
from tidegate.domain.errors import Conflict, InvalidInput, Unavailable
from tidegate.files.release_folder import read_manifest
from tidegate.ledger.memory import MemoryLedger
from tidegate.ports.features import OnlineRows, ViewMark, Watermark
from tidegate.serving.runtime.dataplane import Predictor
from tidegate.serving.runtime.release_loader import load_release

MARK = Watermark(1, "first", {"sku_sales": ViewMark(0, 0.0, 1)})


@dataclass
class World:
    """A platform that has one release, and its store."""

    folder: Path
    reader: FakeReader = field(default_factory=FakeReader)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    said: list[str] = field(default_factory=list)
    model: str = "demand"

    def __post_init__(self) -> None:
        self.reader.mark = MARK
        self.whoami, self.progress = PLATFORM, self.said.append
        self.project = SimpleNamespace(local=SimpleNamespace(online_store="sqlite"))

    def own_release(self, model: str, release: str) -> Any:
        return read_manifest(self.folder)

    def admit(self, manifest: Any) -> Path:
        return self.folder

    def feature_folder(self, model: str) -> Any:
        return SimpleNamespace(online_address=lambda online: "somewhere")

    def predict(self, source: Path, output: Path, restart: bool = False) -> batch.BatchResult:
        return batch.predict(self, self.model, source, output, "any", restart)  # type: ignore[arg-type]

    def online(self, entities: Sequence[Any], inputs: dict[str, Any]) -> Any:
        return Predictor(load_release(self.folder, open_onnx), self.reader).predict(entities, inputs)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(build_release(tmp_path / "releases"))
    monkeypatch.setattr(wiring, "online_reader", lambda location, contract: made.reader)
    monkeypatch.setattr(batch, "ROWS", 10)
    return made


def keys(path: Path, n: int) -> Path:
    columns = {
        "sku": [f"S{i % 150}" for i in range(n)],
        "horizon": [1 + i % 14 for i in range(n)],
        "note": list(range(n)),
    }
    if path.suffix == ".csv":
        rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    else:
        pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_every_row_gets_what_the_endpoint_answers_and_keeps_its_columns(world: World, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / "out.parquet"
    result = world.predict(keys(tmp_path / f"in{suffix}", 35), output)
    assert (result.rows, result.failed, result.parts, result.resumed) == (35, 0, 4, 0)
    table = pq.read_table(output)
    assert table["note"].to_pylist() == list(range(35))
    online = world.online(table["sku"].to_pylist(), {"horizon": table["horizon"].to_pylist()})
    assert np.array(table["quantiles"].to_pylist(), dtype=np.float32).tobytes() == online.outputs["quantiles"].tobytes()
    assert table.schema.metadata[b"tidegate.release"].decode() == world.folder.name
    entry = next(iter(world.ledger.entries()))
    assert (entry.action, entry.body["rows"], entry.body["failed"]) == ("predicted", 35, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"in{suffix}", "out.parquet", "releases"])


def test_a_row_that_is_refused_says_why_and_the_others_are_predicted(world: World, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"sku": ["S1", "nobody", None, "S2", "S3"], "horizon": pa.array([1, 1, 1, None, 2])}), source)
    result = world.predict(source, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert result.failed == 3
    assert [error is None for error in table["error"].to_pylist()] == [True, False, False, False, True]
    assert "unknown sku" in table["error"][1].as_py()
    assert table["error"][2].as_py() == "column 'sku' has no value"
    assert [q is None for q in table["quantiles"].to_pylist()] == [False, True, True, True, False]
    assert table["event_timestamp"][1].as_py() is None
    online = world.online(["S1", "S3"], {"horizon": [1, 2]})  # what fails beside them changes nothing of the others
    assert (
        np.array([table["quantiles"][i].as_py() for i in (0, 4)], dtype=np.float32).tobytes()
        == online.outputs["quantiles"].tobytes()
    )


def test_a_run_that_was_cut_off_goes_on_and_makes_the_same_file(world: World, tmp_path: Path) -> None:
    source = keys(tmp_path / "in.parquet", 45)
    world.predict(source, tmp_path / "whole.parquet")
    reads = world.reader.reads
    world.reader = failing = Breaks(reads=2)
    failing.mark = MARK
    with pytest.raises(Unavailable):
        world.predict(source, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    world.reader = FakeReader()
    world.reader.mark = MARK
    result = world.predict(source, tmp_path / "out.parquet")
    assert (result.resumed, result.parts) == (2, 5)
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert reads


def test_parts_of_another_input_or_state_are_not_gone_on_with(world: World, tmp_path: Path) -> None:
    source, output = keys(tmp_path / "in.parquet", 45), tmp_path / "out.parquet"
    world.reader = Breaks(reads=2)
    world.reader.mark = MARK
    with pytest.raises(Unavailable):
        world.predict(source, output)
    world.reader = FakeReader()
    world.reader.mark = Watermark(2, "second", MARK.views)
    with pytest.raises(Conflict, match=r"another state of the online store.*--restart"):
        world.predict(source, output)
    world.reader.mark = MARK
    keys(source, 46)
    with pytest.raises(Conflict, match="another input"):
        world.predict(source, output)
    assert world.predict(source, output, restart=True).rows == 46


def test_a_store_that_is_written_meanwhile_mixes_nothing(world: World, tmp_path: Path) -> None:
    world.reader = Breaks(reads=2, moves=True)
    world.reader.mark = MARK
    with pytest.raises(Conflict, match="was written while"):
        world.predict(keys(tmp_path / "in.parquet", 45), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"sku": ["S1"]}, r"no column 'horizon', required: sku \(BYTES\), horizon \(number\)"),
        ({"sku": ["S1"], "horizon": [1], "quantiles": [1]}, "has a column 'quantiles', which the prediction makes"),
        ({"sku": ["S1"], "horizon": [1], "error": [""]}, "has a column 'error'"),
    ],
)
def test_columns_that_do_not_fit_are_named(world: World, tmp_path: Path, columns: dict[str, list[Any]], says: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    with pytest.raises(InvalidInput, match=says):
        world.predict(tmp_path / "in.parquet", tmp_path / "out.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\0\1\2"])
def test_a_file_that_is_none_is_refused_in_one_sentence(world: World, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.parquet").write_bytes(content)
    with pytest.raises(InvalidInput, match="cannot be read"):
        world.predict(tmp_path / "in.parquet", tmp_path / "out.parquet")
    with pytest.raises(InvalidInput, match="does not exist"):
        world.predict(tmp_path / "gone.csv", tmp_path / "out.parquet")
    with pytest.raises(InvalidInput, match="no row"):
        world.predict(keys(tmp_path / "empty.parquet", 0), tmp_path / "out.parquet")


@pytest.mark.parametrize("name", CASES)
def test_a_model_of_any_kind_is_scored_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    case = CASES[name]
    folder = release_of(tmp_path / "releases", case)
    world = World(folder)
    monkeypatch.setattr(wiring, "online_reader", lambda location, contract: CaseReader(case))
    entities = [dict(each) for each in case.body.get("entities", ())]
    rows = len(next(iter(case.tensors.values())))
    inputs = {n: v if isinstance(v, list) else [v] * rows for n, v in case.body.get("inputs", {}).items()}
    flat = {n: [np.ravel(each).tolist() if n == "image" else each for each in v] for n, v in inputs.items()}
    columns = {part: [each[part] for each in entities] for part in entities[0]} if entities else {}
    pq.write_table(pa.table({**columns, **flat}), tmp_path / "in.parquet")
    result = world.predict(tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert (result.rows, result.failed) == (rows, 0)
    table = pq.read_table(tmp_path / "out.parquet")
    for output, wanted in case.answer.items():
        plain = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in wanted]
        assert np.array(table[output].to_pylist() == plain).all(), output


class Breaks(FakeReader):
    """A store that is away, or written, after some reads."""

    def __init__(self, reads: int, moves: bool = False) -> None:
        super().__init__()
        self.left, self.moves = reads, moves

    def read(self, entities: Sequence[str]) -> OnlineRows:
        self.left -= 1
        if self.left < 0 and not self.moves:
            raise Unavailable("the store is away")
        if self.left < 0:
            self.mark = Watermark(2, "second", MARK.views)
        return super().read(entities)
