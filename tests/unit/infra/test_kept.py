"""What the cache lacks is made once, as a whole or not at all."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from infra.one_node.kept import made_once


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
