"""Reads `tidegate.yaml` into a Project, and generates the JSON schema of the format.

    python -m tidegate.adapters.files.project_file schema > docs/tidegate.schema.json

Both walk the fields of `tidegate.domain.project`, so the schema cannot say anything else than the reader does. Every error
names file, line and key, what was observed and what is allowed. Unknown and duplicate keys are refused, and so is a
referenced file that is not there.

Environment: TIDEGATE_STATE overrides `stateDir` (relative to the current folder); TIDEGATE_GATEWAY_PORT, TIDEGATE_ADMIN_PORT,
TIDEGATE_SLOT_PORTS, TIDEGATE_REPLICAS and TIDEGATE_ONLINE_STORE override their keys of the local target,
TIDEGATE_LEDGER_CHECKPOINT overrides `ledger.checkpoint`.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from tidegate.adapters.files.project_checks import check_project
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.fields import is_required
from tidegate.domain.project import NAME_PATTERN, DatasetConfig, LedgerConfig, LocalSettings, Project, did_you_mean

FILE_NAME = "tidegate.yaml"
ENVIRONMENT = {
    "TIDEGATE_GATEWAY_PORT": "gateway_port",
    "TIDEGATE_ADMIN_PORT": "admin_port",
    "TIDEGATE_SLOT_PORTS": "slot_ports",
    "TIDEGATE_REPLICAS": "replicas",
}


def find_project_file(start: Path) -> Path:
    """The `tidegate.yaml` of `start` or the nearest folder above it; raises NotFound."""
    for folder in [start, *start.parents]:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    raise NotFound(
        f"no {FILE_NAME} in {start} or any folder above it; change into a project's folder or name it with '--project PATH'"
    )


def project_with_state(file: Path, state: Path | None) -> Project:
    """The project of `file`, its state folder replaced by `state` if given."""
    project = load_project(file)
    return replace(project, state=state.resolve()) if state else project


def load_project(path: Path | None = None, *, check_files: bool = True, environ: Mapping[str, str] | None = None) -> Project:
    """The project of file or folder `path`, by default of the current folder; raises InvalidInput, NotFound."""
    environ = os.environ if environ is None else environ
    if path is None:
        file = find_project_file(Path.cwd())
    else:
        path = path.expanduser().resolve()
        file = path / FILE_NAME if path.is_dir() else path
        if not file.is_file():
            raise NotFound(f"project file {file} does not exist; name a {FILE_NAME} or a folder that has one")
    reader = _Reader(file, check_files)
    project = reader.project()
    if state := environ.get("TIDEGATE_STATE"):
        if remote := _remote(state):
            raise InvalidInput(f"environment variable TIDEGATE_STATE is '{state}': {remote}")
        project = replace(project, state=Path(state).expanduser().resolve())
    cluster, root = project.targets.kubernetes, project.root
    cluster = replace(cluster, chart=root / cluster.chart, values=root / cluster.values)  # these may be the defaults
    local = _from_environment(project.local, environ)
    project = replace(project, targets=replace(project.targets, local=local, kubernetes=cluster))
    if checkpoint := environ.get("TIDEGATE_LEDGER_CHECKPOINT"):
        project = replace(project, ledger=LedgerConfig(checkpoint))
    check_project(project)
    return _with_datasets(project)


def _from_environment(local: LocalSettings, environ: Mapping[str, str]) -> LocalSettings:
    limits = {f.name: f.metadata for f in fields(LocalSettings)}
    changes: dict[str, Any] = {}
    for variable, name in ENVIRONMENT.items():
        if not (text := environ.get(variable)):
            continue
        low, high = limits[name]["minimum"], limits[name]["maximum"]
        if not text.isdecimal() or not low <= int(text) <= high:
            raise InvalidInput(f"environment variable {variable} is '{text}'; allowed: a whole number from {low} to {high}")
        changes[name] = int(text)
    if store := environ.get("TIDEGATE_ONLINE_STORE"):
        if not re.fullmatch(limits["online_store"]["pattern"], store):
            raise InvalidInput("environment variable TIDEGATE_ONLINE_STORE: allowed are 'sqlite' and redis://HOST:PORT/DB")
        changes["online_store"] = store
    return replace(local, **changes)


def _with_datasets(project: Project) -> Project:
    """The project with what earlier files say of a model's data as a dataset of the model's name; raises InvalidInput."""
    datasets, models = dict(project.datasets), dict(project.models)
    for name, model in project.models.items():
        where = f"{project.file}: models.{name}"
        if model.ingest or model.sources:
            if not (model.ingest and model.sources):
                raise InvalidInput(
                    f"{where} has one of 'ingest' and 'sources'; both are required, or 'datasets' in their place"
                )
            if model.datasets or name in project.datasets:
                raise InvalidInput(f"{where} has 'ingest' and there is 'datasets' too; move it to 'datasets.{name}'")
            datasets[name] = DatasetConfig(name=name, definition=model.ingest, sources=model.sources)
            models[name] = replace(model, ingest=None, sources=(), datasets=(name,))
        for dataset in model.datasets:
            if dataset not in project.datasets:
                hint = did_you_mean(dataset, project.datasets)
                raise InvalidInput(f"{where}.datasets names '{dataset}', no dataset of the project; {hint}")
    return replace(project, datasets=datasets, models=models)


def _remote(path: str) -> str | None:
    """What to say of a path that is the address of another place, None of any other."""
    return "that is an address; allowed: a path on this machine" if re.match(r"^[A-Za-z][A-Za-z0-9+.-]*:/", path) else None


@dataclass
class _Reader:
    """One reading of one file: collects every problem with its line, then builds or raises."""

    file: Path
    check_files: bool
    problems: list[tuple[int, str]] = field(default_factory=list)

    def project(self) -> Project:
        node = self._compose()
        value = self._dataclass(Project, node, "", {"file": self.file, "root": self.file.parent})
        if self.problems:
            first, *rest = sorted(self.problems)
            more = f" ({len(rest)} more: line {', '.join(str(line) for line, _ in rest)})" if rest else ""
            raise InvalidInput(f"{self.file}:{first[0]}: {first[1]}{more}")
        assert isinstance(value, Project)  # noqa: S101 (for the type checker: without problems it is one)
        return value

    def _compose(self) -> yaml.Node:
        try:
            node = yaml.compose(self.file.read_text("utf-8"), Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise InvalidInput(f"{self.file}:{line}: not valid YAML: {error.problem or error.context}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{self.file}: not valid YAML text in UTF-8: {' '.join(str(error).split())}") from error
        except OSError as error:
            raise InvalidInput(f"project file {self.file} cannot be read: {error.strerror}") from error
        if node is None:
            raise InvalidInput(f"{self.file}:1: the file is empty; required keys: {', '.join(_keys(Project, required=True))}")
        return node

    def _problem(self, node: yaml.Node, text: str) -> None:
        self.problems.append((node.start_mark.line + 1, text))

    def _pairs(self, node: yaml.Node, where: str) -> list[tuple[yaml.Node, str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, f"{where or 'the file'} is {_shown(node)}; allowed: a mapping of keys")
            return []
        pairs, seen = [], set()
        for name_node, value in node.value:
            name = str(name_node.value)
            if name in seen:
                self._problem(name_node, f"key '{_join(where, name)}' is given twice; keep one")
            seen.add(name)
            pairs.append((name_node, name, value))
        return pairs

    def _dataclass(self, cls: type, node: yaml.Node, where: str, given: dict[str, Any]) -> Any:
        by_key = {f.metadata["key"]: f for f in fields(cls) if "key" in f.metadata}
        hints = get_type_hints(cls)
        values = dict(given)
        mapping = isinstance(node, yaml.MappingNode)
        for name_node, name, value in self._pairs(node, where):
            if name not in by_key:
                self._problem(name_node, f"unknown key '{_join(where, name)}'; {did_you_mean(name, by_key)}")
                continue
            found = by_key[name]
            values[found.name] = self._value(hints[found.name], found, value, _join(where, name))
        for name, missing in by_key.items():
            if missing.name not in values and is_required(missing) and mapping:
                self._problem(node, f"required key '{_join(where, name)}' is missing ({missing.metadata['doc']})")
            elif missing.name not in values and isinstance(missing.default, Path):
                values[missing.name] = self.file.parent / missing.default
        return None if self.problems else cls(**values)

    def _value(self, hint: Any, meta: Field[Any], node: yaml.Node, where: str) -> Any:
        hint = _present(hint)
        if is_dataclass(hint) and isinstance(hint, type):
            return self._dataclass(hint, node, where, {})
        if get_origin(hint) is tuple:
            return self._sequence(meta, node, where) if get_args(hint)[0] is Path else self._texts(meta, node, where)
        if get_origin(hint) is not None:
            return self._named(get_args(hint)[1], node, where)
        if not isinstance(node, yaml.ScalarNode):
            return self._problem(node, f"{where} is {_shown(node)}; allowed: {_allowed(hint, meta)}")
        value = yaml.safe_load(node.value) if node.tag.endswith((":int", ":bool")) else node.value
        if hint is Path:
            return self._path(meta, node, where)
        if isinstance(hint, type) and issubclass(hint, StrEnum) and value in [str(m) for m in hint]:
            return hint(value)
        if hint is bool and isinstance(value, bool):
            return value
        if hint is int and isinstance(value, int) and not isinstance(value, bool):
            if meta.metadata.get("minimum", value) <= value <= meta.metadata.get("maximum", value):
                return value
        elif hint is str and node.tag.endswith(":str"):
            pattern, const = meta.metadata.get("pattern"), meta.metadata.get("const")
            if (pattern is None or re.match(pattern, value)) and const in (None, value):
                return value
        return self._problem(node, f"{where} is {_shown(node)}; allowed: {_allowed(hint, meta)}")

    def _path(self, meta: Field[Any], node: yaml.ScalarNode, where: str) -> Path | None:
        if not node.tag.endswith(":str") or not node.value:
            self._problem(node, f"{where} is {_shown(node)}; allowed: {_allowed(Path, meta)}")
            return None
        if remote := _remote(node.value):
            self._problem(node, f"{where} is {_shown(node)}: {remote}")
            return None
        path = (self.file.parent / Path(node.value).expanduser()).resolve()
        kind = meta.metadata.get("exists")
        there = {None: True, "file": path.is_file(), "folder": path.is_dir(), "file or folder": path.exists()}[kind]
        if self.check_files and not there:
            self._problem(
                node, f"{where} names '{node.value}', but there is no such {kind} ({path}); correct the path or create it"
            )
        return path

    def _sequence(self, meta: Field[Any], node: yaml.Node, where: str) -> tuple[Path, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._problem(node, f"{where} is {_shown(node)}; allowed: a list of at least one file")
            return ()
        paths = []
        for i, item in enumerate(node.value):
            if isinstance(item, yaml.ScalarNode):
                paths.append(self._path(meta, item, f"{where}[{i}]"))
            else:
                self._problem(item, f"{where}[{i}] is {_shown(item)}; allowed: {_allowed(Path, meta)}")
        return tuple(path for path in paths if path)

    def _texts(self, meta: Field[Any], node: yaml.Node, where: str) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self._problem(node, f"{where} is {_shown(node)}; allowed: a list")
            return ()
        return tuple(self._value(str, meta, item, f"{where}[{i}]") for i, item in enumerate(node.value))

    def _named(self, cls: type, node: yaml.Node, where: str) -> dict[str, Any]:
        values = {}
        pairs = self._pairs(node, where)
        if not pairs and isinstance(node, yaml.MappingNode):
            self._problem(node, f"{where} is empty; allowed: at least one name with its keys")
        for name_node, name, value in pairs:
            if not re.match(NAME_PATTERN, name):
                self._problem(name_node, f"{where} has the name '{name}'; allowed: names that match {NAME_PATTERN}")
            values[name] = self._dataclass(cls, value, _join(where, name), {"name": name})
        return values


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _keys(cls: type, *, required: bool = False) -> list[str]:
    return [f.metadata["key"] for f in fields(cls) if "key" in f.metadata and not (required and not is_required(f))]


def _present(hint: Any) -> Any:
    """The type of a value that is given, of a field that need not be."""
    return next(each for each in get_args(hint) if each is not type(None)) if isinstance(hint, UnionType) else hint


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        text = node.value if len(node.value) <= 60 else node.value[:57] + "..."
        return f"'{text}'" if text else "empty"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _allowed(hint: Any, meta: Field[Any]) -> str:
    limits = meta.metadata
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ", ".join(str(m) for m in hint)
    if hint is bool:
        return "true or false"
    if hint is int:
        return f"a whole number from {limits['minimum']} to {limits['maximum']}"
    if hint is Path:
        return f"the path of a {limits.get('exists', 'folder')}"
    if "const" in limits:
        return str(limits["const"])
    return f"text that matches {limits['pattern']}" if "pattern" in limits else "text"


def json_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the project file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidegate project file",
        **_schema_of(Project),
    }


def _schema_of(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    properties = {f.metadata["key"]: _schema_of_field(hints[f.name], f) for f in fields(cls) if "key" in f.metadata}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": _keys(cls, required=True),
        "properties": properties,
    }


def _schema_of_field(hint: Any, meta: Field[Any]) -> dict[str, Any]:
    limits = {k: v for k, v in meta.metadata.items() if k in ("minimum", "maximum", "pattern", "const")}
    schema: dict[str, Any] = {"description": meta.metadata["doc"]}
    hint = _present(hint)
    if isinstance(meta.default, (str, int, Path)):  # a bool is an int
        schema["default"] = meta.default if isinstance(meta.default, int) else str(meta.default)
    if is_dataclass(hint) and isinstance(hint, type):
        return {**_schema_of(hint), **schema}
    if get_origin(hint) is tuple and get_args(hint)[0] is str:
        return {"type": "array", "items": {"type": "string", "pattern": limits["pattern"]}, **schema}
    if get_origin(hint) is tuple:
        return {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}, **schema}
    if get_origin(hint) is not None:
        named = _schema_of(get_args(hint)[1])
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": NAME_PATTERN},
            "additionalProperties": named,
            **schema,
        }
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"enum": [str(m) for m in hint], **schema}
    return {"type": {int: "integer", bool: "boolean"}.get(hint, "string"), **limits, **schema}


def _main(arguments: list[str], write: Callable[[str], Any]) -> int:
    if arguments != ["schema"]:
        sys.stderr.write("error: usage: python -m tidegate.adapters.files.project_file schema\n")
        return 2
    write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:], sys.stdout.write))
