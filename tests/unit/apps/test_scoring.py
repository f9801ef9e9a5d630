"""Versions trained elsewhere, scored by the platform: candidate and champion on the same rows, and no word of a trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from onnx import helper

from fakes.registry_world import World
from tensor_models import NO_FEATURES, onnx_of
from tidegate.api.project import external_output, open_onnx
from tidegate.apps import versions
from tidegate.apps.comparison import compare
from tidegate.apps.scoring import scored_rows, scores
from tidegate.cli.comparison import _text
from tidegate.domain.errors import InvalidInput
from tidegate.domain.given_tensors import with_tensors
from tidegate.domain.verdict import GateResult, Verdict
from tidegate.files.training_output import open_output
from tidegate.ports.tensor_model import inputs_of
from tidegate.registry.promotion import activate

ROWS = 3000
LOG_LOSS = {"kind": "log_loss", "output": "probability"}


def classifier(*weights: float, bias: float = 0.0, name: str = "x", says: str = "probability") -> bytes:
    """The probability of the rarer class, by two numbers that requests bring."""
    nodes = [
        helper.make_node("MatMul", [name, "w"], ["weighed"]),
        helper.make_node("Add", ["weighed", "b"], ["shifted"]),
        helper.make_node("Sigmoid", ["shifted"], [says]),
    ]
    initial = {"w": np.array(weights, np.float32)[:, None], "b": np.array([bias], np.float32)}
    return onnx_of(nodes, {name: ("FP32", [None, len(weights)])}, {says: ("FP32", [None, 1])}, initial)


def never() -> bytes:
    """The constant 0: by the absolute error the best there is, where a class is rare."""
    zero = helper.make_node("Mul", ["first", "zero"], ["probability"])
    first = helper.make_node("ReduceSum", ["x", "axes"], ["first"], keepdims=1)
    weights = {"zero": np.zeros(1, np.float32), "axes": np.array([1], np.int64)}
    return onnx_of([first, zero], {"x": ("FP32", [None, 2])}, {"probability": ("FP32", [None, 1])}, weights)


def held_out(seed: int = 1, rows: int = ROWS) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 2)).astype(np.float32)
    chance = 1 / (1 + np.exp(3 - 2 * x[:, 0] - x[:, 1]))
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "x": pl.Series(x.tolist(), dtype=pl.Array(pl.Float32, 2)),
            "outcome": (rng.random(rows) < chance).astype(np.int64),
            "baseline_prior": np.full(rows, chance.mean()),
            "segment_side": np.where(x[:, 1] > 0, "right", "left"),
        }
    )


def written(
    folder: Path, onnx: bytes, rows: pl.DataFrame, losses: Any = None, reference: pl.DataFrame | None = None, **more: Any
) -> Path:
    parts = folder.with_name(f"{folder.name}-parts")
    parts.mkdir(parents=True)
    (parts / "model.onnx").write_bytes(onnx)
    rows.write_parquet(parts / "evaluation.parquet")
    (rows.drop("outcome") if reference is None else reference).write_parquet(parts / "reference.parquet")
    arguments = {"identity": ("id",), "trained_until": "2011-08-01T00:00:00+00:00", "losses": losses or LOG_LOSS} | more
    external_output(
        folder,
        onnx=parts / "model.onnx",
        reference=parts / "reference.parquet",
        evaluation=parts / "evaluation.parquet",
        **arguments,
    )
    return folder


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def judge(world: World, version: str) -> dict[str, GateResult]:
    promotion = versions.promote(world, "demand", version, None, dry_run=False)
    return {result.gate: result for result in promotion.results}


def registered(world: World, onnx: bytes, rows: pl.DataFrame, **more: Any) -> str:
    number = len(world.registry.versions("demand"))
    return versions.register_external(world, "demand", written(world.folder / f"made-{number}", onnx, rows, **more)).version


def test_a_classifier_is_promoted_and_the_constant_is_not(world: World) -> None:
    good = judge(world, registered(world, classifier(2, 1, bias=-3), held_out()))
    assert {name: r.verdict for name, r in good.items()} == dict.fromkeys(good, Verdict.PASS), good
    assert "3,000 rows of model, prior scored by the platform (log_loss of probability)" in good["scores"].evidence.summary
    constant = judge(world, registered(world, never(), held_out()))
    assert constant["beats_baseline"].verdict is Verdict.FAIL


def test_the_second_and_third_version_of_a_model_trained_elsewhere_are_promoted(world: World) -> None:
    for number, weights in enumerate([(1.0, 0.5), (2.0, 1.0), (2.05, 1.0)], start=1):
        version = registered(world, classifier(*weights, bias=-3), held_out(seed=number))
        results = judge(world, version)
        assert {name: r.verdict for name, r in results.items()} == dict.fromkeys(results, Verdict.PASS), results
        activate(world.registry, world.ledger, "demand", version)
    worse = judge(world, registered(world, classifier(1.0, 0.5, bias=-3), held_out(seed=4)))
    assert worse["no_worse_than_champion"].verdict is Verdict.FAIL
    assert worse["no_worse_than_champion"].evidence.numbers["ratio"] > 1.05


@pytest.mark.parametrize("of", ["model", "prior"])
def test_a_loss_that_is_not_what_the_platform_computes_is_an_error_by_name(world: World, of: str) -> None:
    folder = written(world.folder / "made", classifier(1, 0.5, bias=-3), held_out())
    rows = pl.read_parquet(folder / "evaluation.parquet")
    better = rows.with_columns(pl.when(pl.col("id") == 17).then(0.001).otherwise(f"loss_{of}").alias(f"loss_{of}"))
    better.write_parquet(folder / "evaluation.parquet")
    said = json.loads((folder / "evaluation.json").read_bytes())
    said["forecasts"][of]["loss"] = better[f"loss_{of}"].mean()
    (folder / "evaluation.json").write_text(json.dumps(said))
    result = judge(world, versions.register_external(world, "demand", folder).version)["scores"]
    assert result.verdict is Verdict.ERROR
    assert f"the loss of '{of}' in row 17 (id=17) is 0.001 as registered" in result.evidence.summary


def test_a_champion_that_reads_what_the_rows_lack_is_said_to(world: World) -> None:
    rows = held_out()
    first = registered(world, classifier(2, 1, bias=-3), rows)
    judge(world, first)
    activate(world.registry, world.ledger, "demand", first)
    other = judge(world, registered(world, classifier(2, 1, bias=-3, name="y"), rows.rename({"x": "y"})))
    assert other["scores"].verdict is Verdict.PASS
    assert other["no_worse_than_champion"].verdict is Verdict.INCONCLUSIVE
    assert "it reads 'x', which these rows lack" in other["no_worse_than_champion"].evidence.summary


def test_a_champion_that_cannot_be_scored_closes_its_own_gate_alone(world: World) -> None:
    first = registered(world, classifier(2, 1, bias=-3), held_out())
    judge(world, first)
    activate(world.registry, world.ledger, "demand", first)
    renamed = {"onnx": classifier(2, 1, bias=-3, says="chance"), "rows": held_out(seed=2)}
    results = judge(world, registered(world, **renamed, losses={"kind": "log_loss", "output": "chance"}))
    assert {name: r.verdict for name, r in results.items()} == dict.fromkeys(results, Verdict.PASS), results
    own = world.folder / "own.py"
    own.write_text("def loss(outputs, outcome):\n    return abs(outputs['chance'].reshape(len(outcome)) - outcome)\n")
    renamed["rows"] = renamed["rows"].drop("baseline_prior").with_columns(baseline_half=pl.lit(0.5))
    other = judge(world, registered(world, **renamed, losses=f"{own}:loss"))
    assert {name for name, result in other.items() if not result.verdict.opens} == {"no_worse_than_champion"}
    assert other["no_worse_than_champion"].verdict is Verdict.INCONCLUSIVE
    assert "it cannot be scored on these rows: losses: 'own.py:loss' fails" in other["no_worse_than_champion"].evidence.summary


def test_rows_that_the_champion_has_seen_are_left_out_where_enough_others_are(world: World) -> None:
    early, late = "2011-07-01T00:00:00+00:00", "2011-09-01T00:00:00+00:00"
    moments = pl.datetime(2011, 8, 1, time_zone="UTC") + pl.duration(hours=pl.col("id"))
    rows = held_out().with_columns(event_timestamp=moments)
    onnx = classifier(2, 1, bias=-3)
    ours = open_output(written(world.folder / "ours", onnx, rows))
    before = open_output(written(world.folder / "before", onnx, rows, trained_until=early))
    during = open_output(written(world.folder / "during", onnx, rows, trained_until=late))
    assert scores(ours, ("1", before), 1000, "here").champion_rows == ROWS
    some = scores(ours, ("1", during), 1000, "here")
    assert (some.champion_rows, some.remark) == (ROWS - 24 * 31, "")
    flattered = scores(ours, ("1", during), 2900, "here")
    assert flattered.champion_rows == ROWS
    assert "may have seen 744 of the rows" in flattered.remark


OWN = """
import numpy as np


def cost(outputs, outcome):
    said = outputs["probability"][:, 0] > 0.2 if outputs["probability"].ndim == 2 else outputs["probability"] > 0.2
    return np.where(said & (outcome == 0), 1.0, 0.0) + np.where(~said & (outcome == 1), 6.0, 0.0)
"""


def test_a_loss_of_one_s_own_is_carried_with_the_output_and_scores_both(world: World) -> None:
    own = world.folder / "cost.py"
    own.write_text(OWN)
    version = registered(world, classifier(2, 1, bias=-3), held_out(), losses=f"{own}:cost")
    own.unlink()
    results = judge(world, version)
    assert results["scores"].verdict is results["beats_baseline"].verdict is Verdict.PASS
    assert "cost.py:cost" in results["scores"].evidence.summary
    assert (world.registry.output(world.registry.get("demand", version)) / "losses/cost.py").read_text() == OWN


@pytest.mark.parametrize(
    ("change", "more", "named"),
    [
        (lambda rows: rows.drop("outcome"), {}, "no column 'outcome'"),
        (lambda rows: rows.drop("x").with_columns(z=1), {}, "no column 'x', an input of the model"),
        (lambda rows: rows.with_columns(outcome=pl.lit(None, pl.Int64)), {}, "rows without 'outcome'"),
        (lambda rows: rows.with_columns(loss_champion=1.0), {}, "the platform scores the champion itself"),
        (lambda rows: rows, {"losses": {"kind": "log_loss", "output": "odds"}}, "'odds' is no output"),
        (lambda rows: rows, {"losses": {"kind": "hinge"}}, "kind is 'hinge'"),
        (lambda rows: rows, {"losses": "absent.py:loss"}, "required FILE.py:FUNCTION"),
        (lambda rows: rows.with_columns(id=1), {}, "rows of the same id"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_as_they_are_written(
    tmp_path: Path, change: Any, more: dict[str, Any], named: str
) -> None:
    rows = held_out(rows=50)
    with pytest.raises(InvalidInput, match=named):
        written(tmp_path / "made", classifier(1, 1), change(rows), reference=rows.select("x"), **more)


def test_a_version_that_says_the_same_to_everything_is_found_before_it_is_served(world: World) -> None:
    """As when one line dated a year too late made every forecast 0, and every loss small."""
    first = registered(world, classifier(2, 1, bias=-3), held_out())
    assert judge(world, first)["outputs"].verdict is Verdict.PASS
    activate(world.registry, world.ledger, "demand", first)
    empty_year = held_out().with_columns(outcome=pl.lit(0, pl.Int64), baseline_prior=pl.lit(0.001))
    results = judge(world, registered(world, never(), empty_year))
    assert results["beats_baseline"].verdict is Verdict.PASS  # what its trainer and its rows say
    assert results["outputs"].verdict is Verdict.FAIL
    assert "'probability' is 0 in 3,000 of 3,000 rows of the reference, the champion's" in results["outputs"].evidence.summary
    alone = World(world.folder / "alone")
    assert judge(alone, registered(alone, never(), empty_year))["outputs"].verdict is Verdict.FAIL


def two_tasks(outputs: dict[str, np.ndarray], outcome: dict[str, np.ndarray]) -> np.ndarray:
    return sum((outputs[name].argmax(axis=1) != outcome[name]).astype(float) for name in ("kind", "torn"))


def test_several_outputs_and_outcomes_are_scored_together_on_images() -> None:
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    nodes = [
        helper.make_node("Cast", ["image"], ["bright"], to=1),
        helper.make_node("ReduceSum", ["bright", "axes"], ["kind"], keepdims=0),
        helper.make_node("Neg", ["kind"], ["torn"]),
    ]
    outputs = {name: ("FP32", [None, 3]) for name in ("kind", "torn")}
    axes = {"axes": np.array([1], np.int64)}
    model = open_onnx(onnx_of(nodes, {"image": ("UINT8", [None, 2, 3])}, outputs, axes), "here")
    rows = pl.DataFrame(
        {
            "image": pl.Series(pixels),
            "outcome_kind": [2, 2, 0, 2],
            "outcome_torn": [0, 1, 1, 0],
            "baseline_first": [{"kind": [1.0, 0.0, 0.0], "torn": [1.0, 0.0, 0.0]}] * 4,
        }
    )
    contract = with_tensors(NO_FEATURES, inputs_of(model), "here")
    scored = scored_rows(rows, contract, model, two_tasks, "here")
    assert scored["loss_model"].to_list() == [0.0, 1.0, 2.0, 0.0]
    assert scored["loss_first"].to_list() == [1.0, 2.0, 1.0, 1.0]


def test_two_versions_are_compared_on_the_same_rows_by_segment(world: World) -> None:
    first = registered(world, classifier(1, 0.5, bias=-3), held_out(seed=1), metrics={"model": {"auc": 0.7}})
    second = registered(world, classifier(2, 1, bias=-3), held_out(seed=2), metrics={"model": {"auc": 0.8}})
    before, after = (world.registry.get("demand", version) for version in (first, second))
    found = compare(world, "demand", before, after)
    assert found.metrics["model_auc"] == (0.7, 0.8)
    assert found.same_rows is not None
    assert found.same_rows.rows == ROWS
    assert found.same_rows.ratio == pytest.approx(found.same_rows.after / found.same_rows.before)
    assert found.same_rows.ratio < found.same_rows.upper < 1
    assert set(found.same_rows.segments) == {"side=left", "side=right"}
    assert {"data", "code"} <= set(found.lineage)
    assert not found.features_added + found.features_removed + found.inputs_changed
    assert "0.8" in "\n".join(_text(found))


def test_versions_that_nobody_can_score_on_the_same_rows_are_said_to_be_apart(world: World) -> None:
    first, second = world.trained(), world.trained(model=0.9)
    found = compare(world, "demand", first, second)
    assert found.same_rows is None
    assert "the platform cannot score it" in "\n".join(_text(found))
    beside = compare(world, "demand", first, world.trained(champion="1", **{}))
    assert beside.same_rows is None


def test_a_trainer_s_word_is_not_taken_where_it_could_be_scored(world: World) -> None:
    lying = held_out().with_columns(loss_model=0.0, loss_prior=1.0)
    parts = world.folder / "parts"
    parts.mkdir()
    (parts / "model.onnx").write_bytes(classifier(-2, -1))
    lying.write_parquet(parts / "rows.parquet")
    named = {"onnx": parts / "model.onnx", "evaluation": parts / "rows.parquet", "reference": parts / "rows.parquet"}
    folder = world.folder / "made"
    external_output(folder, **named, loss="none at all", identity=("id",), trained_until="2011-08-01T00:00:00+00:00")
    result = judge(world, versions.register_external(world, "demand", folder).version)["scores"]
    assert result.verdict is Verdict.FAIL
    assert "promotion.without_scores is 'pipeline'" in result.evidence.summary
