"""Images in layers, each upon another one: the same content gives the same digest, and what is shared is stored once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.images import layers
from infra.images.errors import Unavailable
from infra.images.image import NONROOT, Image
from infra.images.kept import STORAGE, cache_folder, locked, made_once
from infra.images.layers import Say

from tidegate.adapters.files.release_keys import keys_beside, require_signed
from tidegate.apps.slot_settings import MODULE as SLOT
from tidegate.files.release_folder import verify_release

COMPRESSED = ("--compression-format", "zstd", "--compression-level", "1")  # as small as by gzip, in half the time
PYTHON = "/usr/bin/python3"
ENVIRONMENT = {
    "PYTHONPATH": "/opt/tidegate:/opt/packages",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONSAFEPATH": "1",  # no module is taken from the folder in which a process happens to be started
    "OPENBLAS_NUM_THREADS": "1",  # its threads spin while they wait, and what is multiplied here is small
}

TRITON = {
    "PATH": "/opt/tritonserver/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH": "/opt/tritonserver/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class Recipe:
    """An image: `upon` another one (an Image, a reference that buildah can pull, or None), with folders at their places."""

    name: str
    upon: Image | str | None
    folders: Mapping[str, Path] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"


def base(say: Say, given: str | None = None) -> Image | str:
    """Debian's Python 3.11, or the image that is given: it has to have Python 3.11 at /usr/bin/python3 and libgomp."""
    return given or build(Recipe("base", None, {"/": layers.debian(say)}), say)


def serving(say: Say, given: str | None = None) -> Image:
    folders = {"/opt/packages": layers.packages(layers.serving_requirements(), say)}
    return build(Recipe("serving", base(say, given), folders, environment=ENVIRONMENT), say)


def release(folder: Path, say: Say, given: str | None = None) -> Image:
    """What pods of a model run: one release, at /release/<digest>. Its arguments are the chart's. Raises IntegrityError for
    one that is damaged, or that no key of its state folder or of TIDEGATE_TRUSTED_KEYS signed."""
    require_signed(folder, keys_beside(folder))
    verify_release(folder)
    folders = {"/opt/tidegate": layers.package(say), f"/release/{folder.name}": layers.release(folder, say)}
    entrypoint = [PYTHON, "-m", SLOT]
    return build(Recipe(f"release-{folder.name[:12]}", serving(say, given), folders, entrypoint), say)


def triton(folder: Path, say: Say, given: str | None = None) -> Image:
    """What pods of engine triton run: one release as a model repository at /release/models. `given` is an image of Triton with
    ONNX Runtime's backend for GPUs; ours is for CPUs. A model for one does not load on the other."""
    require_signed(folder, keys_beside(folder))
    upon = given or build(Recipe("tritonserver", base(say), {"/opt/tritonserver": layers.triton(say)}, environment=TRITON), say)
    models = layers.model_repository(folder, say, "gpu" if given else "cpu")
    return build(Recipe(f"triton-{folder.name[:12]}", upon, {"/release/models": models}), say)


def packages(say: Say, given: str | None = None) -> Image:
    """All packages of the lock."""
    folders = {"/opt/packages": layers.packages(layers.platform_requirements(), say)}
    return build(Recipe("packages", base(say, given), folders, environment=ENVIRONMENT), say)


def platform(say: Say, given: str | None = None) -> Image:
    """The command `tidegate` in a project: gate service, monitor, pipelines."""
    folders = {"/opt/tidegate": layers.package(say), "/project": layers.project(say)}
    entrypoint = [PYTHON, "-m", "tidegate.cli.main"]
    return build(Recipe("platform", packages(say, given), folders, entrypoint, folder="/project"), say)


def mlflow(say: Say, given: str | None = None) -> Image:
    """The MLflow of the lock, as a server."""
    return build(Recipe("mlflow", packages(say, given), entrypoint=[PYTHON, "-m", "mlflow"]), say)


def build(recipe: Recipe, say: Say) -> Image:
    """From the cache where it is there. Raises Unavailable."""
    upon = recipe.upon.pinned if isinstance(recipe.upon, Image) else recipe.upon
    folders = sorted((at, path.name) for at, path in recipe.folders.items())
    about: list[Any] = [recipe.name, upon, folders, list(recipe.entrypoint), sorted(recipe.environment.items())]
    about += [recipe.folder, *COMPRESSED]
    tag = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]  # folders are named by their content

    def make(into: Path) -> None:
        say(f"image {recipe.name}")
        _build(recipe, tag, into)

    kept = made_once(cache_folder() / "images" / f"{recipe.name}-{tag}", make)
    return Image(recipe.name, tag, (kept / "digest").read_text().strip(), kept / "image.tar")


def push(image: Image, registry: str, *, insecure: bool = False) -> str:
    """Push to `registry`: HOST/PATH, signed in to by `buildah login`. Its name there, by digest; raises Unavailable."""
    target = f"{registry.rstrip('/')}/{image.name}"
    if not _buildah("images", "--quiet", image.tagged, check=False):
        _buildah("pull", "--quiet", f"oci-archive:{image.archive}:{image.tagged}")
    with tempfile.NamedTemporaryFile("r") as digest:
        options = ["--tls-verify=false"] if insecure else []
        _buildah("push", "--quiet", *options, "--digestfile", digest.name, image.tagged, f"docker://{target}:{image.tag}")
        return f"{target}@{digest.read().strip()}"


def _build(recipe: Recipe, tag: str, into: Path) -> None:
    reference = f"localhost/tidegate/{recipe.name}:{tag}"
    upon = recipe.upon.tagged if isinstance(recipe.upon, Image) else recipe.upon or "scratch"
    if isinstance(recipe.upon, Image) and not _buildah("images", "--quiet", upon, check=False):
        _buildah("pull", "--quiet", f"oci-archive:{recipe.upon.archive}:{upon}")
    lines = [f"FROM {upon}"]
    contexts = []
    for i, (at, folder) in enumerate(sorted(recipe.folders.items())):
        contexts.append(f"--build-context=layer{i}={folder}")
        lines.append(f"COPY --from=layer{i} . {at}")
    lines += [f"ENV {name}={value}" for name, value in recipe.environment.items()]
    lines += [f"USER {NONROOT}", f"WORKDIR {recipe.folder}"]
    if recipe.entrypoint:
        lines.append(f"ENTRYPOINT {json.dumps(list(recipe.entrypoint))}")
    context = into / "context"
    context.mkdir()
    (context / "Containerfile").write_text("\n".join(lines) + "\n")
    options = ["--isolation", "chroot", "--timestamp", "0", "--format", "oci", "--layers=false", *contexts]
    options.append("--pull=missing" if isinstance(recipe.upon, str) else "--pull=never")  # ours are in our own storage
    _buildah("build", *options, "--tag", reference, "--file", str(context / "Containerfile"), str(context))
    archive = f"oci-archive:{into / 'image.tar'}:{reference}"
    _buildah("push", *COMPRESSED, "--digestfile", str(into / "digest"), reference, archive)
    shutil.rmtree(context)


def _buildah(*arguments: str, check: bool = True) -> str:
    """With a storage of our own, which keeps the layers that images share."""
    storage = cache_folder() / STORAGE
    options = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "overlay"]
    with locked(storage, fcntl.LOCK_SH):
        done = subprocess.run(["buildah", *options, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"`buildah {arguments[0]}` failed: {last}")
    return done.stdout.strip() if done.returncode == 0 else ""
