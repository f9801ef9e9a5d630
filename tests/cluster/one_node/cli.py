"""The command line: `python -m tests.cluster.one_node COMMAND`; see `--help`. Progress goes to stderr, results to stdout."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from infra.images import kept
from infra.images.errors import Conflict, InfraError, InvalidInput, NotFound
from infra.images.kept import cache_folder
from tests.cluster.one_node import addons, lifecycle, network, packages, processes, recipes
from tests.cluster.one_node.layout import Cluster, cluster

_EXAMPLES = """\
examples:
  python -m tests.cluster.one_node up                       # a bare cluster named 'dev'
  python -m tests.cluster.one_node up --with rollouts,keda  # with Argo Rollouts and KEDA
  python -m tests.cluster.one_node run -- kubectl get pods --all-namespaces
  python -m tests.cluster.one_node down
  python -m tests.cluster.one_node prune --unused-days 7     # free the disk of what is not used any more
  python -m tests.cluster.one_node prune --keep-gb 15        # and of what was used longest ago, down to that

exit codes: 0 done, 1 failed, 2 wrong argument, 3 no such cluster, 4 name taken or busy, 7 something needed is missing
"""


_INSTALL = "install Debian's packages that are missing, by apt-get"


class Progress:
    """Lines on stderr, each with the seconds since the start."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def __call__(self, message: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - self._begun:6.1f} s] {message}\n")
        sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options, Progress()))
    except InfraError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to go on, or `down` to clean up\n")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="one_node",
        description="A real Kubernetes of one node, from packages, in a network namespace of its own: for tests.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def named(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub.add_argument(
            "--name", default=os.environ.get("CLUSTER", "dev"), help="the cluster's name (default: $CLUSTER, or dev)"
        )
        return sub

    up = named(command("up", _up, "Start a cluster, or what is missing of it."))
    up.add_argument(
        "--with", dest="addons", default="dns", help=f"add-ons, by comma: {', '.join(addons.NAMES)}, all, none (default: dns)"
    )
    up.add_argument("--install-packages", action="store_true", help=_INSTALL)
    up.add_argument(
        "--timeout", type=float, default=180, metavar="SECONDS", help="for the API server and for the node, each (default: 180)"
    )
    up.add_argument("--dry-run", action="store_true", help="print the steps and whether each is done already; change nothing")
    named(command("down", _down, "End a cluster and remove everything of it."))
    status = command("status", _status, "List the clusters and their daemons.")
    status.add_argument("--json", action="store_true", help="as JSON")
    run = named(command("run", _run, "Run a command inside the cluster's network namespace, with KUBECONFIG and kubectl."))
    run.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARGUMENT...]")
    build = command("build", _build, "Build the programs into the cache, without starting anything.")
    ours, more = (", ".join(recipe.name for recipe in some) for some in (recipes.RECIPES, recipes.ON_DEMAND))
    build.add_argument(
        "recipes", nargs="*", metavar="RECIPE", help=f"out of: {ours} (default: all of these); only when named: {more}"
    )
    build.add_argument("--install-packages", action="store_true", help=_INSTALL)
    absent = command("packages", _packages, "List Debian's packages that are missing for all this.")
    absent.add_argument("--install-packages", action="store_true", help=_INSTALL)
    prune = command("prune", _prune, "Remove programs, layers and images from the cache that nobody has asked for lately.")
    prune.add_argument("--unused-days", type=float, default=30, metavar="DAYS", help="for how long (default: 30)")
    prune.add_argument("--keep-gb", type=float, default=math.inf, metavar="GB", help="and the oldest beyond that much in all")
    prune.add_argument("--dry-run", action="store_true", help="print what would go; change nothing")
    return parser


def _up(options: argparse.Namespace, say: Progress) -> int:
    target = cluster(options.name)
    wanted = lifecycle.Wanted(addons.parse(options.addons), options.install_packages, options.timeout)
    if options.dry_run:
        for step in lifecycle.plan(target, wanted, say):
            state = "check" if step.done is None else "done" if step.done() else "to do"
            sys.stdout.write(f"{state:6} {step.title}\n")
        return 0
    lifecycle.up(target, wanted, say)
    sys.stdout.write(
        f"cluster '{target.name}' is up; try: python -m tests.cluster.one_node run --name {target.name} -- kubectl get nodes\n"
    )
    return 0


def _down(options: argparse.Namespace, say: Progress) -> int:
    target = cluster(options.name)
    lifecycle.down(target, say)
    sys.stdout.write(f"cluster '{target.name}' is gone\n")
    return 0


def _status(options: argparse.Namespace, say: Progress) -> int:
    root = cluster("any").root
    found = {name: processes.daemons(Cluster(name, root)) for name in lifecycle.names(root)}
    if options.json:
        rows = {
            name: {part: {"pid": p.pid, "started": p.started} for part, p in parts.items()} for name, parts in found.items()
        }
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return 0
    for name, parts in found.items():
        sys.stdout.write(
            f"{name}: {', '.join(f'{part} ({p.pid})' for part, p in parts.items()) or 'interrupted, no daemon runs'}\n"
        )
    if not found:
        sys.stdout.write("no cluster\n")
    return 0


def _run(options: argparse.Namespace, say: Progress) -> int:
    target = cluster(options.name)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise InvalidInput("run: no command given; for example: run -- kubectl get nodes")
    if not network.exists(target):
        raise NotFound(f"there is no cluster '{target.name}'; start it with: up --name {target.name}")
    return subprocess.run(target.inside(*command), env=addons.environment(target), check=False).returncode


def _build(options: argparse.Namespace, say: Progress) -> int:
    known = {recipe.name: recipe for recipe in (*recipes.RECIPES, *recipes.ON_DEMAND)}
    if options.install_packages:
        lifecycle.require_root()
        packages.require(install=True, say=say)
    for name in options.recipes or [recipe.name for recipe in recipes.RECIPES]:
        if name not in known:
            raise InvalidInput(f"no recipe '{name}'; there are: {', '.join(known)}")
        sys.stdout.write(f"{recipes.build(known[name], say)}\n")
    return 0


def _packages(options: argparse.Namespace, say: Progress) -> int:
    if options.install_packages:
        lifecycle.require_root()
        packages.require(install=True, say=say)
    for name in packages.missing():
        sys.stdout.write(f"{name}\n")
    return 0


def _prune(options: argparse.Namespace, say: Progress) -> int:
    if not options.unused_days >= 0:
        raise InvalidInput(f"prune: --unused-days is {options.unused_days:g}; required is a number of days from 0 on")
    if not options.keep_gb >= 0:
        raise InvalidInput(f"prune: --keep-gb is {options.keep_gb:g}; required is a number of gigabytes from 0 on")
    if not options.dry_run and (names := lifecycle.names(cluster("any").root)):
        raise Conflict(f"prune: clusters run what is in the cache: {', '.join(names)}; end them by `down` first")
    total = 0
    for found in kept.unused(cache_folder(), options.unused_days * 86_400, options.keep_gb * 1e9):
        if not options.dry_run:
            kept.prune(found)
        total += found.size
        sys.stdout.write(f"{found.size / 1e6:8.0f} MB  {found.seconds / 86_400:5.1f} days  {found.path}\n")
    sys.stdout.write(f"{total / 1e6:8.0f} MB {'would go' if options.dry_run else 'removed'}\n")
    return 0
