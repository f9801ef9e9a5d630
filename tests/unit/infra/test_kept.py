"""What the cache lacks is made once, as a whole or not at all; what nobody asks for goes."""

from __future__ import annotations

import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from infra.images.errors import Conflict
from infra.images.kept import STORAGE, locked, made_once, prune, unused


def test_who_asks_at_the_same_time_waits_for_the_first(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(into: Path) -> None:
        made.append(into)
        time.sleep(0.05)
        (into / "program").write_text("whole")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: (made_once(tmp_path / "tool", make) / "program").read_text(), range(4)))
    assert found == ["whole"] * 4
    assert len(made) == 1
    assert made_once(tmp_path / "tool", make) == tmp_path / "tool"
    assert len(made) == 1


def test_what_failed_leaves_nothing_and_is_made_anew(tmp_path: Path) -> None:
    def fail(into: Path) -> None:
        (into / "half").write_text("half")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError):
        made_once(tmp_path / "tool", fail)
    assert not (tmp_path / "tool").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tool.lock"]
    assert list(made_once(tmp_path / "tool", lambda into: (into / "whole").touch()).iterdir()) == [tmp_path / "tool" / "whole"]


def made_before(folder: Path, days: float) -> Path:
    def make(into: Path) -> None:
        (into / "content").write_text("12345")

    made_once(folder, make)
    os.utime(folder, (time.time() - days * 86_400,) * 2)
    return folder


def test_what_nobody_has_asked_for_goes_the_oldest_first(tmp_path: Path) -> None:
    old, older = made_before(tmp_path / "layers" / "old-1", 8), made_before(tmp_path / "tools" / "older-1", 9)
    kept = [made_before(tmp_path / "images" / "new-1", 6), made_before(tmp_path / "images" / "asked-1", 100)]
    made_once(kept[1], lambda into: pytest.fail("it is there"))
    (tmp_path / "clusters" / "dev").mkdir(parents=True)  # not of the cache's kinds
    os.utime(tmp_path / "clusters" / "dev", (0, 0))
    found = list(unused(tmp_path, 7 * 86_400))
    assert [(each.path, each.size, round(each.seconds / 86_400)) for each in found] == [(older, 5, 9), (old, 5, 8)]
    for each in found:
        prune(each)
    assert not old.exists()
    assert not older.exists()
    assert all(path.exists() for path in kept)
    assert not list(unused(tmp_path, 7 * 86_400))


def test_what_was_asked_for_longest_ago_goes_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    made = [made_before(tmp_path / "images" / f"made-{days}", days) for days in (1, 2, 3, 4)]
    found = list(unused(tmp_path, 7 * 86_400, most=11))
    assert [each.path for each in found] == [made[3], made[2]]
    assert not list(unused(tmp_path, 7 * 86_400, most=20))


def test_layers_that_archives_hold_go_with_an_image(tmp_path: Path) -> None:
    (tmp_path / STORAGE).mkdir(parents=True)
    made_before(tmp_path / "layers" / "old-1", 8)
    assert STORAGE.name not in [each.path.name for each in unused(tmp_path, 86_400)]
    made_before(tmp_path / "images" / "old-1", 8)
    assert [each.path.name for each in unused(tmp_path, 86_400)] == ["old-1", "old-1", STORAGE.name]


def test_what_is_being_made_or_used_stays(tmp_path: Path) -> None:
    left = tmp_path / "images" / ".half-1-a_b12345"  # by a killed process, or by one that is at it
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    (tmp_path / STORAGE).mkdir()
    half, storage = unused(tmp_path, 86_400)
    with locked(tmp_path / "images" / "half-1"), pytest.raises(Conflict, match="being made or used"):
        prune(half)
    with locked(tmp_path / STORAGE, fcntl.LOCK_SH), pytest.raises(Conflict):
        prune(storage)
    prune(half)
    prune(storage)
    assert [path for path in (tmp_path / "images").iterdir() if path.is_dir()] == []
