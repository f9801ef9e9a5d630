"""The people of the survey: a row is a person as asked in one year; all but the age are codes of the survey, kept as texts."""

from datetime import timedelta

import polars as pl

from tidegate.api.data import Column, Dataset, Rule

CODES = {
    "schooling": "SCHL",
    "marital": "MAR",
    "relationship": "RELP",
    "disability": "DIS",
    "parents": "ESP",
    "citizenship": "CIT",
    "moved": "MIG",
    "military": "MIL",
    "ancestry": "ANC",
    "nativity": "NATIVITY",
    "hearing": "DEAR",
    "seeing": "DEYE",
    "remembering": "DREM",
    "sex": "SEX",
    "race": "RAC1P",
}
YEAR = timedelta(days=366)

DATASET = Dataset(
    name="people",
    columns={
        "person": Column(("id",), "identifier"),
        "year": Column(("year",), "integer"),
        "age": Column(("AGEP",), "number"),
        **{name: Column((code,), "category") for name, code in CODES.items()},
        "employed": Column(("employed",), "boolean"),
    },
    # the survey says the year alone: all that is known of a year is known when it is over
    normalize={
        "asked": (pl.date(pl.col("year") + 1, 1, 1).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") - timedelta(seconds=1))
    },
    time="asked",
    grain=timedelta(days=1),
    max_gap=YEAR,
    identity=("person",),
    rules=(Rule("no_age", (pl.col("age") < 0) | (pl.col("age") > 120), "nobody is of that age"),),
)
