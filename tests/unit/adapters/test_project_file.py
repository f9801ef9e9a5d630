from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from tidegate.adapters.files.project_file import find_project_file, json_schema, load_project
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.domain.local import LocalConfig
from tidegate.domain.project import Approval

ROOT = Path(__file__).parents[3]
TEXT = """\
apiVersion: tidegate/v1
project: shop
models:
  demand:
    ingest: features/ingest.py
    sources: [data/one.parquet, data/two.parquet]
    features: {repo: features, service: demand}
    pipeline: pipeline.py
    serving: serving
    monitor: monitor.yaml
    approval: required
targets:
  local:
    gatewayPort: 9100
"""


def write(folder: Path, text: str = TEXT) -> Path:
    for name in (
        "features/ingest.py",
        "data/one.parquet",
        "data/two.parquet",
        "pipeline.py",
        "monitor.yaml",
        "serving/service.py",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    file = folder / "tidegate.yaml"
    file.write_text(text)
    return file


def test_a_project_is_read_with_paths_resolved_against_the_file(tmp_path: Path) -> None:
    project = load_project(write(tmp_path), environ={})
    demand = project.model("demand")
    assert project.state == tmp_path / "build/state"
    assert demand.datasets == ("demand",)
    assert project.dataset("demand").sources == (tmp_path / "data/one.parquet", tmp_path / "data/two.parquet")
    assert demand.approval is Approval.REQUIRED
    assert (project.local.gateway_port, project.local.admin_port, project.local.online_store) == (9100, 8801, "sqlite")
    with pytest.raises(NotFound, match="did you mean 'demand'"):
        project.model("demnad")


def test_the_file_is_searched_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path)
    monkeypatch.chdir(tmp_path / "serving")
    assert find_project_file(Path.cwd()) == file
    assert load_project(environ={}).file == file
    with pytest.raises(NotFound, match="any folder above"):
        find_project_file(Path("/"))


def test_the_environment_overrides_state_and_ports(tmp_path: Path) -> None:
    file = write(tmp_path)
    project = load_project(file, environ={"TIDEGATE_STATE": str(tmp_path / "s"), "TIDEGATE_GATEWAY_PORT": "7000"})
    assert (project.state, project.local.gateway_port) == (tmp_path / "s", 7000)
    with pytest.raises(InvalidInput, match=r"TIDEGATE_GATEWAY_PORT is '0'.*from 1 to 65535"):
        load_project(file, environ={"TIDEGATE_GATEWAY_PORT": "0"})


def test_the_model_at_the_root_is_the_one_that_is_set_or_the_only_one(tmp_path: Path) -> None:
    model = TEXT.split("models:\n")[1].split("targets:")[0]
    two = TEXT.replace("models:\n", "models:\n" + model.replace("demand:", "returns:", 1))

    def at_root(text: str) -> str | None:
        return LocalConfig.of(load_project(write(tmp_path, text), environ={})).default_model

    assert at_root(TEXT) == "demand"
    assert at_root(two) is None
    assert at_root(two.replace("gatewayPort: 9100", "defaultModel: returns")) == "returns"
    with pytest.raises(InvalidInput, match=r"defaultModel is 'retruns', no model of the project; did you mean 'returns'"):
        at_root(two.replace("gatewayPort: 9100", "defaultModel: retruns"))


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("project: shop", "project: shop\nmodel: {}", 3, "unknown key 'model'; did you mean 'models'"),
        ("gatewayPort: 9100", "gatwayPort: 9100", 14, "unknown key 'targets.local.gatwayPort'; did you mean 'gatewayPort'"),
        ("gatewayPort: 9100", "gatewayPort: 99999", 14, "gatewayPort is '99999'; allowed: a whole number from 1 to 65535"),
        ("gatewayPort: 9100", "gatewayPort: yes", 14, "gatewayPort is 'yes'; allowed: a whole number"),
        ("approval: required", "approval: maybe", 11, "approval is 'maybe'; allowed: none, required"),
        ("project: shop", "project: Shop!", 2, "project is 'Shop!'; allowed: text that matches"),
        ("tidegate/v1", "tidegate/v9", 1, "apiVersion is 'tidegate/v9'; allowed: tidegate/v1"),
        ("pipeline: pipeline.py", "pipeline: other.py", 8, "names 'other.py', but there is no such file"),
        ("data/two.parquet", "data/none.parquet", 6, r"sources\[1\] names 'data/none.parquet'"),
        ("    monitor: monitor.yaml\n", "", 5, "required key 'models.demand.monitor' is missing"),
        ("project: shop", "project: shop\nproject: twice", 3, "'project' is given twice"),
        ("[data/one.parquet, data/two.parquet]", "[]", 6, "sources is a list; allowed: a list of at least one file"),
        ("project: shop", "project: [", 4, "not valid YAML"),
        ("{repo: features, service: demand}", "demand", 7, "features is 'demand'; allowed: a mapping"),
    ],
)
def test_errors_name_file_line_key_and_what_is_allowed(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert old in TEXT
    file = write(tmp_path, TEXT.replace(old, new))
    with pytest.raises(InvalidInput, match=says) as caught:
        load_project(file, environ={})
    assert str(caught.value).startswith(f"{file}:{line}: ")


def test_several_problems_are_counted_and_an_empty_file_says_what_is_required(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\(1 more: line 14\)"):
        load_project(write(tmp_path, TEXT.replace("shop", "Shop").replace("9100", "-1")), environ={})
    with pytest.raises(InvalidInput, match="the file is empty; required keys: apiVersion, project, models"):
        load_project(write(tmp_path, ""), environ={})


def test_ports_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="lies in the slots' ports 8810 to 8813"):
        load_project(write(tmp_path, TEXT.replace("9100", "8811")), environ={})


def test_the_schema_in_docs_is_the_generated_one_and_accepts_what_the_reader_accepts() -> None:
    committed = json.loads((ROOT / "docs/tidegate.schema.json").read_text())
    assert committed == json_schema(), "run: python -m tidegate.adapters.files.project_file schema > docs/tidegate.schema.json"
    jsonschema.Draft202012Validator.check_schema(committed)
    jsonschema.validate(yaml.safe_load((ROOT / "tidegate.yaml").read_text()), committed)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**yaml.safe_load(TEXT), "unknown": 1}, committed)


def test_this_repositorys_own_project_file_is_valid() -> None:
    assert "demand" in load_project(ROOT, check_files=False).models
