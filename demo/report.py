"""The self-contained HTML report: the facts of `demo.json`, and charts drawn from the raw logs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any


def render(facts: Mapping[str, Any], charts: Mapping[str, str]) -> str:
    """HTML of the report; `charts` holds inline SVGs (`traffic latency errors forecasts drift`)."""
    from jinja2 import Environment, StrictUndefined, select_autoescape
    from markupsafe import Markup

    environment = Environment(undefined=StrictUndefined, autoescape=select_autoescape(default=True), trim_blocks=True)
    source = resources.files("demo").joinpath("report.html.j2").read_text()
    # the charts are our own SVGs, made of escaped text by Matplotlib
    drawn = {name: Markup(svg) for name, svg in charts.items()}  # noqa: S704
    return environment.from_string(source).render(facts=facts, charts=drawn)


def write(path: Path, facts: Mapping[str, Any], charts: Mapping[str, str]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(render(facts, charts))
    temporary.replace(path)
