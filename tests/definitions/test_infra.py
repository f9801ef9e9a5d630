"""Everything that the Pulumi program registers, for each stack, and that each property of it can fail."""

from __future__ import annotations

import copy
import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
import yaml

import infra_program
from definitions import rendered_properties
from infra_program import MARK, ROOT, SECRET, SECRETS, STACKS, Registered, given, objects, releases, run

All = list[Registered]


@functools.cache
def registered(stack: str) -> All:
    return run(stack, given())


def unmarked(value: Any) -> Any:
    """The value without what Pulumi keeps secret."""
    if isinstance(value, dict):
        return None if value.get(MARK) == SECRET else {key: unmarked(inner) for key, inner in value.items()}
    return [unmarked(inner) for inner in value] if isinstance(value, list) else value


def rendered(found: All) -> list[str]:
    """The charts' properties, of every object but Secrets, whose values `secrets_marked` judges."""
    return [
        f"{document['kind']}: {check.__name__}: {problem}"
        for document in objects(found)
        if document["kind"] != "Secret"
        for check in rendered_properties.PROPERTIES
        for problem in check(document)
    ]


def secrets_marked(found: All) -> list[str]:
    return [r.name for r in found if any(secret in json.dumps(unmarked(r.inputs)) for secret in SECRETS.values())]


def fenced(found: All) -> list[str]:
    """Every namespace enforces Pod Security, and has a quota, limits and a default deny."""
    problems = []
    for document in objects(found):
        if document["kind"] != "Namespace":
            continue
        name = document["metadata"]["name"]
        inside = [d for d in objects(found) if d["metadata"].get("namespace") == name]
        if document["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            problems.append(f"{name}: Pod Security")
        problems += [f"{name}: {kind}" for kind in ("ResourceQuota", "LimitRange") if kind not in {d["kind"] for d in inside}]
        deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        if deny not in [d["spec"] for d in inside if d["kind"] == "NetworkPolicy"]:
            problems.append(f"{name}: default deny")
    return problems


def namespaces_made(found: All) -> list[str]:
    """Whatever lies in a namespace lies in one that the stack makes."""
    made = {d["metadata"]["name"] for d in objects(found) if d["kind"] == "Namespace"}
    used = {d["metadata"]["namespace"] for d in objects(found) if d["kind"] != "Namespace"}
    return sorted((used | {release["namespace"] for release in releases(found)}) - made)


def namespaces_first(found: All) -> list[str]:
    """The engine makes resources side by side: what lies in a namespace has to wait for it."""
    at = {r.name: r.inputs.get("namespace") or r.inputs.get("metadata", {}).get("namespace") for r in found}
    return [r.name for r in found if at[r.name] and f"namespace/{at[r.name]}" not in r.after]


def resident(found: All) -> list[str]:
    """No region but the allowed ones is named anywhere."""
    return [r.name for r in found if set(re.findall(r"\b(?:eu|us)-\d\b", json.dumps(r.inputs))) - {"eu-1", "eu-2"}]


def versions_pinned(found: All) -> list[str]:
    return [
        release["name"]
        for release in releases(found)
        if release["name"] != "tidegate" and not re.fullmatch(r"\d+\.\d+\.\d+", release.get("version", ""))
    ]


def _change(kind: str, change: Callable[[dict[str, Any]], Any], name: str = "") -> Callable[[All], None]:
    """Change the inputs of a resource; `name` is how its name ends, where any of the kind will not do."""
    return lambda found: change(next(r.inputs for r in found if r.type.endswith(f":{kind}") and r.name.endswith(name)))


def _remove(kind: str, name: str = "") -> Callable[[All], None]:
    return lambda found: found.remove(next(r for r in found if r.type.endswith(f":{kind}") and r.name.endswith(name)))


MUTATIONS: dict[Callable[[All], list[str]], list[Callable[[All], None]]] = {
    rendered: [
        _change("Deployment", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="example.org/mlflow:1")),
        _change("Deployment", lambda d: d["spec"]["template"]["spec"].update(hostNetwork=True)),
    ],
    secrets_marked: [_change("Secret", lambda d: d.update(stringData=d["stringData"]["value"]))],
    fenced: [
        _change("Namespace", lambda d: d["metadata"]["labels"].pop("pod-security.kubernetes.io/enforce")),
        _remove("ResourceQuota"),
        _remove("LimitRange"),
        _remove("NetworkPolicy", "/default-deny"),
    ],
    namespaces_made: [_remove("Namespace"), _change("Release", lambda d: d.update(namespace="kube-system"))],
    namespaces_first: [
        lambda found: next(r for r in found if r.type.endswith(":ResourceQuota")).after.clear(),
        lambda found: next(r for r in found if r.type.endswith(":Release")).after.clear(),
    ],
    resident: [_change("Namespace", lambda d: d["metadata"]["labels"].update({"tidegate/region": "us-1"}))],
    versions_pinned: [
        _change("Release", lambda d: d.pop("version"), "-keda"),
        _change("Release", lambda d: d.update(version=">=1"), "-keda"),
    ],
}


def operators(**changed: Any) -> dict[str, Any]:
    """The settings, with another chart for KEDA."""
    settings = given()
    settings["operators"]["keda"] = {"chart": "keda", "version": "1.2.3"} | changed
    return settings


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("check", MUTATIONS, ids=lambda check: check.__name__)
def test_every_resource_has_every_property(stack: str, check: Callable[[All], list[str]]) -> None:
    assert len(registered(stack)) > 50
    assert check(registered(stack)) == []


@pytest.mark.parametrize("check", MUTATIONS, ids=lambda check: check.__name__)
def test_each_property_can_fail(check: Callable[[All], list[str]]) -> None:
    for mutate in MUTATIONS[check]:
        changed = copy.deepcopy(registered("dev"))
        mutate(changed)
        assert check(changed)


def test_stacks_share_no_name() -> None:
    names = [{d["metadata"]["name"] for d in objects(registered(s)) if d["kind"] == "Namespace"} for s in STACKS]
    assert all(names)
    assert len(set.union(*names)) == sum(map(len, names))


@pytest.mark.parametrize("stack", STACKS)
def test_values_of_the_platforms_chart_meet_its_schema(stack: str) -> None:
    def merge(under: Any, over: Any) -> Any:
        if not (isinstance(under, dict) and isinstance(over, dict)):
            return over
        return under | {key: merge(under.get(key), value) for key, value in over.items()}

    chart = ROOT / "charts/tidegate"
    values = next(release["values"] for release in releases(registered(stack)) if release["name"] == "tidegate")
    merged = merge(yaml.safe_load((chart / "values.yaml").read_text()), values)
    jsonschema.validate(merged, json.loads((chart / "values.schema.json").read_text()))


def test_further_values_reach_the_platforms_chart_and_take_nothing_away() -> None:
    models = [{"name": "demand", "namespace": "dev-models"}]
    further = {"gateway": {"models": models, "image": "example.org/other"}, "redis": {"args": ["--save", ""]}}
    values = [
        next(release["values"] for release in releases(found) if release["name"] == "tidegate")
        for found in (registered("dev"), run("dev", given() | {"platform": further}))
    ]
    assert values[1]["gateway"] == values[0]["gateway"] | {"models": models}
    assert values[1]["redis"] == values[0]["redis"] | {"args": ["--save", ""]}
    assert {**values[1], "gateway": values[0]["gateway"], "redis": values[0]["redis"]} == values[0]


@pytest.mark.parametrize("name", given())
def test_nothing_that_a_stack_must_say_has_a_default(name: str) -> None:
    settings = {key: value for key, value in given().items() if key != name}
    with pytest.raises(Exception, match=rf"stack 'dev', setting tidegate:{name}: it is missing; .* pulumi config set"):
        run("dev", settings)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"region": "us-1"}, "the stack in 'us-1'; allowed are: eu-1, eu-2"),
        ({"postgres": given()["postgres"] | {"region": "us-1"}}, "postgres in 'us-1'"),
        ({"objectStore": given()["objectStore"] | {"region": "us-1"}}, "object store in 'us-1'"),
        ({"nodePools": given()["nodePools"] | {"gpu": given()["nodePools"]["gpu"] | {"region": "us-1"}}}, "node pool gpu in"),
        ({"allowedRegions": []}, "a list of texts that is not empty"),
        ({"images": given()["images"] | {"redis": "example.org/redis:7"}}, "an image by digest"),
        (operators(), "operators.keda: it lacks repository"),
        (operators(chart="oci://example.org/keda", version="1.x"), "one exact version"),
        ({"nodePools": given()["nodePools"] | {"cpu": given()["nodePools"]["cpu"] | {"provider": "cloud"}}}, "no provider"),
    ],
)
def test_a_stack_that_may_not_be_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(Exception, match=re.escape(problem)):
        run("dev", given() | change)


@pytest.mark.parametrize("chart", ["oci://example.org/keda", "/charts/keda.tgz", "./charts/keda"])
def test_a_chart_that_is_a_whole_address_needs_no_repository(chart: str) -> None:
    keda = next(release for release in releases(run("dev", operators(chart=chart))) if release["name"] == "keda")
    assert keda["chart"] == chart
    assert "repositoryOpts" not in keda


def test_stack_files_hold_neither_secrets_nor_addresses() -> None:
    for stack in STACKS:
        text = (ROOT / f"infra/Pulumi.{stack}.yaml").read_text()
        assert set(yaml.safe_load(text)["config"]) == {"tidegate:quota"}
        assert "://" not in text


def test_the_one_node_cluster_runs_on_the_standard_library_alone() -> None:
    command = [sys.executable, "-S", "-m", "tests.cluster.one_node", "build", "--help"]  # no environment's packages
    done = subprocess.run(command, cwd=infra_program.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kubernetes" in done.stdout


def test_what_builds_images_imports_nothing_of_the_tests() -> None:
    for path in (ROOT / "infra").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) tests\b", path.read_text(), re.MULTILINE), path
