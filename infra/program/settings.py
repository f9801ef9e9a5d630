"""The settings of a stack, read from Pulumi's configuration and frozen.

A setting that is missing or bad is a SettingError of one sentence: which stack, which setting, what was found, what is
required, what to do. Secrets are never read here as plain text: `secret` gives a Pulumi secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

STACKS = ("dev", "staging", "production")
OPERATORS = ("rollouts", "keda", "monitoring", "kafka", "pipelines")
SECRETS = ("mlflowDatabaseUrl", "objectStoreAccessKey", "objectStoreSecretKey")
_DIGEST = re.compile(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_EXACT = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.-]+)?")


class SettingError(Exception):
    """A setting of the stack is missing or cannot be used."""


@dataclass(frozen=True)
class Operator:
    """A Helm chart of a vendor, pinned: chart, exact version, values. `repository` is the address of the repository that has
    it; empty where `chart` is a whole address itself: oci://..., or the path of a chart in files."""

    chart: str
    version: str
    repository: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Store:
    """Something that keeps data outside of the cluster: its address, region, and the CIDR and port that reach it."""

    address: str
    region: str
    cidr: str
    port: int


@dataclass(frozen=True)
class Settings:
    stack: str
    region: str
    allowed_regions: tuple[str, ...]
    api_server: str
    quota: Mapping[str, str]
    images: Mapping[str, str]
    operators: Mapping[str, Operator]
    postgres: Store
    object_store: Store
    node_pools: Mapping[str, Mapping[str, Any]]
    platform: Mapping[str, Any]  # values of the platform's chart, beside those that the program gives
    secrets: Mapping[str, pulumi.Output[str]]


def read(stack: str, config: pulumi.Config) -> Settings:
    """Raises SettingError for the first setting that is missing or bad."""
    if stack not in STACKS:
        raise SettingError(f"stack '{stack}': required is one of {', '.join(STACKS)}; run: pulumi stack init dev")
    allowed = tuple(_strings(stack, config, "allowedRegions"))
    return Settings(
        stack=stack,
        region=_text(stack, config, "region"),
        allowed_regions=allowed,
        api_server=_text(stack, config, "apiServer"),
        quota=_fields(stack, "quota", _object(stack, config, "quota"), "cpu", "memory", "pods", "gpus"),
        images=_images(stack, config),
        operators={name: _operator(stack, name, _object(stack, config, "operators")) for name in OPERATORS},
        postgres=_store(stack, config, "postgres"),
        object_store=_store(stack, config, "objectStore"),
        node_pools={
            name: _fields(stack, f"nodePools.{name}", pool, "provider", "region", "labels")
            for name, pool in _fields(stack, "nodePools", _object(stack, config, "nodePools"), "cpu", "gpu").items()
        },
        platform=_object(stack, config, "platform") if config.get("platform") else {},
        secrets={name: _secret(stack, config, name) for name in SECRETS},
    )


def _bad(stack: str, name: str, found: str, required: str, secret: bool = False) -> SettingError:
    how = f"pulumi config set {'--secret ' if secret else ''}{name} VALUE --stack {stack}"
    return SettingError(f"stack '{stack}', setting tidegate:{name}: {found}; required is {required}; run: {how}")


def _text(stack: str, config: pulumi.Config, name: str) -> str:
    found = config.get(name)
    if not found:
        raise _bad(stack, name, "it is missing", "a text that is not empty")
    return found


def _parsed(stack: str, config: pulumi.Config, name: str) -> Any:
    text = _text(stack, config, name)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(stack, name, f"it is not JSON ({error})", "structured configuration") from error


def _object(stack: str, config: pulumi.Config, name: str) -> Mapping[str, Any]:
    found = _parsed(stack, config, name)
    if not isinstance(found, dict):
        raise _bad(stack, name, f"it is a {type(found).__name__}", "an object")
    return found


def _strings(stack: str, config: pulumi.Config, name: str) -> list[str]:
    found = _parsed(stack, config, name)
    if not (isinstance(found, list) and found and all(isinstance(value, str) for value in found)):
        raise _bad(stack, name, f"it is {found!r}", "a list of texts that is not empty")
    return found


def _fields(stack: str, name: str, found: Any, *required: str) -> Mapping[str, Any]:
    given = found if isinstance(found, dict) else {}
    missing = [field for field in required if given.get(field) in (None, "")]
    if missing:
        raise _bad(stack, name, f"it lacks {', '.join(missing)}", f"an object with {', '.join(required)}")
    return given


def _images(stack: str, config: pulumi.Config) -> Mapping[str, str]:
    images = _fields(stack, "images", _object(stack, config, "images"), "gateway", "gates", "monitor", "mlflow", "redis")
    for name, image in images.items():
        if not _DIGEST.fullmatch(str(image)):
            raise _bad(stack, f"images.{name}", f"it is '{image}'", "an image by digest, NAME@sha256:64 hexadecimal digits")
    return images


def _operator(stack: str, name: str, found: Mapping[str, Any]) -> Operator:
    at = f"operators.{name}"
    given = _fields(stack, at, found.get(name), "chart", "version")
    if not str(given["chart"]).startswith(("oci://", "/", ".")):
        _fields(stack, at, given, "repository")
    if not _EXACT.fullmatch(str(given["version"])):
        raise _bad(stack, f"{at}.version", f"it is '{given['version']}'", "one exact version, such as 1.2.3")
    return Operator(given["chart"], given["version"], given.get("repository", ""), given.get("values", {}))


def _store(stack: str, config: pulumi.Config, name: str) -> Store:
    given = _fields(stack, name, _object(stack, config, name), "address", "region", "cidr", "port")
    return Store(given["address"], given["region"], given["cidr"], int(given["port"]))


def _secret(stack: str, config: pulumi.Config, name: str) -> pulumi.Output[str]:
    found = config.get_secret(name)
    if found is None:
        raise _bad(stack, name, "it is missing", "a secret", secret=True)
    return found
