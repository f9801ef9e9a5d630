"""Readings of telemetry: 58 series of the Numenta Anomaly Benchmark, with the incidents that people labelled.

    rows    series number at value incident

`number` counts the readings of a series from 0; times stand twice where clocks were set back, and are those of the machine.
`incident` is the number, in its series, of the labelled window that a reading lies in, and null outside.
"""

from tidegate.api.data import Column, Dataset

DATASET = Dataset(
    name="telemetry",
    columns={
        "series": Column(("series",), "text"),
        "number": Column(("number",), "integer"),
        "at": Column(("at",), "timestamp"),
        "value": Column(("value",), "number"),
        "incident": Column(("incident",), "integer", nullable=True),
    },
    time="at",
    identity=("series", "number"),
)
