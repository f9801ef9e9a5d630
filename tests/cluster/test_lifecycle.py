"""A cluster of our own beside another one: killed in the middle, gone on with, and taken down without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from infra.images.kept import lock_of
from tests.cluster.access import ROOT, Kubernetes, await_true
from tests.cluster.one_node import addons, control_groups, lifecycle, network, processes
from tests.cluster.one_node.layout import Cluster, cluster

MARK = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mark", "namespace": "default"}, "data": {"of": "other"}}


@pytest.fixture
def other(kubernetes: Kubernetes) -> Iterator[Cluster]:
    """A name that no cluster has; nothing of it is left afterwards."""
    if kubernetes.own is None:
        pytest.skip("a cluster that was given is not ours to start or to end")
    target = cluster(f"o{os.getpid()}")
    yield target
    if target.folder.exists():
        lifecycle.down(target, print)


def traces(target: Cluster) -> list[str]:
    """What the machine still has of a cluster."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    found = [f"mount {at}" for at in mounts if at.startswith(str(target.folder)) or at == str(target.netns)]
    found += [f"process {each.pid} {each.command}" for each in processes.marked(target) + control_groups.processes(target)]
    found += [f"control group {target.unique}"] if control_groups.exists(target) else []
    found += [f"network namespace {target.unique}"] if network.exists(target) else []
    return found + [str(path) for path in (target.folder, lock_of(target.folder)) if path.exists()]


def up(target: Cluster) -> None:
    lifecycle.up(target, lifecycle.Wanted(), print)


def test_killed_in_the_middle_beside_another_one_and_gone_without_a_trace(kubernetes: Kubernetes, other: Cluster) -> None:
    command = [sys.executable, "-m", "tests.cluster.one_node", "up", "--name", other.name, "--with", "none"]
    begun = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_true(lambda: "etcd" in processes.daemons(other), 60, lambda: f"etcd has not started; up is {begun.poll()}")
    begun.kill()
    begun.wait()
    up(other)  # goes on
    addons.apply(other, "-f", "-", given=json.dumps(MARK))
    assert kubernetes.kubectl("get", "configmap", "mark", "-n", "default", check=False) == ""  # in the other one only
    for each in processes.daemons(other).values():
        processes.signal_exactly(each, signal.SIGKILL)
    await_true(lambda: not processes.daemons(other), 10, lambda: f"{processes.daemons(other)} still run")
    up(other)
    kept = addons.kubectl(other, "get", "configmap", "mark", "-n", "default", "-o", "jsonpath={.data.of}")
    assert kept.stdout == "other"
    assert traces(other)
    lifecycle.down(other, print)
    assert traces(other) == []
    assert kubernetes.kubectl("get", "nodes")  # the one beside it never noticed


def test_killed_clusters_leave_nothing_after_down(other: Cluster) -> None:
    up(other)
    for each in processes.marked(other):
        processes.signal_exactly(each, signal.SIGKILL)  # a runc may have ended by now
    lifecycle.down(other, print)
    assert traces(other) == []
