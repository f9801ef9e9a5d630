"""`tidegate predict`: a file of rows through a release, to a file of rows with its outputs.

The work is kept in parts beside the output, `OUTPUT.parts/`: a part is durable before the next one begins, so a run that was
cut off goes on where it was. What the parts are made of is written first: going on with another input, release or state of the
online store would mix two answers in one file, and is refused. The output appears whole, at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.adapters.onnx.session import open_onnx
from tidegate.apps import wiring
from tidegate.apps.slot import open_predictor
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import Conflict, InvalidInput, NotFound
from tidegate.domain.formats import Format, Unknown
from tidegate.files.digests import file_digest
from tidegate.files.durable_files import locked, replace_durably
from tidegate.serving.batch import BatchPredictor
from tidegate.serving.runtime.release_loader import load_release

if TYPE_CHECKING:
    from tidegate.apps.platform import Platform
    from tidegate.domain.release import ReleaseManifest
    from tidegate.ports.features import OnlineFeatureReader
    from tidegate.ports.row_files import RowSink, RowSource

ACTION = "predicted"
BATCH_FORMAT = Format("record of a batch prediction", Unknown.REFUSED)
ROWS = 1000  # of a part: as many as a client may ask for at once
SAID_EVERY = 50  # parts between two words of progress
OTHERS = {
    "input": "another input",
    "release": "another release",
    "store": "another state of the online store",
    "rows": "another size",
}


@dataclass(frozen=True)
class Made:
    """What the parts of one output are made of."""

    input: str  # SHA-256 of the file
    release: str  # digest
    store: str  # the online store's watermark; '' where no features are stored
    rows: int  # of a part


@dataclass(frozen=True)
class BatchResult:
    """`failed` rows have an error in place of outputs; `resumed` parts were made by an earlier run."""

    release: str
    rows: int
    failed: int
    parts: int
    resumed: int
    output: str


@dataclass(frozen=True)
class _Work:
    """A release and its store, opened to score the rows of one file."""

    manifest: ReleaseManifest
    batches: BatchPredictor
    reader: OnlineFeatureReader | None
    made: Made
    output: Path

    @property
    def parts(self) -> Path:
        return self.output.with_name(f"{self.output.name}.parts")

    def part(self, number: int, failed: int) -> Path:
        return self.parts / f"part-{number:06d}-{failed}.parquet"

    def done(self) -> list[Path]:
        """The parts that are there, in order."""
        return sorted(self.parts.glob("part-*.parquet"))

    def store_now(self) -> str:
        return _state_of(self.reader)

    def begin(self) -> None:
        """Write what the parts are made of; raises Conflict where parts of something else lie there."""
        record = self.parts / "batch.json"
        if not record.is_file():
            self.parts.mkdir(parents=True, exist_ok=True)
            replace_durably(record, canonical_json({"schema": BATCH_FORMAT.newest, **asdict(self.made)}))
            return
        found = BATCH_FORMAT.convert(BATCH_FORMAT.parse(record.read_bytes(), str(record)), Made, str(record))
        for name, what in OTHERS.items():
            if getattr(found, name) != getattr(self.made, name):
                raise Conflict(
                    f"{self.output}: the parts in {self.parts} are of {what}; go on with what they were made of, or begin anew "
                    "with --restart"
                )


def predict(
    platform: Platform, model: str, source: Path, output: Path, release: str | None = None, restart: bool = False
) -> BatchResult:
    """Score the rows of `source` by the live release of `model`, or by another one of it.

    Raises InvalidInput (the file, its columns), NotFound, Conflict (other parts lie there, or the online store was written
    meanwhile), IntegrityError, Unavailable.
    """
    if output.suffix != ".parquet":
        raise InvalidInput(f"output {output} ends with '{output.suffix}', required: .parquet")
    lock = output.with_name(f".{output.name}.lock")
    with locked(lock, wait=False):
        with opened(platform, model, source, output, release) as (work, rows):
            if restart:
                shutil.rmtree(work.parts, ignore_errors=True)
            work.begin()
            sink = wiring.row_sink({"model": work.manifest.model, "release": work.manifest.digest})
            result = _run(work, platform, rows, sink)
        body = {**asdict(result), "input": work.made.input, "digest": file_digest(output)}
        platform.ledger.append(ACTION, work.manifest.id, body, platform.whoami)
        shutil.rmtree(work.parts, ignore_errors=True)
        lock.unlink(missing_ok=True)
    return result


@contextmanager
def opened(
    platform: Platform, model: str, source: Path, output: Path, release: str | None
) -> Iterator[tuple[_Work, RowSource]]:
    """A release, its store and the file, looked at as far as can be before the work begins."""
    manifest = _release(platform, model, release)
    loaded = load_release(platform.admit(manifest), open_onnx)
    online = platform.feature_folder(manifest.model).online_address(platform.project.local.online_store)
    predictor, reader = open_predictor(loaded, online)
    with closing(predictor):
        batches = BatchPredictor(predictor)
        rows = wiring.row_source(source, batches.types)
        check_columns(rows, batches, source)
        made = Made(file_digest(source), manifest.digest, _state_of(reader), ROWS)
        yield _Work(manifest, batches, reader, made, output), rows


def _release(platform: Platform, model: str, release: str | None) -> ReleaseManifest:
    if release is not None:
        return platform.own_release(model, release)
    active = platform.target.desired(model).active_release
    if active is None:
        raise NotFound(f"model '{model}' has no live release; name one with --release, or start one with 'tidegate rollout'")
    return platform.release(active)


def _state_of(reader: OnlineFeatureReader | None) -> str:
    if reader is None:
        return ""
    reader.ping()
    mark = reader.watermark()
    return mark.id if mark is not None else ""


def check_columns(rows: RowSource, batches: BatchPredictor, source: Path) -> None:
    """Raises InvalidInput for a column that is missing, or one that would be made and is there already."""
    missing = [name for name in batches.types if name not in rows.columns]
    if missing:
        wanted = ", ".join(f"{name} ({kind or 'number'})" for name, kind in batches.types.items())
        raise InvalidInput(f"input {source} has no column '{missing[0]}', required: {wanted}; it has {', '.join(rows.columns)}")
    taken = [name for name in (*batches.made, "error") if name in rows.columns]
    if taken:
        raise InvalidInput(f"input {source} has a column '{taken[0]}', which the prediction makes; rename or drop it")


def _run(work: _Work, platform: Platform, rows: RowSource, sink: RowSink) -> BatchResult:
    done = work.done()
    resumed = len(done)
    for number, batch in enumerate(rows.batches(work.made.rows, resumed), resumed):
        found = work.batches.predict(batch.columns, batch.rows)
        if work.store_now() != work.made.store:
            raise Conflict(f"{work.output}: the online store was written while rows were scored; begin anew with --restart")
        done.append(work.part(number, sum(error is not None for error in found.errors)))
        sink.write(done[-1], batch, found.made, found.errors)
        if not number % SAID_EVERY:
            of = f" of {rows.rows:,}" if rows.rows else ""
            platform.progress(f"{number * work.made.rows + batch.rows:,}{of} rows scored")
    if not done:
        raise InvalidInput(f"{work.output}: the input has no row; there is nothing to predict")
    total, failed = sink.join(done, work.output), sum(map(failures, done))
    return BatchResult(work.manifest.id, total, failed, len(done), resumed, str(work.output))


def failures(part: Path) -> int:
    """How many rows of a part have an error, which its name says."""
    return int(part.stem.rpartition("-")[2])
