"""The network namespace of a cluster: the node's address on a bridge without members, a route to nowhere, no uplink."""

from __future__ import annotations

import subprocess

from infra.images.errors import Unavailable
from tests.cluster.one_node.layout import NODE_ADDRESS, Cluster


def exists(cluster: Cluster) -> bool:
    return cluster.netns.exists()


def ready(cluster: Cluster) -> bool:
    """Whether the namespace is complete, and not what an interrupted `create` left."""
    if not exists(cluster):
        return False
    routes = subprocess.run(cluster.inside("ip", "route", "show", "default"), capture_output=True, text=True, check=False)
    return routes.returncode == 0 and "node0" in routes.stdout


def create(cluster: Cluster) -> None:
    """The node's address cannot be loopback, and not every kernel has dummy devices: an empty bridge carries it."""
    if exists(cluster):
        delete(cluster)
    _run(["ip", "netns", "add", cluster.unique])
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "add", "node0", "type", "bridge"],
        ["ip", "addr", "add", f"{NODE_ADDRESS}/24", "dev", "node0"],
        ["ip", "link", "set", "node0", "up"],
        ["sysctl", "-qw", "net.ipv4.ip_forward=1"],
        ["ip", "route", "add", "default", "dev", "node0"],  # last: `ready` looks for it
    ):
        _run(cluster.inside(*command))


def delete(cluster: Cluster) -> None:
    if exists(cluster):
        _run(["ip", "netns", "delete", cluster.unique])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"network namespace: `{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
