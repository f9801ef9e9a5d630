"""Tests on a real Kubernetes. They run only when asked for: `make test-cluster`, or pytest with `-m cluster`.

- KUBECONFIG set: that cluster is used. It needs Argo Rollouts, KEDA, the Prometheus operator, a default
  StorageClass, and CLUSTER_TEST_REGISTRY=HOST/PATH: a registry that this machine may push to (`buildah login`) and that the
  cluster can pull from; CLUSTER_TEST_INSECURE=1 for one without TLS. `python -m tests.cluster.given` does so with one of ours.
- CLUSTER=NAME: our own cluster of that name, left running afterwards: quick to run again.
- neither: a cluster of our own that is taken down afterwards.

With `-n`, processes share the cluster: models are trained and the platform is installed in one, while others run the tests
of charts, rollouts and gateway.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALONE = (
    "test_demand.py",
    "test_outside.py",
    "test_autoscaling.py",
    "test_triton.py",
    "test_registry.py",
)  # share what one module installs
ENDINGS = "test_nothing_but_a_pass"
SHARED = "CLUSTER_TEST_SHARED"  # name of the cluster that the processes of `-n` share
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from infra.images.errors import InfraError, Unavailable  # noqa: E402 (after the path)
from tests.cluster.access import Kubernetes, own_environment, proxied, tools_environment  # noqa: E402
from tests.cluster.deployment import Deployed, deploy, namespaces  # noqa: E402
from tests.cluster.one_node import lifecycle  # noqa: E402
from tests.cluster.one_node.addons import NAMES  # noqa: E402
from tests.cluster.one_node.layout import Cluster, cluster  # noqa: E402
from tests.cluster.platform_on_cluster import Commands, OnCluster, build_images  # noqa: E402
from tests.cluster.train import Training  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs a real Kubernetes; run by `make test-cluster`")
    config.addinivalue_line("markers", "pulumi: and Pulumi's engine; run by `make test-pulumi`")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Deselect this folder's tests unless the marker expression asks for them by name."""
    here = Path(__file__).parent
    asked = "cluster" in (config.option.markexpr or "")
    mine = [item for item in items if here in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.cluster)
    if mine and not asked:
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]
    yield


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What shares a costly fixture runs in one process, everything else wherever there is time."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFixture(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, name = nodeid.partition("::")
            if Path(file).name in ALONE:
                return file
            return name.partition("[")[0] if name.startswith(ENDINGS) else nodeid

    return ByFixture(config, log)


def _say(message: str) -> None:
    sys.stderr.write(f"  {message}\n")


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Progress on the terminal, past what pytest captures: some of these tests take minutes."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def uncaptured(message: str) -> None:
        with capture.global_and_fixture_disabled():
            _say(message)

    return uncaptured


@pytest.fixture(scope="session")
def kubernetes(say: Callable[[str], None]) -> Iterator[Kubernetes]:
    """The cluster under test, with Argo Rollouts, KEDA and Prometheus' operator."""
    given = os.environ.get("KUBECONFIG")
    if given:
        registry = os.environ.get("CLUSTER_TEST_REGISTRY", "")
        assert registry, "KUBECONFIG is set: CLUSTER_TEST_REGISTRY has to name a registry that its cluster can pull from"
        environment = tools_environment(given)
        with proxied(None, environment) as proxy:
            yield Kubernetes(None, environment, proxy, registry)
        return
    kept = os.environ.get(SHARED) or os.environ.get("CLUSTER")
    target = cluster(kept or f"t{os.getpid()}")
    try:
        if SHARED not in os.environ:
            lifecycle.up(target, lifecycle.Wanted(addons=NAMES), say)
        environment = own_environment(target)
        with proxied(target, environment) as proxy:
            yield Kubernetes(target, environment, proxy)
    finally:
        if kept is None:
            _take_down(target)


def pytest_sessionstart(session: pytest.Session) -> None:
    """The cluster that several processes share is started by the one that starts them."""
    option = session.config.option
    several = getattr(option, "numprocesses", None) and "cluster" in (option.markexpr or "") and not option.collectonly
    if not several or SHARED in os.environ or os.environ.get("KUBECONFIG"):
        return
    name = os.environ.get("CLUSTER") or f"t{os.getpid()}"
    if "CLUSTER" not in os.environ:
        session.config.add_cleanup(lambda: _take_down(cluster(name)))
    try:
        lifecycle.up(cluster(name), lifecycle.Wanted(addons=NAMES), _say)
    except InfraError as error:
        raise pytest.UsageError(str(error)) from error
    os.environ[SHARED] = name


def _take_down(target: Cluster) -> None:
    try:
        lifecycle.down(target, _say)
    except Unavailable as error:
        pytest.fail(f"the cluster could not be taken down: {error}")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """Begun when it is first asked for; goes on while the platform is installed."""
    training = Training.start(tmp_path_factory.mktemp("demand"))
    yield training
    training.stop()


@pytest.fixture(scope="session")
def commands(
    kubernetes: Kubernetes, trained: Training, say: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    """The whole platform, installed by its chart, and the command line of a project that it is the target of."""
    on = OnCluster(kubernetes, build_images(kubernetes, say), "tidegate", "models", "clients", trained.folder / "state")
    say("installing the platform")
    on.prepare()
    try:
        on.install()
        yield Commands(on, tmp_path_factory.mktemp("project"))
    finally:
        if kubernetes.own is None or os.environ.get("CLUSTER"):
            on.remove()  # one of our own for these tests alone is taken down as it is


@pytest.fixture
def new_namespace(kubernetes: Kubernetes) -> Iterator[Callable[..., str]]:
    with namespaces(kubernetes) as make:
        yield make


@pytest.fixture
def deployed(kubernetes: Kubernetes, new_namespace: Callable[..., str]) -> Deployed:
    """Release A is live, and every gate passes."""
    return deploy(kubernetes, new_namespace)
