"""Gates of models without features: labels, probabilities, texts, images, traffic without event times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from any_model import (
    EMPLOYMENT,
    IMAGES,
    PROFILE,
    WINDOW,
    answer,
    context,
    people,
    people_reference,
    records,
    write,
)
from release_fixture import FakeMeter, FakeRecords, ask

from tidegate.domain.contract import FeatureContract, InputTensor
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import ReleaseManifest
from tidegate.domain.slots import Slot
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.gates.judged import Judged, found_profile
from tidegate.gates.watch import watch
from tidegate.ports.inference_records import InferenceRecord

OUTPUTS = ["label", "probability"]
SAID = {"outputs": {"probability": "distribution"}}


class Scorer:
    def score(self, folder: Path, manifest: ReleaseManifest, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return answer(inputs, int(manifest.version))


@pytest.fixture(scope="module")
def employment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("employment")
    return [write(root, version, EMPLOYMENT, people_reference(), OUTPUTS, SAID) for version in ("12", "11")]


def shadow(employment: Any, seen: Mapping[str, np.ndarray], ours: Mapping[str, np.ndarray]) -> GateResult:
    candidate, active = employment
    mirrored = records(candidate[0], seen, ours, shadow=True)
    live = records(active[0], seen, answer(seen, 11))
    return ask("shadow", context(candidate, active), FakeRecords(mirrored, live), scorer=Scorer())


def test_two_classifiers_that_disagree_as_on_the_reference_pass_though_most_labels_are_zero(employment: Any) -> None:
    seen = people(400, 5)
    result = shadow(employment, seen, answer(seen, 12))
    assert result.verdict is Verdict.PASS, result.evidence.summary
    kinds = {f.subject: f.required.split()[0] for f in result.evidence.findings if "disagreement" in f.required}
    assert kinds == {"label": "label", "probability": "distribution"}


class Swapped(Scorer):
    def score(self, folder: Path, manifest: ReleaseManifest, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return opposite(inputs) if manifest.version == "12" else super().score(folder, manifest, inputs)


def opposite(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    live = answer(inputs, 11)
    return {"label": 1 - live["label"], "probability": 1 - live["probability"]}


def test_a_classifier_that_learned_the_labels_swapped_fails_though_it_is_so_on_its_reference_too(employment: Any) -> None:
    seen, (candidate, active) = people(400, 5), employment
    mirrored = records(candidate[0], seen, opposite(seen), shadow=True)
    live = records(active[0], seen, answer(seen, 11))
    result = ask("shadow", context(candidate, active), FakeRecords(mirrored, live), scorer=Swapped())
    assert result.verdict is Verdict.FAIL
    assert "label is 1" in result.evidence.summary


def test_a_classifier_that_is_wrong_about_a_group_fails_and_the_group_and_rows_are_named(employment: Any) -> None:
    seen = people(400, 5)
    ours = answer(seen, 12)
    doctors = seen["schooling"][:, 0] == "college"
    ours["label"] = np.where(doctors, 1 - ours["label"], ours["label"])
    result = shadow(employment, seen, ours)
    assert result.verdict is Verdict.FAIL
    assert "schooling=college" in result.evidence.summary
    assert "rows that differ most: " in result.evidence.summary
    assert "inf" not in result.evidence.summary.split("label")[1]


def test_answers_in_texts_are_labels(employment: Any) -> None:
    seen = people(400, 5)
    candidate, active = employment
    names = np.array(["no", "yes"], dtype=object)

    def said(seed: int) -> dict[str, np.ndarray]:
        return {"label": names[answer(seen, seed)["label"]]}

    class Texts(Scorer):
        def score(self, folder: Path, manifest: ReleaseManifest, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            return {"label": names[super().score(folder, manifest, inputs)["label"]]}

    live = records(active[0], seen, said(11))
    for ours, verdict in ((said(12), Verdict.PASS), ({"label": np.full(400, "maybe", dtype=object)}, Verdict.FAIL)):
        log = FakeRecords(records(candidate[0], seen, ours, shadow=True), live)
        result = ask("shadow", context(candidate, active), log, scorer=Texts())
        assert result.verdict is verdict, result.evidence.summary
    assert "maybe for no" in result.evidence.summary


def drift(release: Any, log: list[InferenceRecord]) -> GateResult:
    return ask("drift", context(release), FakeRecords(log), meter=FakeMeter())


def test_inputs_of_requests_and_outputs_are_watched_and_what_drifts_is_named(employment: Any) -> None:
    candidate = employment[0]
    seen = people(1000, 6)
    same = drift(candidate, records(candidate[0], seen, answer(seen, 12)))
    assert same.verdict is Verdict.PASS, same.evidence.summary
    assert {f.subject for f in same.evidence.findings} >= {"age", "schooling", "label", "probability"}
    more = {**seen, "schooling": np.where(seen["schooling"] == "school", "college", seen["schooling"])}
    moved = drift(candidate, records(candidate[0], more, answer(seen, 12)))
    assert moved.evidence.numbers["worst_feature"] == "schooling"
    assert "'college' 8" in moved.evidence.summary
    assert moved.evidence.numbers["kind"] == "drift"
    upper = {**seen, "schooling": np.array([[v[0].upper()] for v in seen["schooling"]], dtype=object)}
    written_otherwise = drift(candidate, records(candidate[0], upper, answer(seen, 12)))
    assert written_otherwise.evidence.numbers["kind"] == "fault"
    only_answers = drift(candidate, records(candidate[0], seen, {**answer(seen, 12), "label": np.ones(1000, dtype=np.int64)}))
    assert only_answers.evidence.numbers["worst_feature"] == "label"


def test_one_row_again_and_again_is_not_the_window(employment: Any) -> None:
    candidate = employment[0]
    one = {name: np.repeat(values[:1], 3000, axis=0) for name, values in people(1, 6).items()}
    assert drift(candidate, records(candidate[0], one, answer(one, 12))).verdict is Verdict.INCONCLUSIVE


COMMENTS = FeatureContract("", "", {}, (), inputs=(InputTensor("comment", "BYTES", (-1, 1)),))
ENGLISH = [
    "the",
    "parcel",
    "came",
    "late",
    "and",
    "was",
    "wet",
    "on",
    "one",
    "side",
    "what",
    "it",
    "held",
    "is",
    "fine",
    "thanks",
]
GERMAN = [
    "das",
    "paket",
    "kam",
    "zu",
    "spaet",
    "und",
    "war",
    "an",
    "einer",
    "seite",
    "nass",
    "der",
    "inhalt",
    "ist",
    "gut",
    "danke",
]


def comments(rows: int, seed: int, of: list[str] = ENGLISH, longer: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(of, longer * rng.integers(4, 12))) for _ in range(rows)]
    return {"comment": np.array(texts, dtype=object)[:, None]}


def test_free_text_is_judged_by_length_and_words_though_no_comment_comes_twice(tmp_path: Path) -> None:
    candidate = write(tmp_path, "1", COMMENTS, pl.DataFrame({"comment": comments(2000, 1)["comment"][:, 0].tolist()}), [])

    def asked(**of: Any) -> GateResult:
        return drift(candidate, records(candidate[0], comments(800, 2, **of), {}))

    same = asked()
    assert same.verdict is Verdict.PASS, same.evidence.summary
    assert {f.subject for f in same.evidence.findings} >= {"comment.length", "comment.words", "comment.word"}
    for worst, of in ({"comment.word"}, {"of": GERMAN}), ({"comment.length", "comment.words"}, {"longer": 3}):
        moved = asked(**of)
        assert (moved.verdict, moved.evidence.numbers["worst_feature"] in worst) == (Verdict.FAIL, True), moved.evidence.summary


def test_ids_that_are_all_different_are_judged_by_their_length_alone(tmp_path: Path) -> None:
    def ids(rows: int, seed: int) -> list[str]:
        return [f"{value:012x}" for value in np.random.default_rng(seed).integers(0, 1 << 48, rows)]

    candidate = write(tmp_path, "1", COMMENTS, pl.DataFrame({"comment": ids(2000, 1)}), [])
    seen = {"comment": np.array(ids(800, 2), dtype=object)[:, None]}
    result = drift(candidate, records(candidate[0], seen, {}))
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert "comment.word" not in {f.subject for f in result.evidence.findings}


PART = FeatureContract(
    "shelf",
    "shelf",
    {"stock": ("sold", "open", "group")},
    ("stock__sold", "stock__open", "stock__group"),
    types={"stock__open": "INT64", "stock__group": "BYTES"},
    inputs=(InputTensor("sold", "FP32", (-1, 1), ("stock__sold",)), InputTensor("group", "BYTES", (-1, 1), ("stock__group",))),
)


def shelves(rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.array(["cold", "dry"], dtype=object)[rng.choice(2, rows)]
    return {"sold": rng.gamma(4, 10, (rows, 1)).astype(np.float32), "group": groups[:, None]}


def shelves_release(root: Path) -> Any:
    seen = shelves(2000, 1)
    columns = {"stock__sold": seen["sold"][:, 0], "stock__open": np.arange(2000), "stock__group": seen["group"][:, 0].tolist()}
    keys = [f"shelf {i}" for i in range(2000)]
    return write(root, "1", PART, pl.DataFrame({"shelf": keys, **columns}), [])


def of_keys(made: list[InferenceRecord]) -> list[InferenceRecord]:
    return [replace(r, entities=(f"shelf {i}",), event_times=np.array([i + 1])) for i, r in enumerate(made)]


def test_features_of_the_service_that_the_model_does_not_read_are_not_waited_for(tmp_path: Path) -> None:
    candidate = shelves_release(tmp_path)
    result = drift(candidate, of_keys(records(candidate[0], shelves(400, 2), {})))
    assert result.verdict is Verdict.PASS, result.evidence.summary
    assert {f.subject for f in result.evidence.findings} >= {"stock__sold", "stock__group"}
    assert "stock__open" not in {f.subject for f in result.evidence.findings}


def test_requests_that_lack_a_watched_column_are_counted_and_the_column_is_named(tmp_path: Path) -> None:
    candidate = shelves_release(tmp_path)
    part = {"sold": shelves(400, 2)["sold"]}
    result = drift(candidate, of_keys(records(candidate[0], part, {})))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "400 requests cannot be judged, the latest has no column 'stock__group'" in result.evidence.summary


def images(rows: int, seed: int, light: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"image": np.clip(light * rng.normal(120, 30, (rows, 4, 4)), 0, 255).astype(np.uint8)}


@pytest.mark.parametrize("own", [True, False])
def test_images_are_judged_by_the_definitions_profile_or_value_by_value(tmp_path: Path, own: bool) -> None:
    known = images(1500, 1)
    reference = pl.DataFrame({"image": known["image"].reshape(1500, 16).tolist()})
    reference = reference.with_columns(pl.col("image").list.to_array(16).reshape((-1, 4, 4)))
    said = {"profile": "profile/p.py:profile"} if own else {}
    release = write(tmp_path, "1", IMAGES, reference, [], said, {"profile/p.py": PROFILE} if own else {})
    columns = {"brightness"} if own else {f"image[{i}]" for i in range(16)}
    for light, verdict in ((1.0, Verdict.PASS), (0.6, Verdict.FAIL)):
        seen = images(WINDOW * 5, 2, light)
        result = drift(release, records(release[0], seen, {"label": np.zeros(len(seen["image"]), dtype=np.int64)}))
        assert result.verdict is verdict, result.evidence.summary
        assert {f.subject for f in result.evidence.findings} == columns


def test_a_profile_function_that_refuses_a_clients_tensors_neither_raises_nor_passes(tmp_path: Path) -> None:
    code = b"def profile(tensors):\n    raise ValueError('no')\n"
    reference = pl.DataFrame({"brightness": np.random.default_rng(1).normal(120, 8, 1500)})
    said = {"profile": "profile/p.py:profile"}
    release = write(tmp_path, "1", IMAGES, reference, [], said, {"profile/p.py": PROFILE})
    (release[1] / "profile/p.py").write_bytes(code)
    assert drift(release, records(release[0], images(900, 2), {})).verdict is Verdict.ERROR  # the digest is another
    told = write(tmp_path / "told", "1", IMAGES, reference, [], said, {"profile/p.py": code})
    assert drift(told, records(told[0], images(900, 2), {})).verdict is Verdict.INCONCLUSIVE


def test_traffic_without_event_times_is_watched_by_arrival_and_past_windows_are_judged_once(employment: Any) -> None:
    manifest, folder = employment[0]
    root = folder.parent / "daily"
    manifest, folder = write(root, "13", EMPLOYMENT, people_reference(), OUTPUTS, {**SAID, "watch": {"every": "1d"}})
    day, log = 86_400, []
    for k, shift in enumerate((0, 0, 25)):
        seen = people(900, 20 + k)
        seen["age"] = seen["age"] + np.float32(shift)
        log += [replace(r, id=f"{k} {r.id}") for r in records(manifest, seen, answer(seen, 12), first=k * day + 3600.0)]
    memory: dict[str, Any] = {}
    results = watch(manifest, folder, FakeRecords(log), FakeMeter(), memory=memory)
    assert [(r.window, r.result.verdict, r.retrain) for r in results] == [
        ("1970-01-01", Verdict.PASS, False),
        ("1970-01-02", Verdict.PASS, False),
        ("1970-01-03", Verdict.FAIL, True),
    ]
    assert len(memory) == 2
    again = watch(manifest, folder, FakeRecords(log), FakeMeter(), memory=memory)
    assert [(r.result.at, r.result.evidence) for r in again[:2]] == [(r.result.at, r.result.evidence) for r in results[:2]]
    assert again[2].result.at > results[2].result.at


FLIGHTS = FeatureContract("", "flight", {"weather": ("wind",), "flight": ("delay",)}, ("weather__wind", "flight__delay"))


def at_airport(hours: range, seed: int, wind: np.ndarray) -> pl.DataFrame:
    """Twenty flights an hour, which share the wind."""
    rng, rows = np.random.default_rng(seed), 20 * len(hours)
    return pl.DataFrame(
        {
            "flight": [f"F{i % 20}" for i in range(rows)],
            "event_timestamp": [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=h) for h in hours for _ in range(20)],
            "weather__wind": wind[list(hours)].repeat(20),
            "flight__delay": rng.gamma(2, 5, rows),
        }
    )


def test_a_covariate_that_all_keys_share_is_counted_by_its_values_and_found_where_it_lies_far_outside(tmp_path: Path) -> None:
    hours = 24 * 35
    wind = np.cumsum(np.random.default_rng(3).normal(size=hours)) * 0.1 + 20
    reference = at_airport(range(hours), 1, wind)
    release = write(tmp_path, "1", FLIGHTS, reference, [])

    def seen(frame: pl.DataFrame) -> GateResult:
        features = frame.select(FLIGHTS.vector).to_numpy().astype(np.float32)
        times = frame["event_timestamp"].dt.epoch("us").to_numpy()
        log = []
        for i in range(0, len(frame), 20):
            head = (f"r{i}", 101.0 + i, release[0].digest, Slot.BLUE, False, 200, 5.0)
            part = slice(i, i + 20)
            log.append(InferenceRecord(*head, tuple(frame["flight"][part]), times[part], {}, features[part], {}))
        return drift(release, log)

    for week in range(5):
        result = seen(at_airport(range(168 * week, 168 * week + 20), 10 + week, wind))
        assert result.verdict is Verdict.PASS, result.evidence.summary
        assert "one value for all keys at a time, 10 in the window" in str(result.evidence.findings)
    storm = seen(at_airport(range(20), 9, wind + 500))
    assert storm.evidence.numbers["worst_feature"] == "weather__wind", storm.evidence.summary
    assert "far outside the reference" in storm.evidence.summary


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"outputs": {"label": "class"}}, "outputs.label is 'class', allowed: quantity, label, distribution, score, embedding"),
        ({"outputs": ["label"]}, "outputs is"),
        ({"watch": {"every": "0d"}}, "watch.every is '0d', allowed: a whole number and m, h, d or w"),
        ({"watch": {"evry": "1d"}}, "unknown key 'watch.evry'"),
        ({"profile": "../away.py:f"}, "profile is '../away.py:f'"),
        ({"profile": "profile.py"}, "allowed: FILE.py:function"),
    ],
)
def test_a_mistake_about_what_is_judged_is_named(value: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=r"monitoring/any\.yaml: ") as caught:
        Judged.read(value, "monitoring/any.yaml")
    assert said in str(caught.value)


def test_a_profile_is_found_from_the_projects_folder_and_carried_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "monitoring").mkdir()
    (tmp_path / "monitoring" / "p.py").write_bytes(PROFILE)
    for name in ("monitoring/p.py:profile", "p.py:profile"):
        found, files = found_profile(Judged.read({"profile": name}, "m"), tmp_path / "monitoring" / "any.yaml")
        assert (found.profile, files) == ("profile/p.py:profile", {"profile/p.py": PROFILE})
    assert Judged.read({}, "m").to_json() == {}
    assert Judged.read({"watch": {"every": "6h"}}, "m").every == 6 * 3600
