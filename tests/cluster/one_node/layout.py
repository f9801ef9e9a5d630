"""Names, addresses and folders of one cluster, all derived from its name and the folder that holds all clusters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from infra.images.errors import InvalidInput
from infra.images.kept import cache_folder

NODE = "node1"
NODE_ADDRESS = "10.88.0.1"  # the same in every cluster: each has a namespace of its own
API_PORT = 6443
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")
_SOCKET_LIMIT = 107  # bytes of a UNIX socket's path


@dataclass(frozen=True)
class Cluster:
    """One cluster; `root` is the folder of all clusters. Raises InvalidInput for a name or folder that cannot work."""

    name: str
    root: Path

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidInput(
                f"cluster name '{self.name}': required are a letter and up to 19 lower-case letters, digits, hyphens"
            )
        if len(str(self.containerd_socket).encode()) > _SOCKET_LIMIT:
            raise InvalidInput(f"folder {self.root} is too long for sockets below it; set TIDEGATE_CACHE to a shorter one")

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def unique(self) -> str:
        """The name of everything that has to be unique on the machine: network namespace, control group, pod network."""
        return f"tidegate-{self.name}"

    @property
    def netns(self) -> Path:
        return Path("/run/netns") / self.unique

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.folder / "certs"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pod_logs(self) -> Path:
        return self.folder / "pod-logs"

    @property
    def containerd(self) -> Path:
        return self.folder / "cd"

    @property
    def containerd_socket(self) -> Path:
        return self.containerd / "containerd.sock"

    @property
    def api(self) -> str:
        return f"https://{NODE_ADDRESS}:{API_PORT}"

    def inside(self, *command: str) -> list[str]:
        """The command, run inside the cluster's network namespace. (`ip netns exec` would hide the control groups.)"""
        return ["nsenter", f"--net={self.netns}", "--", *command]


def cluster(name: str) -> Cluster:
    return Cluster(name, cache_folder() / "clusters")
