"""What is copied into a cluster of an image's archive: the layers that it has not."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.cluster.one_node.images import _copy_without


def test_blobs_that_are_there_are_left_out(tmp_path: Path) -> None:
    content = {"oci-layout": b"{}", "index.json": b"{...}", "blobs/sha256/aa": b"shared" * 1000, "blobs/sha256/bb": b"own"}
    with tarfile.open(tmp_path / "image.tar", "w") as archive:
        for folder in ("blobs", "blobs/sha256"):
            about = tarfile.TarInfo(folder)
            about.type = tarfile.DIRTYPE
            archive.addfile(about)
        for name, data in content.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    copied = io.BytesIO()
    _copy_without(tmp_path / "image.tar", {"sha256:aa", "sha256:cc"}, copied)
    copied.seek(0)
    with tarfile.open(fileobj=copied) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive if member.isreg()}  # type: ignore[union-attr]
    assert found == {name: data for name, data in content.items() if name != "blobs/sha256/aa"}
