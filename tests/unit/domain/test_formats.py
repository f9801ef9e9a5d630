"""Documents of every version are read, digests cover bytes, and only what is safe to ignore is ignored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.contract import FeatureContract
from tidegate.domain.errors import IntegrityError
from tidegate.domain.formats import Format, Unknown, added, document
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Desired, Slot
from tidegate.files.release_folder import read_manifest
from tidegate.rollout.state import Rollout, Status
from tidegate.statistics.calibration import Thresholds

LINES = json.loads((Path(__file__).parents[2] / "golden/documents/5228c61.json").read_text())
Read = Callable[[Any], Any]
READERS: dict[str, Read] = {
    "manifest": lambda value: ReleaseManifest.from_bytes(json.dumps(value).encode(), "release"),
    "contract": lambda value: FeatureContract.from_bytes(json.dumps(value).encode(), "release"),
    "thresholds": lambda value: Thresholds.from_bytes(json.dumps(value).encode(), "release"),
    "desired": lambda value: Desired.from_json(value, "desired"),
    "rollout": lambda value: Rollout.from_json(value, "rollout"),
    "running": lambda value: Rollout.from_json(value, "rollout"),
}
DECIDES = ("contract", "thresholds", "desired", "running")  # nothing in these may be left out


@pytest.mark.parametrize("name", READERS)
def test_what_an_older_commit_wrote_is_read(name: str) -> None:
    read = READERS[name](LINES[name])
    written = read.to_json()
    assert {key: written[key] for key in LINES[name]} == LINES[name]  # and would be written again as it was


@pytest.mark.parametrize("name", READERS)
def test_a_newer_schema_is_refused_by_a_sentence_that_says_so(name: str) -> None:
    with pytest.raises(IntegrityError, match=r"has schema 2, this Tidegate reads at most 1: it was written by a newer one"):
        READERS[name]({**LINES[name], "schema": 2})


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("schema", [0, -1, "1", 1.0, None, True])
def test_a_schema_that_is_no_version_is_refused(name: str, schema: Any) -> None:
    with pytest.raises(IntegrityError, match="required a whole number from 1"):
        READERS[name]({**LINES[name], "schema": schema})


@pytest.mark.parametrize("name", READERS)
def test_an_unknown_key_is_an_error_only_where_leaving_it_out_is_unsafe(name: str) -> None:
    value = {**LINES[name], "invented": {"later": 1}}
    if name in DECIDES:
        with pytest.raises(IntegrityError, match="'invented', which this Tidegate does not know and may not ignore"):
            READERS[name](value)
    else:
        assert READERS[name](value) == READERS[name](LINES[name])


@pytest.mark.parametrize("change", [{"kind": "cost"}, {"kind": "check", "gate": "cost", "budget": 3}])
def test_a_stage_that_is_not_known_stops_a_rollout_under_way_and_is_history_in_an_ended_one(change: dict[str, Any]) -> None:
    for name, ended in (("rollout", True), ("running", False)):
        value = json.loads(json.dumps(LINES[name]))
        value["plan"]["stages"][1] = change
        if ended:
            assert READERS[name](value).status is Status.DONE
        else:
            with pytest.raises(IntegrityError, match=r"stage cost|budget"):
                READERS[name](value)


@given(st.sampled_from(sorted(READERS)), st.data())
def test_a_wrong_value_anywhere_is_an_integrity_error_and_never_a_defect(name: str, data: st.DataObject) -> None:
    value = json.loads(json.dumps(LINES[name]))
    place: Any = value
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(st.sampled_from([None, 7, "x", [], {}, [1], {"a": 1}, 1.5, True]))
            break
        place = place[key]
    with suppress(IntegrityError):  # and nothing else
        READERS[name](value)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b'{"model": NaN}'])
def test_what_is_no_document_is_an_integrity_error(content: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^release demand: the release manifest"):
        ReleaseManifest.from_bytes(content, "release demand")


@pytest.mark.parametrize("kind", [ReleaseManifest, FeatureContract, Thresholds, Desired])
def test_an_optional_field_more_keeps_old_documents_readable_and_their_digests(kind: type) -> None:
    name = {"ReleaseManifest": "manifest", "FeatureContract": "contract"}.get(kind.__name__, kind.__name__.lower())
    later: Any = make_dataclass(f"Later{kind.__name__}", [("note", str, added(default=""))], bases=(kind,), frozen=True)
    form = Format(name, Unknown.REFUSED)
    value = {key: part for key, part in LINES[name].items() if key != "schema"}
    read = form.read(value, later, "old")
    assert read.note == ""
    again = document(read)
    assert {key: part for key, part in again.items() if key != "schema"} == value
    assert document(replace(read, note="new"))["note"] == "new"


@given(st.sampled_from([None, 1, 3, "\t"]), st.booleans())
def test_the_digest_of_a_manifest_is_that_of_its_bytes(indent: Any, sort: bool) -> None:
    content = json.dumps(LINES["manifest"], indent=indent, sort_keys=sort).encode()
    manifest = ReleaseManifest.from_bytes(content, "release")
    assert manifest.digest == hashlib.sha256(content).hexdigest()
    assert manifest.to_bytes() == content
    other = replace(manifest, version="77")
    assert other.digest != manifest.digest
    assert json.loads(other.to_bytes())["version"] == "77"


def test_a_release_is_found_by_the_digest_of_its_manifests_bytes(tmp_path: Path) -> None:
    content = json.dumps({**LINES["manifest"], "invented": 1}, indent=2).encode()
    folder = tmp_path / hashlib.sha256(content).hexdigest()
    folder.mkdir()
    (folder / "manifest.json").write_bytes(content)
    assert read_manifest(folder).digest == folder.name


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a//b", "./a", "a\\b", "a/", "", "a\0b"])
def test_a_manifest_names_nothing_outside_of_its_folder(name: str) -> None:
    value = {**LINES["manifest"], "files": {name: "0" * 64}}
    with pytest.raises(IntegrityError, match="required: a relative path"):
        READERS["manifest"](value)


def test_older_versions_become_the_newest_step_by_step() -> None:
    @dataclass(frozen=True)
    class Third:
        size: int
        unit: str

    form = Format(
        "thing",
        Unknown.REFUSED,
        newest=3,
        upgrades={1: lambda old: {"size": old["length"]}, 2: lambda old: {**old, "unit": "m"}},
    )
    assert [f.name for f in fields(Third)] == ["size", "unit"]
    assert form.read({"length": 2}, Third, "old") == form.read({"schema": 2, "size": 2}, Third, "old") == Third(2, "m")
    assert form.read({"schema": 3, "size": 2, "unit": "ft"}, Third, "new") == Third(2, "ft")


def test_what_is_wanted_is_read_as_slots() -> None:
    read = Desired.from_json(LINES["desired"])
    assert isinstance(read.active, Slot)
