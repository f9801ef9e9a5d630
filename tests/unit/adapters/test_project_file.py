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


DATASETS = TEXT.replace(
    """    ingest: features/ingest.py
    sources: [data/one.parquet, data/two.parquet]
""",
    "    datasets: [orders]\n",
).replace(
    "models:\n",
    "datasets:\n  orders: {definition: features/ingest.py, sources: [data/one.parquet, data]}\nmodels:\n",
)


def test_datasets_stand_beside_the_models_and_a_source_may_be_a_folder(tmp_path: Path) -> None:
    project = load_project(write(tmp_path, DATASETS), environ={})
    assert project.model("demand").datasets == ("orders",)
    orders = project.dataset("orders")
    assert (orders.definition, orders.sources) == (
        tmp_path / "features/ingest.py",
        (tmp_path / "data/one.parquet", tmp_path / "data"),
    )
    with pytest.raises(NotFound, match="did you mean 'orders'"):
        project.dataset("order")


def test_the_earlier_form_is_a_dataset_of_the_models_own_name(tmp_path: Path) -> None:
    project = load_project(write(tmp_path), environ={})
    assert project.dataset("demand").definition == tmp_path / "features/ingest.py"
    assert (project.model("demand").ingest, project.model("demand").sources) == (None, ())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (DATASETS.replace("[orders]", "[order]"), "datasets names 'order', no dataset of the project; did you mean"),
        (TEXT.replace("    ingest: features/ingest.py\n", ""), "has one of 'ingest' and 'sources'; both are required"),
        (
            DATASETS.replace("datasets: [orders]", "datasets: [orders]\n    ingest: features/ingest.py\n    sources: [data]"),
            "has 'ingest' and there is 'datasets' too",
        ),
        (DATASETS.replace("data]}", "none.csv]}"), "names 'none.csv', but there is no such file or folder"),
    ],
)
def test_datasets_that_do_not_fit_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        load_project(write(tmp_path, text), environ={})


def test_a_model_does_without_what_it_has_none_of(tmp_path: Path) -> None:
    text = "apiVersion: tidegate/v1\nproject: shop\nmodels:\n  bare: {monitor: monitor.yaml}\n"
    bare = load_project(write(tmp_path, text), environ={}).model("bare")
    assert (bare.datasets, bare.features, bare.pipeline, bare.serving) == ((), None, None, None)
    for asked, says in (
        (bare.its_features, "no features"),
        (bare.its_pipeline, "no pipeline"),
        (bare.its_serving, "no serving"),
    ):
        with pytest.raises(InvalidInput, match=f"model 'bare' has {says}"):
            asked()


def test_the_tables_lie_beside_the_features_or_where_it_is_said(tmp_path: Path) -> None:
    features = load_project(write(tmp_path), environ={}).model("demand").its_features()
    assert features.tables_definition == tmp_path / "features/demand_tables.py"
    named = TEXT.replace("service: demand}", "service: demand, tables: pipeline.py}")
    assert (
        load_project(write(tmp_path, named), environ={}).model("demand").its_features().tables_definition
        == tmp_path / "pipeline.py"
    )


@pytest.mark.parametrize(
    "address", ["s3://bucket/state", "gs://bucket", "https://example.org/state", "file:///tmp/state", "S3://b"]
)
def test_a_path_that_is_an_address_is_refused_and_makes_no_folder(tmp_path: Path, address: str) -> None:
    text = TEXT.replace("models:", f"stateDir: {address}\nmodels:", 1)
    with pytest.raises(
        InvalidInput, match=rf"tidegate.yaml:3: stateDir is '{address}': that is an address; allowed: a path on this"
    ):
        load_project(write(tmp_path, text), environ={})
    with pytest.raises(InvalidInput, match=r"TIDEGATE_STATE is .*: that is an address"):
        load_project(write(tmp_path), environ={"TIDEGATE_STATE": address})
    with pytest.raises(InvalidInput, match=r"sources\[0\] is .*: that is an address"):
        load_project(write(tmp_path, TEXT.replace("data/one.parquet", address)), environ={})
    assert not [path for path in tmp_path.iterdir() if ":" in path.name]


def test_models_whose_objects_on_a_cluster_would_have_one_name_are_refused(tmp_path: Path) -> None:
    model = TEXT.split("models:\n")[1].split("targets:")[0]
    named = [model.replace("demand:", f"{name}:", 1) for name in ("lead_time", "lead-time")]
    with pytest.raises(InvalidInput, match=r"models 'lead_time' and 'lead-time' differ in '_' and '-' alone; rename one"):
        load_project(write(tmp_path, TEXT.replace(model, "".join(named))), environ={})
