"""A cluster on a disk that is nearly full is refused before anything is made, not pod by pod later."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from infra.images.errors import Unavailable
from tests.cluster.one_node.layout import Cluster
from tests.cluster.one_node.lifecycle import Wanted, plan


class Usage(NamedTuple):
    total: float
    used: float
    free: float


@pytest.mark.parametrize(("free", "enough"), [(6.2e9, False), (10.3e9, False), (10.7e9, True)])
def test_a_disk_without_room_is_refused_by_name(tmp_path: Path, monkeypatch, free: float, enough: bool) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(252e9, 252e9 - free, free))
    [step] = [s for s in plan(Cluster("a", tmp_path / "clusters"), Wanted(), lambda _: None) if s.title == "room on the disk"]
    assert step.done is not None
    assert step.done() is enough
    if not enough:
        with pytest.raises(Unavailable, match=f"cluster 'a'.*{(10.52e9 - free) / 1e9:.1f} GB too few free.*prune"):
            step.apply()
