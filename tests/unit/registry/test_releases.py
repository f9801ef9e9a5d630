"""Releases: equal content has one digest, and what was changed, damaged or could run code is refused."""

import importlib.util
from pathlib import Path

import pytest

from tidegate.domain.errors import IntegrityError, InvalidInput, NotFound
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import read_contract, verified_bytes
from tidegate.ports.registry import ModelVersion
from tidegate.registry.releases import ReleaseStore

spec = importlib.util.spec_from_file_location("outputs", Path(__file__).with_name("outputs.py"))
outputs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(outputs)


def build(folder: Path, serving_code: str = "x = 1\n") -> tuple[ReleaseStore, ReleaseManifest]:
    output = outputs.write_output(folder / "output", outputs.evaluation(rows=50))
    serving = folder / "serving"
    serving.mkdir(exist_ok=True)
    (serving / "service.py").write_text(serving_code)
    store = ReleaseStore(folder / "releases")
    version = ModelVersion("demand", "1", "run", output.artifact_digest)
    return store, store.build(output, version, serving, {"slo": 1}, {"features": {}})


def test_the_same_release_is_built_once(tmp_path: Path) -> None:
    store, first = build(tmp_path)
    _, again = build(tmp_path)
    assert first.digest == again.digest
    assert [m.digest for m in store.list()] == [first.digest]
    assert not list((tmp_path / "releases").glob(".draft-*"))


def test_other_serving_code_is_another_release(tmp_path: Path) -> None:
    _, first = build(tmp_path)
    _, second = build(tmp_path, "x = 2\n")
    assert first.digest != second.digest


def test_a_release_opens_by_prefix_and_reads_its_contract(tmp_path: Path) -> None:
    store, built = build(tmp_path)
    manifest, folder = store.open(built.id)
    assert manifest == built
    assert read_contract(folder, manifest) == outputs.CONTRACT
    with pytest.raises(NotFound, match="no release"):
        store.open("demand@ffff")


@pytest.mark.parametrize("name", ["model/model.onnx", "serving/service.py", "monitor.json", "profile/reference.parquet"])
def test_a_changed_file_is_found_by_name(tmp_path: Path, name: str) -> None:
    store, built = build(tmp_path)
    (store.folder(built.digest) / name).write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=name):
        store.verify(built.id)
    with pytest.raises(IntegrityError):
        verified_bytes(store.folder(built.digest), built, name)


def test_a_changed_manifest_is_found(tmp_path: Path) -> None:
    store, built = build(tmp_path)
    path = store.folder(built.digest) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"version":"1"', b'"version":"2"'))
    with pytest.raises(IntegrityError, match="manifest"):
        store.open(built.digest)


@pytest.mark.parametrize("name", ["model/model.onnx", "manifest.json", "planted.py"])
def test_a_damaged_release_that_is_built_again_is_whole_and_what_lay_there_is_kept(tmp_path: Path, name: str) -> None:
    store, first = build(tmp_path)
    (store.folder(first.digest) / name).write_bytes(b"changed")
    _, again = build(tmp_path)
    assert again == first
    assert store.verify(first.id) == first
    assert (store.root / f".damaged-{first.digest}" / name).read_bytes() == b"changed"
    assert store.list() == [first]


@pytest.mark.parametrize(("name", "content"), [("model.pkl", b"x"), ("weights.bin", b"\x80\x04\x95")])
def test_a_pickle_never_enters(tmp_path: Path, name: str, content: bytes) -> None:
    build(tmp_path)
    (tmp_path / "serving" / name).write_bytes(content)
    with pytest.raises(InvalidInput, match="pickle"):
        build(tmp_path)
