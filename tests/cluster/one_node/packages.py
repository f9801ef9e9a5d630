"""What is taken from Debian: which program comes from which package, and installing what is missing when asked to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from infra.images.errors import Unavailable

CNI_PLUGINS = Path("/usr/lib/cni")

# A program (or file) that shows that the package is there -> the package
PACKAGES = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "ip": "iproute2",
    "sysctl": "procps",
    "mount": "mount",
    "openssl": "openssl",
    "gcc": "gcc",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "docker-registry": "docker-registry",
    "prometheus": "prometheus",
    "redis-server": "redis-server",
}


def missing() -> list[str]:
    """Packages whose program is not there, sorted."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted({package for program, package in PACKAGES.items() if shutil.which(program, path=path) is None})


def require(*, install: bool, say: Callable[[str], None]) -> None:
    """Raises Unavailable with the command to run when a package is missing and must not be installed."""
    absent = missing()
    if not absent:
        return
    names = " ".join(absent)
    if not install or shutil.which("apt-get") is None:
        raise Unavailable(f"missing packages; run: apt-get install --no-install-recommends {names}")
    say(f"install {names}")
    environment = dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=60", "install", "--no-install-recommends", *absent],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Unavailable(f"`{' '.join(command[:3])}` failed: {last}; install these packages yourself: {names}")
    if still := missing():
        raise Unavailable(f"after installing, still missing: {' '.join(still)}")
