"""Nothing that a slot runs comes from a file that the release's manifest does not cover."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from planted import plant_byte_code
from serving_builders import build_release
from tidegate.adapters.onnx.session import open_onnx
from tidegate.domain.digests import canonical_json, digest_of
from tidegate.domain.errors import IntegrityError
from tidegate.files.digests import file_digest
from tidegate.files.release_folder import ignored_files, read_manifest, verify_release
from tidegate.serving.runtime.release_loader import load_release, serving_module
from tidegate.serving.runtime.vectors import stored_names

EVIL = "raise SystemExit('planted')\n"


def derived(folder: Path) -> dict[str, np.ndarray]:
    release = load_release(folder, open_onnx)
    assert release.on_demand is not None
    names = ["event_timestamp", *release.contract.request, *stored_names(release.contract)]
    return release.on_demand({name: np.zeros(1, dtype=np.int64) for name in names})


def test_byte_code_planted_beside_on_demand_code_changes_nothing_and_is_told(tmp_path: Path) -> None:
    folder = build_release(tmp_path, {"service.py": "value = 1\n"})
    before = derived(folder)
    for name in ("features/calendar_features.py", "serving/service.py"):
        plant_byte_code(folder / name, EVIL)
    assert {name: list(values) for name, values in derived(folder).items()} == {n: list(v) for n, v in before.items()}
    manifest = verify_release(folder)
    loaded = serving_module(folder, manifest, "service")
    assert loaded is not None
    assert loaded.value == 1
    assert [Path(name).parent.as_posix() for name in ignored_files(folder, manifest)] == [
        "features/__pycache__",
        "serving/__pycache__",
    ]


@pytest.mark.parametrize("name", ["features/numpy.py", "features/json.py", "features/numpy/__init__.py", "numpy.py", "x.so"])
def test_a_planted_file_is_not_used_and_verifying_names_it(tmp_path: Path, name: str) -> None:
    folder = build_release(tmp_path)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(EVIL)
    assert derived(folder)
    with pytest.raises(IntegrityError, match=f"'{name}' is in its folder but not in its manifest"):
        verify_release(folder)


def test_a_release_made_of_symbolic_links_is_refused(tmp_path: Path) -> None:
    folder = build_release(tmp_path)
    for name in ("features/calendar_features.py", "model"):
        elsewhere = tmp_path / Path(name).name
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)
        with pytest.raises(IntegrityError, match="is reached by a symbolic link"):
            load_release(folder, open_onnx)
        (folder / name).unlink()
        elsewhere.rename(folder / name)
    load_release(folder, open_onnx)
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="'more' is in its folder but not in its manifest"):
        verify_release(folder)


def test_on_demand_code_of_several_files_is_taken_from_the_verified_ones(tmp_path: Path) -> None:
    folder = build_release(tmp_path)
    manifest = read_manifest(folder)
    on_demand = (folder / "features/calendar_features.py").read_text()
    files = {
        "features/calendar_features.py": f"import of_mine\n{on_demand}",
        "features/of_mine.py": "value = 1\n",
    }
    draft = tmp_path / "draft"
    folder.rename(draft)
    for name, text in files.items():
        (draft / name).write_text(text)
    value = {**json.loads(manifest.to_bytes())}
    value["files"] |= {name: file_digest(draft / name) for name in files}
    (draft / "manifest.json").write_bytes(canonical_json(value))
    folder = draft.rename(tmp_path / digest_of(value))
    assert derived(folder)
    plant_byte_code(folder / "features/of_mine.py", EVIL)
    assert derived(folder)
    (folder / "features/of_mine.py").write_text("value = 2\n")
    with pytest.raises(IntegrityError, match="of_mine"):
        load_release(folder, open_onnx)
