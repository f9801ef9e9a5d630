"""Up and down of a cluster: a plan of steps, each of which looks at what is before it does anything.

`up` is idempotent: run again, or after a crash of it or of any daemon, it does what is missing. `down` needs no `up` to have
finished. Both hold the cluster's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.images import kept
from infra.images.errors import Conflict, InfraError, NotFound, Unavailable
from infra.images.kept import cache_folder
from infra.images.mounts import remove, unmount_below
from tests.cluster.one_node import (
    addons,
    components,
    control_groups,
    credentials,
    images,
    kernel_settings,
    network,
    packages,
    processes,
    recipes,
)
from tests.cluster.one_node.layout import NODE, Cluster

Say = Callable[[str], None]
ROOM = 8e9  # bytes of images, logs and volumes that the tests on a cluster come to, with some to spare


@dataclass(frozen=True)
class Step:
    """`done` is None where looking costs as much as doing; doing is then harmless when it is done already."""

    title: str
    done: Callable[[], bool] | None
    apply: Callable[[], None]


@dataclass(frozen=True)
class Wanted:
    """What `up` is asked for. `addons` are names out of `addons.NAMES`."""

    addons: tuple[str, ...] = ()
    install_packages: bool = False
    timeout_s: float = 180.0


def plan(cluster: Cluster, wanted: Wanted, say: Say) -> list[Step]:
    """The steps of `up`, in order."""
    needed = [recipes.KUBERNETES, recipes.KUBE_ROUTER, *addons.recipes_of(wanted.addons)]
    steps = [
        Step(
            "Debian's packages",
            lambda: not packages.missing(),
            lambda: packages.require(install=wanted.install_packages, say=say),
        ),
        Step("room on the disk", lambda: _lacking(cluster.root) <= 0, lambda: _refuse_full(cluster)),
        *(Step(f"programs of {r.name} {r.key()}", r.built, lambda r=r: _discard(recipes.build(r, say))) for r in needed),  # type: ignore[misc]
        Step(f"folder {cluster.folder}", (cluster.folder / "cluster.json").exists, lambda: _claim(cluster)),
        Step(f"network namespace {cluster.unique}", lambda: network.ready(cluster), lambda: network.create(cluster)),
        Step(f"control group {cluster.unique}", lambda: control_groups.exists(cluster), lambda: control_groups.create(cluster)),
        Step("keys and certificates", lambda: credentials.complete(cluster), lambda: credentials.create(cluster)),
        Step("configuration files", None, lambda: components.write_configuration(cluster)),
    ]
    for part in components.CONTROL_PLANE:
        steps.append(_daemon_step(cluster, part))
    steps.append(Step("API server ready", None, lambda: _await_api(cluster, wanted.timeout_s, say)))
    steps.append(Step("pause image", None, lambda: _load_pause(cluster, say)))
    for part in components.WORKERS:
        steps.append(_daemon_step(cluster, part))
    steps.append(Step(f"node {NODE} ready", None, lambda: _await_node(cluster, wanted.timeout_s)))
    steps += [_daemon_step(cluster, part) for part in components.ON_NODE]
    steps += [Step(f"add-on {name}", None, lambda name=name: addons.install(cluster, name, say)) for name in wanted.addons]  # type: ignore[misc]
    if wanted.addons:
        steps.append(Step("add-ons available", None, lambda: addons.await_available(cluster, wanted.addons)))
    return steps


def _lacking(folder: Path) -> float:
    """Bytes that the disk lacks of what a cluster needs: below one part in a hundred the kubelet lets no pod run."""
    total, _, free = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists()))
    return ROOM + total / 100 - free


def _refuse_full(cluster: Cluster) -> None:
    raise Unavailable(
        f"cluster '{cluster.name}': the disk of {cluster.root} has {_lacking(cluster.root) / 1e9:.1f} GB too few free for"
        " images and pods, which a full disk would evict one by one; see what `prune --unused-days 0 --dry-run` would free, or"
        " set TIDEGATE_CACHE to a folder of another disk"
    )


def up(cluster: Cluster, wanted: Wanted, say: Say) -> None:
    """Bring the cluster up. Raises InfraError, naming the step and the log to read."""
    require_root()
    cluster.root.mkdir(parents=True, exist_ok=True)
    with _locked(cluster):
        if network.exists(cluster) and not (cluster.folder / "cluster.json").exists():
            raise Conflict(
                f"cluster '{cluster.name}': network namespace {cluster.unique} exists, but was not made from {cluster.root};"
                " give another name, or take the other cluster down first"
            )
        for step in plan(cluster, wanted, say):
            if step.done is None or not step.done():
                step.apply()
                say(step.title)


def down(cluster: Cluster, say: Say) -> None:
    """Leave nothing of the cluster: processes, mounts, namespace, control groups, files. Raises NotFound, Unavailable."""
    require_root()
    if not cluster.folder.exists() and not processes.marked(cluster):
        raise NotFound(f"there is no cluster '{cluster.name}' in {cluster.root}; `status` lists those that are")
    with _locked(cluster):
        sockets = _shim_sockets(cluster)
        try:
            ended = processes.end_all(lambda: processes.marked(cluster) + control_groups.processes(cluster))
        except TimeoutError as error:
            raise Unavailable(f"cluster '{cluster.name}': processes did not end: {error}; run this again") from error
        say(f"ended {ended} processes")
        unmount_below(cluster.folder)
        network.delete(cluster)
        left = control_groups.remove(cluster)
        if left:
            raise Unavailable(f"cluster '{cluster.name}': control group {left[0]} is still in use; run this again")
        for path in [*sockets, *_shared_leftovers(cluster)]:
            with contextlib.suppress(OSError):
                path.unlink()
        remove(cluster.folder)
        if not names(cluster.root):
            kernel_settings.put_back(cluster.root)
        say("mounts, namespace, control group and files removed")
    kept.lock_of(cluster.folder).unlink(missing_ok=True)


def require_root() -> None:
    if os.geteuid() != 0:
        raise Unavailable("a cluster needs network namespaces and containers, which only root may make; run this as root")


def names(root: Path) -> list[str]:
    """Names of the clusters below `root`, running or interrupted."""
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def await_true(check: Callable[[], bool], timeout_s: float, problem: str, *, every_s: float = 0.25) -> None:
    """Wait until `check` holds; raises Unavailable with `problem` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise Unavailable(problem)
        time.sleep(every_s)


def _daemon_step(cluster: Cluster, part: str) -> Step:
    def begin() -> None:
        processes.start(cluster, part, components.command(cluster, part))

    return Step(part, lambda: part in processes.daemons(cluster), begin)


def _await_api(cluster: Cluster, timeout_s: float, say: Say) -> None:
    log = cluster.logs / "kube-apiserver.log"

    def ready() -> bool:
        if "kube-apiserver" not in processes.daemons(cluster):
            # Started before etcd listened, it gives up after a while: that is no reason to fail.
            processes.start(cluster, "kube-apiserver", components.command(cluster, "kube-apiserver"))
        done = addons.kubectl(cluster, "get", "--raw=/readyz", check=False)
        return done.returncode == 0 and done.stdout.strip() == "ok"

    await_true(ready, timeout_s, f"cluster '{cluster.name}': the API server is not ready after {timeout_s:.0f} s; read {log}")


def _await_node(cluster: Cluster, timeout_s: float) -> None:
    condition = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    log = cluster.logs / "kubelet.log"
    await_true(
        lambda: addons.kubectl(cluster, "get", "node", NODE, "-o", condition, check=False).stdout.strip() == "True",
        timeout_s,
        f"cluster '{cluster.name}': node {NODE} is not Ready after {timeout_s:.0f} s; read {log}",
    )


def _load_pause(cluster: Cluster, say: Say) -> None:
    """The sandbox container of every pod: one small static program, compiled here."""
    source = recipes.FOLDER / "pause" / "pause.c"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "pause"
        done = subprocess.run(
            ["gcc", "-static", "-Os", "-o", str(program), str(source)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"`gcc` could not compile {source}: {done.stderr.strip().splitlines()[-1:]}")
        image = images.build("pause", {"/pause": program}, ["/pause"], say, tag="1")
    await_true(cluster.containerd_socket.exists, 30, f"containerd has no socket; read {cluster.logs / 'containerd.log'}")
    deadline = time.monotonic() + 30
    while True:
        try:
            return images.load(cluster, image)
        except InfraError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def _claim(cluster: Cluster) -> None:
    cluster.folder.mkdir(parents=True, exist_ok=True)
    kernel_settings.keep(cluster.root)
    (cluster.folder / "cluster.json").write_text(json.dumps({"name": cluster.name, "cache": str(cache_folder())}) + "\n")


def _discard(_: object) -> None:
    return None


@contextmanager
def _locked(cluster: Cluster) -> Iterator[None]:
    """Waits a moment: what a killed command was about to start holds its lock until it has started."""
    deadline = time.monotonic() + 3
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(kept.locked(cluster.folder, fcntl.LOCK_EX | fcntl.LOCK_NB))
                break
            except Conflict:
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"cluster '{cluster.name}' is being changed by another command; wait for it, or give another name"
                    ) from None
                time.sleep(0.1)
        yield


def _shim_sockets(cluster: Cluster) -> list[Path]:
    """Shims listen in a folder shared by all containerds; the address of each is noted beside its container."""
    found = []
    for note in cluster.containerd.glob("state/io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            found.append(Path(note.read_text().strip().removeprefix("unix://")))
    return [path for path in found if path.is_absolute() and path.parent == Path("/run/containerd/s")]


def _shared_leftovers(cluster: Cluster) -> list[Path]:
    """What kubelet and CNI write into folders of the machine although told where to write: links to logs, results."""
    links = [path for path in Path("/var/log/containers").glob("*.log") if path.is_symlink()]
    ours = [path for path in links if Path(os.readlink(path)).is_relative_to(cluster.pod_logs)]
    result = re.compile(re.escape(cluster.unique) + r"-[0-9a-f]{64}-\w+")
    return ours + [path for path in Path("/var/lib/cni/results").glob("*") if result.fullmatch(path.name)]
