"""Raw invoice lines, sorted into what they are: sales, returns, reversed sales, and a quarantine with a reason for each row.

Not one row is lost or counted twice: `rows_in == sales + returns + reversed + quarantine`, asserted at each run. The output
depends on the bytes of the sources and of the definition alone, so the same input gives the same files, byte by byte. It is
written beside the target folder and moved into place at the end: a run that fails leaves the earlier output untouched.

What a line is, says the definition (a Python file such as features/online_retail.py with a `DEFINITION`); commands call
`ingest(load_definition(path), sources, state / "data" / model)`.

    sales.parquet, returns.parquet   invoice sku description units at unit_price customer country source source_row
    reversed.parquet                 the same, of sales that the customer cancelled on the same day, and of these cancellations
    quarantine.parquet               source source_row reason original (the row as JSON text)
    ingest.json                      counts by class and reason, digests

Units are positive in every class; `customer` is null where unknown; `source_row` counts from 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from tidegate.data.reversals import reversed_rows
from tidegate.data.source_files import ORIGINAL, ROW, Column, read_source
from tidegate.domain.digests import digest_of
from tidegate.domain.errors import InvalidInput, NotFound
from tidegate.files.digests import file_digest
from tidegate.files.replaced_folder import replaced_folder
from tidegate.files.source_code import Sources

COLUMNS = ("invoice", "sku", "description", "units", "at", "unit_price", "customer", "country")
CLASSES = ("sales", "returns", "reversed", "quarantine")
SOURCE = "source"
REPORT = "ingest.json"
DUPLICATE, OVERLAP = "duplicate", "overlap"


@dataclass(frozen=True)
class Rule:
    """Rows for which `when` is true go to the quarantine; of several rules the first one names the `reason`."""

    reason: str
    when: pl.Expr
    why: str


@dataclass(frozen=True)
class IngestDefinition:
    """What the lines of a source are.

    `columns` maps each of COLUMNS to a column of the source, `normalize` rewrites some of them, `is_return` tells a
    cancellation (its units are negative in the source), `rules` what is refused. Rows are the same line, inside a file or in
    several, when all of `identity` is equal. `digest` is that of the definition's file, set by `load_definition`.
    """

    name: str
    columns: Mapping[str, Column]
    is_return: pl.Expr
    rules: tuple[Rule, ...]
    identity: tuple[str, ...]
    normalize: Mapping[str, pl.Expr] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True)
class IngestReport:
    """Counts of one ingestion; `digest` stands for the data: the sources' digests and the definition."""

    definition: str
    digest: str
    rows_in: int
    counts: Mapping[str, int]  # by class
    reasons: Mapping[str, int]  # of the quarantine
    sources: Mapping[str, str]  # file name -> SHA-256
    skus: int
    first_sale: str  # ISO
    last_sale: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def load_definition(path: Path) -> IngestDefinition:
    """The `DEFINITION` of a Python file, with its digest; raises InvalidInput."""
    if not path.is_file():
        raise InvalidInput(f"ingest definition {path} does not exist; name an existing Python file under 'ingest'")
    if path.suffix != ".py":
        raise InvalidInput(f"ingest definition {path} is not a Python file; its name must end with .py")
    sources = Sources.beside(path)
    try:
        module = sources.module(path.name)
    except Exception as error:
        raise InvalidInput(f"ingest definition {path} cannot be loaded: {type(error).__name__}: {error}") from error
    definition = getattr(module, "DEFINITION", None)
    if not isinstance(definition, IngestDefinition):
        raise InvalidInput(f"ingest definition {path} defines no DEFINITION = IngestDefinition(...)")
    missing = [name for name in COLUMNS if name not in definition.columns]
    if missing:
        raise InvalidInput(f"ingest definition {path}: columns lacks {', '.join(missing)}; required are {', '.join(COLUMNS)}")
    return IngestDefinition(**{**_shallow(definition), "digest": sha256(sources.files[path.name]).hexdigest()})


def _shallow(definition: IngestDefinition) -> dict[str, Any]:
    return {name: getattr(definition, name) for name in definition.__dataclass_fields__}


def ingest(
    definition: IngestDefinition, sources: Sequence[Path], out: Path, progress: Callable[[str], None] | None = None
) -> IngestReport:
    """Sort the lines of `sources` into the files of `out`, which is replaced as a whole; raises InvalidInput, Unavailable."""
    if not sources:
        raise InvalidInput(f"ingest '{definition.name}': no source files; name at least one under 'sources'")
    names = [path.name for path in sources]
    if len(set(names)) < len(names):
        raise InvalidInput(f"ingest '{definition.name}': two source files have the same name ({', '.join(names)}); rename one")
    frames = []
    for number, path in enumerate(sources):
        if progress:
            progress(f"reading {path.name}")
        rows = read_source(path, {name: definition.columns[name] for name in COLUMNS})
        frames.append(rows.with_columns(pl.lit(path.name).alias(SOURCE), pl.lit(number).alias("source_number")))
    lines = pl.concat(frames)
    classes = classify(definition, lines)
    report = _report(definition, {p.name: file_digest(p) for p in sources}, len(lines), classes)
    with replaced_folder(out, f"ingest '{definition.name}'") as folder:
        for name, frame in classes.items():
            frame.write_parquet(folder / f"{name}.parquet", compression="zstd")
        why = {rule.reason: rule.why for rule in definition.rules}
        content = json.dumps({**report.to_json(), "why": {r: why[r] for r in report.reasons if r in why}}, indent=2)
        (folder / REPORT).write_text(content + "\n", encoding="utf-8")
    return report


def classify(definition: IngestDefinition, lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The classes of `lines`: COLUMNS, source, source_number, source_row and original. Each row is in exactly one class."""
    lines = lines.with_row_index("row").with_columns(**definition.normalize)
    lines = lines.with_columns(_reason(definition).alias("reason"), definition.is_return.fill_null(False).alias("is_return"))
    refused = lines.filter(pl.col("reason").is_not_null())
    kept = lines.filter(pl.col("reason").is_null()).with_columns(pl.col("units").abs())
    undone = kept["row"].is_in(reversed_rows(kept))
    live = kept.filter(~undone)
    tidy = [*(pl.col(name) for name in COLUMNS), SOURCE, ROW]
    order = ["at", "invoice", "sku", "source_number", ROW]
    classes = {
        "sales": live.filter(~pl.col("is_return")).sort(order).select(tidy),
        "returns": live.filter(pl.col("is_return")).sort(order).select(tidy),
        "reversed": kept.filter(undone).sort(order).select(tidy),
        "quarantine": refused.sort(["source_number", ROW]).select(SOURCE, ROW, "reason", ORIGINAL),
    }
    total = sum(map(len, classes.values()))
    if total != len(lines):
        raise AssertionError(f"ingest lost rows: {len(lines)} in, {total} out")
    return classes


def _reason(definition: IngestDefinition) -> pl.Expr:
    """Why a row is refused, or null: something required is missing, it is a repetition, or a rule says so."""
    same_file = pl.struct(["source_number", *definition.identity])
    same_line = pl.struct(list(definition.identity))
    required = [name for name in COLUMNS if not definition.columns[name].nullable]
    reasons = [
        *((pl.col(name).is_null(), f"missing_{name}") for name in required),
        (~same_file.is_first_distinct(), DUPLICATE),
        (~same_line.is_first_distinct(), OVERLAP),
        *((rule.when.fill_null(False), rule.reason) for rule in definition.rules),
    ]
    return pl.coalesce([pl.when(when).then(pl.lit(reason)) for when, reason in reasons])


def _report(
    definition: IngestDefinition, sources: Mapping[str, str], rows_in: int, classes: Mapping[str, pl.DataFrame]
) -> IngestReport:
    sales = classes["sales"]
    if sales.is_empty():
        raise InvalidInput(f"ingest '{definition.name}': no sale in {rows_in} rows of {', '.join(sources)}; check the sources")
    reasons = classes["quarantine"]["reason"].value_counts().sort("reason")
    return IngestReport(
        definition=definition.name,
        digest=digest_of({"definition": definition.digest, "sources": dict(sources)}),
        rows_in=rows_in,
        counts={name: len(frame) for name, frame in classes.items()},
        reasons=dict(reasons.iter_rows()),
        sources=dict(sources),
        skus=sales["sku"].n_unique(),
        first_sale=sales["at"].dt.to_string("iso:strict")[0],
        last_sale=sales["at"].dt.to_string("iso:strict")[-1],
    )


def load_report(folder: Path) -> IngestReport:
    """The report of the ingestion in `folder`; raises NotFound."""
    path = folder / REPORT
    if not path.is_file():
        raise NotFound(f"no ingested data in {folder}; run 'tidegate ingest' first")
    value = json.loads(path.read_bytes())
    return IngestReport(**{name: value[name] for name in IngestReport.__dataclass_fields__})
