"""Container images without a container daemon or a registry: from scratch, by buildah, kept by content, loaded by containerd.

An image holds a few files at given paths and an entry point; its time stamps are zero, so the same files give the same
digest. Pods refer to it by that digest (`Image.pinned`), as the charts require of every image.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from infra.images.errors import Unavailable
from infra.images.image import NONROOT, Image
from infra.images.kept import cache_folder, made_once
from tests.cluster.one_node.layout import Cluster


def build(
    name: str,
    files: Mapping[str, Path],
    entrypoint: Sequence[str],
    say: Callable[[str], None],
    *,
    tag: str | None = None,
    user: str = NONROOT,
) -> Image:
    """An image from scratch with `files` (path in the image -> file or folder here), from the cache where it is there."""
    key = _key(name, files, entrypoint, tag, user)
    tag = tag or key

    def make(into: Path) -> None:
        say(f"image {name}")
        _buildah(name, tag, files, entrypoint, user, into)

    folder = made_once(cache_folder() / "images" / f"{name}-{key}", make)
    return Image(name, tag, (folder / "digest").read_text().strip(), folder / "image.tar")


def with_libraries(program: Path, at: str) -> dict[str, Path]:
    """A dynamically linked program and the libraries that it needs, each at its own path in an image from scratch."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    libraries = re.findall(r"(/\S+) \(0x", done.stdout)
    return {at: program} | {library: Path(library).resolve() for library in libraries}


def load(cluster: Cluster, image: Image) -> None:
    """Make the image known to the cluster's containerd under its tag and its digest."""
    if image.pinned in _names(cluster):
        return
    there = set(_ctr(cluster, "content", "list", "--quiet").split())
    command = _command(cluster, "images", "import", "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as importing:
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            _copy_without(image.archive, there, importing.stdin)  # type: ignore[arg-type]  # it is a pipe
        _, said = importing.communicate()
    _check(cluster, command, importing.returncode, said.decode())
    if image.tagged not in _names(cluster):
        raise Unavailable(f"image {image.name}: containerd did not take {image.archive} as {image.tagged}")
    _ctr(cluster, "images", "tag", "--force", image.tagged, image.pinned)


def _copy_without(archive: Path, digests: Collection[str], into: IO[bytes]) -> None:
    """An OCI archive without the blobs of these digests: containerd would write each of them once more."""
    with tarfile.open(archive) as source, tarfile.open(fileobj=into, mode="w|", bufsize=1 << 20) as target:
        for member in source:
            if member.name.removeprefix("blobs/").replace("/", ":", 1) not in digests:
                target.addfile(member, source.extractfile(member) if member.isreg() else None)


def _names(cluster: Cluster) -> set[str]:
    return set(_ctr(cluster, "images", "list", "--quiet").split())


def _ctr(cluster: Cluster, *arguments: str) -> str:
    command = _command(cluster, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _check(cluster, command, done.returncode, done.stderr)
    return done.stdout


def _command(cluster: Cluster, *arguments: str) -> list[str]:
    return ["ctr", "--address", str(cluster.containerd_socket), "--namespace", "k8s.io", *arguments]


def _check(cluster: Cluster, command: list[str], status: int, said: str) -> None:
    if status:
        raise Unavailable(f"containerd of cluster '{cluster.name}': `ctr {' '.join(command[5:7])}` failed: {said.strip()}")


def _key(name: str, files: Mapping[str, Path], entrypoint: Sequence[str], tag: str | None, user: str) -> str:
    digest = hashlib.sha256(json.dumps([name, list(entrypoint), tag, user, 1]).encode())
    for target, source in sorted(files.items()):
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file():
                digest.update(f"{target} {path.relative_to(source)} {path.stat().st_mode & 0o111}".encode())
                with path.open("rb") as handle:
                    digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def _buildah(name: str, tag: str, files: Mapping[str, Path], entrypoint: Sequence[str], user: str, into: Path) -> None:
    """buildah's storage lies beside the result and goes away with it: nothing of it is kept in the machine's own."""
    storage = into / "storage"
    reference = f"localhost/tidegate/{name}:{tag}"
    context = into / "context"
    lines = ["FROM scratch"]
    for i, (target, source) in enumerate(sorted(files.items())):
        staged = context / str(i)
        staged.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, staged)
        else:
            shutil.copy(source, staged)
        lines.append(f"COPY {json.dumps([str(i), target])}")
    lines += [f"USER {user}", f"ENTRYPOINT {json.dumps(list(entrypoint))}"]
    (context / "Containerfile").write_text("\n".join(lines) + "\n")
    base = ["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "vfs"]
    built = ["build", "--isolation", "chroot", "--timestamp", "0", "--format", "oci", "--layers=false"]
    _run([*base, *built, "--tag", reference, "--file", str(context / "Containerfile"), str(context)])
    archive = f"oci-archive:{into / 'image.tar'}:{reference}"
    _run([*base, "push", "--digestfile", str(into / "digest"), reference, archive])
    shutil.rmtree(storage, ignore_errors=True)
    shutil.rmtree(context, ignore_errors=True)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"`{command[0]}` failed to make an image: {last}")
