"""Employment, a project of its own without features; the faulty version has learned the labels swapped."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from demo.models.case import Body, Case, edit
from story import ROOT

INPUTS = (
    "age",
    "schooling",
    "marital",
    "relationship",
    "disability",
    "parents",
    "citizenship",
    "moved",
    "military",
    "ancestry",
    "nativity",
    "hearing",
    "seeing",
    "remembering",
    "sex",
    "race",
)


def bodies(data: Path, until: str) -> list[Body]:
    """People who are asked in the year after `until`: mild and real drift."""
    people = pl.read_parquet(data / "people/rows.parquet")
    later = people.filter(pl.col("year") == int(until[:4])).sample(1200, seed=3)
    return [{"inputs": {name: part[name].to_list() for name in INPUTS}} for part in later.iter_slices(2)]


def swapped(folder: Path) -> None:
    edit(folder / "definitions/people.py", ("    normalize={\n", '    normalize={\n        "employed": ~pl.col("employed"),\n'))


EMPLOYMENT = Case(
    model="employment",
    times=("2017-01-01", "2018-01-01"),
    bodies=bodies,
    fault=swapped,
    stopped_by=("shadow",),
    stored=False,
    source=ROOT / "tests/projects/employment",
    parts=("data", "definitions", "monitoring", "pipelines"),
)
