"""What runs is the source that was read: no byte code, no file beside it, nothing read again."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import pytest

from planted import plant_byte_code
from tidegate.domain.errors import InvalidInput
from tidegate.files.source_code import Sources


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_planted_byte_code_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, a="import b\nvalue = b.value\n", b="value = 'source'\n")
    for name in ("a", "b"):
        plant_byte_code(tmp_path / f"{name}.py", "value = 'planted'\n")
    assert Sources.of(tmp_path).module("a.py").value == "source"
    assert Sources.beside(tmp_path / "a.py").module("a.py").value == "source"
    with Sources.of(tmp_path).importable():
        a = importlib.import_module("a")
        assert (a.value, a.__file__) == ("source", str(tmp_path / "a.py"))
    assert not {"a", "b"} & set(sys.modules)


def test_files_that_were_changed_or_planted_after_the_reading_are_not_used(tmp_path: Path) -> None:
    write(tmp_path, a="def late():\n    import b\n    return b.value\n", b="value = 'read'\n")
    sources = Sources.of(tmp_path)
    digest = sources.digest
    write(tmp_path, a="raise SystemExit", b="raise SystemExit", json="raise SystemExit")
    late = sources.module("a.py").late
    assert late() == "read"
    assert inspect.getsource(late) == "def late():\n    import b\n    return b.value\n"
    assert sources.digest == digest != Sources.of(tmp_path).digest


def test_modules_import_their_siblings_and_packages_of_the_same_sources(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="import pkg.x as x\nfrom pkg import y\nfrom . import b\nfrom .b import value as direct\nimport json, os.path\n",
        b="value = 1\n",
        pkg__x="from .y import value\nfrom ..b import value as above\n",
        pkg__y="from dataclasses import dataclass\n\n@dataclass\nclass Y:\n    v: 'int' = 2\n\nvalue = Y().v\n",
    )
    a = Sources.of(tmp_path).module("a.py")
    assert (a.x.value, a.x.above, a.y.value, a.b.value, a.direct) == (2, 1, 2, 1, 1)
    assert a.json is sys.modules["json"]
    assert a.os is sys.modules["os"]


def test_two_sources_with_the_same_names_share_nothing(tmp_path: Path) -> None:
    loaded = []
    for number in (1, 2):
        write(tmp_path / str(number), a="import b\nvalue = b.value\n", b=f"value = {number}\n")
        loaded.append(Sources.of(tmp_path / str(number)).module("a.py"))
    assert [module.value for module in loaded] == [1, 2]
    assert "b" not in sys.modules


def test_a_file_with_the_name_of_an_installed_module_is_refused_where_others_would_get_it(tmp_path: Path) -> None:
    for name in ("numpy", "json"):
        folder = write(tmp_path / name, **{name: "value = 1\n", "a": f"import {name}\nvalue = {name}.value\n"})
        with (
            pytest.raises(InvalidInput, match=f"has the name of the installed module '{name}'"),
            Sources.of(folder).importable(),
        ):
            pass
        assert Sources.of(folder).module("a.py").value == 1  # by itself it sees its own, and nobody else does
        assert not hasattr(sys.modules[name], "value")


def test_a_module_that_fails_is_not_kept(tmp_path: Path) -> None:
    sources = Sources.of(write(tmp_path, a="raise ValueError('no')\n"))
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            sources.module("a.py")
    for missing in ("b.py", "../a.py", "a"):
        with pytest.raises(FileNotFoundError):
            sources.module(missing)
