"""Builds images and prints a line for each: name, digest, size, archive.

python -m infra.images platform
python -m infra.images release build/demo/state/releases/<digest> [--base IMAGE] [--push REGISTRY]
python -m infra.images triton build/demo/state/releases/<digest> [--base IMAGE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from infra.images import build
from infra.images.errors import InfraError, InvalidInput
from infra.images.image import Image

from tidegate.domain.errors import TidegateError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.images",
        description="Build container images without a daemon.",
        epilog="examples: python -m infra.images platform; python -m infra.images release build/demo/state/releases/<digest>",
    )
    parser.add_argument("kind", choices=["base", "serving", "release", "triton", "platform", "mlflow"])
    parser.add_argument("folder", type=Path, nargs="?", help="of the release, for `release` and `triton`")
    parser.add_argument(
        "--base",
        metavar="IMAGE",
        help="instead of one by debootstrap: with Python 3.11 as python3, and libgomp; for `triton` a Triton for GPUs",
    )
    parser.add_argument("--push", metavar="REGISTRY", help="push it to HOST/PATH, signed in to by `buildah login`")
    parser.add_argument("--insecure", action="store_true", help="push without TLS")
    given = parser.parse_args()
    try:
        image = _build(given.kind, given.folder, given.base)
        pushed = build.push(image, given.push, insecure=given.insecure) if given.push and isinstance(image, Image) else None
    except (InfraError, TidegateError) as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    if isinstance(image, Image):
        sys.stdout.write(f"{pushed or image.pinned} {image.archive.stat().st_size / 1e6:.0f} MB {image.archive}\n")
    return 0


def _build(kind: str, folder: Path | None, base: str | None) -> Image | str:
    def say(message: str) -> None:
        sys.stderr.write(f"  {message}\n")

    of_release = {"release": build.release, "triton": build.triton}
    if kind in of_release:
        if folder is None or not (folder / "manifest.json").is_file():
            raise InvalidInput(f"image of a release: {folder} is no release folder; name releases/<digest> of a state folder")
        return of_release[kind](folder.resolve(), say, base)
    makers = {"base": build.base, "serving": build.serving, "platform": build.platform, "mlflow": build.mlflow}
    return makers[kind](say, base)


if __name__ == "__main__":
    sys.exit(main())
