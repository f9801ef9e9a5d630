"""Employment, a project of its own without features; the faulty version has learned the labels swapped."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl

from e2e.models.case import Body, Case, edit
from story import ROOT, free_ports

PROJECT = ROOT / "tests/projects/employment"
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


def copy(folder: Path) -> str:
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "build"))
    text, ports = (folder / "tidegate.yaml").read_text(), free_ports()
    for name, port in ports.items():
        text = re.sub(rf"{name}: \d+", f"{name}: {port}", text)
    (folder / "tidegate.yaml").write_text(text)
    return f"http://127.0.0.1:{ports['gatewayPort']}"


def bodies(folder: Path, until: str) -> list[Body]:
    """People who are asked in the year after `until`: mild and real drift."""
    people = pl.read_parquet(folder / "build/state/data/people/rows.parquet")
    later = people.filter(pl.col("year") == int(until[:4])).sample(1200, seed=3)
    return [{"inputs": {name: part[name].to_list() for name in INPUTS}} for part in later.iter_slices(2)]


def swapped(folder: Path) -> None:
    edit(folder / "definitions/people.py", ("    normalize={\n", '    normalize={\n        "employed": ~pl.col("employed"),\n'))


EMPLOYMENT = Case(
    model="employment",
    copy=copy,
    times=("2017-01-01", "2018-01-01"),
    bodies=bodies,
    fault=swapped,
    stopped_by=("shadow",),
    stored=False,
)
