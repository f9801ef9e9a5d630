"""Images in layers, each upon another one: the same content gives the same digest, and what is shared is stored once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.images import layers
from infra.images.errors import Unavailable
from infra.images.image import Image
from infra.images.kept import STORAGE, cache_folder, locked, made_once
from infra.images.layers import Say

from tidegate.adapters.files.release_keys import keys_beside, require_signed
from tidegate.adapters.oci.recipe import ENVIRONMENT, PACKAGES, Recipe, of_mlflow, of_platform, of_release
from tidegate.apps.slot_settings import MODULE as SLOT
from tidegate.files.release_folder import verify_release

COMPRESSED = ("--compression-format", "zstd", "--compression-level", "1")  # as small as by gzip, in half the time
PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}  # of the base that we make; others have their own
TRITON = {
    "PATH": "/opt/tritonserver/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH": "/opt/tritonserver/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def base(say: Say, given: str | None = None) -> Image | str:
    """Debian's Python 3.11, or the image that is given: it has to have Python 3.11 as python3, and libgomp."""
    return given or build(Recipe("base", {"/": layers.debian(say)}), None, say)


def serving(say: Say, given: str | None = None) -> Image:
    folders = {PACKAGES: layers.packages(layers.serving_requirements(), say)}
    return build(Recipe("serving", folders, environment=ENVIRONMENT), base(say, given), say)


def release(folder: Path, say: Say, given: str | None = None) -> Image:
    """What pods of a model run: one release, at /release/<digest>. Its arguments are the chart's. Raises IntegrityError for
    one that is damaged, or that no key of its state folder or of TIDEGATE_TRUSTED_KEYS signed."""
    require_signed(folder, keys_beside(folder))
    verify_release(folder)
    name = f"release-{folder.name[:12]}"
    made = of_release(name, folder.name, layers.package(say), layers.release(folder, say), SLOT)
    return build(_found(made, given), serving(say, given), say)


def triton(folder: Path, say: Say, given: str | None = None) -> Image:
    """What pods of engine triton run: one release as a model repository at /release/models. `given` is an image of Triton with
    ONNX Runtime's backend for GPUs; ours is for CPUs. A model for one does not load on the other."""
    require_signed(folder, keys_beside(folder))
    server = Recipe("tritonserver", {"/opt/tritonserver": layers.triton(say)}, environment=TRITON)
    upon = given or build(server, base(say), say)
    models = layers.model_repository(folder, say, "gpu" if given else "cpu")
    return build(Recipe(f"triton-{folder.name[:12]}", {"/release/models": models}), upon, say)


def packages(say: Say, given: str | None = None) -> Image:
    """All packages of the lock."""
    folders = {PACKAGES: layers.packages(layers.platform_requirements(), say)}
    return build(Recipe("packages", folders, environment=ENVIRONMENT), base(say, given), say)


def platform(say: Say, given: str | None = None) -> Image:
    """The command `tidegate` in a project: gate service, monitor, pipelines."""
    made = of_platform("platform", layers.package(say), layers.project(say))
    return build(_found(made, given), packages(say, given), say)


def mlflow(say: Say, given: str | None = None) -> Image:
    """The MLflow of the lock, as a server."""
    return build(_found(of_mlflow("mlflow"), given), packages(say, given), say)


def build(recipe: Recipe, upon: Image | str | None, say: Say) -> Image:
    """`upon` an image, a reference that buildah can pull, or nothing; from the cache where it is there. Raises Unavailable."""
    named = upon.pinned if isinstance(upon, Image) else upon
    folders = sorted((at, path.name) for at, path in recipe.folders.items())
    about: list[Any] = [recipe.name, named, folders, list(recipe.entrypoint), sorted(recipe.environment.items())]
    about += [recipe.folder, *COMPRESSED]
    tag = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]  # folders are named by their content

    def make(into: Path) -> None:
        say(f"image {recipe.name}")
        _build(recipe, upon, tag, into)

    kept = made_once(cache_folder() / "images" / f"{recipe.name}-{tag}", make)
    return Image(recipe.name, tag, (kept / "digest").read_text().strip(), kept / "image.tar")


def push(image: Image, registry: str, *, insecure: bool = False) -> str:
    """Push to `registry`: HOST/PATH, signed in to by `buildah login`. Its name there, by digest; raises Unavailable."""
    target = f"{registry.rstrip('/')}/{stored(image).name}"
    with tempfile.NamedTemporaryFile("r") as digest:
        options = ["--tls-verify=false"] if insecure else []
        _buildah("push", "--quiet", *options, "--digestfile", digest.name, image.tagged, f"docker://{target}:{image.tag}")
        return f"{target}@{digest.read().strip()}"


def stored(image: Image) -> Image:
    """The image, which buildah's storage now has by its name with a tag: what is built upon it shares its layers."""
    if not _buildah("images", "--quiet", image.tagged, check=False):
        _buildah("pull", "--quiet", f"oci-archive:{image.archive}:{image.tagged}")
    return image


def storage() -> dict[str, Path]:
    """Where buildah keeps those layers, by the words of its own settings."""
    folder = cache_folder() / STORAGE
    return {"graphroot": folder / "root", "runroot": folder / "run"}


def _found(recipe: Recipe, base: str | None) -> Recipe:
    """Where its program is found."""
    return recipe if base else replace(recipe, environment={**recipe.environment, **PATH})


def _build(recipe: Recipe, base: Image | str | None, tag: str, into: Path) -> None:
    reference = f"localhost/tidegate/{recipe.name}:{tag}"
    upon = stored(base).tagged if isinstance(base, Image) else base or "scratch"
    layers = {at: f"layer{i}" for i, at in enumerate(recipe.folders)}
    contexts = [f"--build-context={layers[at]}={folder}" for at, folder in recipe.folders.items()]
    context = into / "context"
    context.mkdir()
    (context / "Containerfile").write_text(recipe.text(upon, lambda at: f"--from={layers[at]} ."))
    options = ["--isolation", "chroot", "--timestamp", "0", "--format", "oci", "--layers=false", *contexts]
    options.append("--pull=missing" if isinstance(base, str) else "--pull=never")  # ours are in our own storage
    _buildah("build", *options, "--tag", reference, "--file", str(context / "Containerfile"), str(context))
    archive = f"oci-archive:{into / 'image.tar'}:{reference}"
    _buildah("push", *COMPRESSED, "--digestfile", str(into / "digest"), reference, archive)
    shutil.rmtree(context)


def _buildah(*arguments: str, check: bool = True) -> str:
    """With a storage of our own, which keeps the layers that images share."""
    at = storage()
    options = ["--root", str(at["graphroot"]), "--runroot", str(at["runroot"]), "--storage-driver", "overlay"]
    with locked(cache_folder() / STORAGE, fcntl.LOCK_SH):
        done = subprocess.run(["buildah", *options, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"`buildah {arguments[0]}` failed: {last}")
    return done.stdout.strip() if done.returncode == 0 else ""
