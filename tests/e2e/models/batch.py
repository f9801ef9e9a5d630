"""What clients asked a release and were answered, as a file of rows and the outputs that it must get."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from e2e.models.project import Project
from tidegate.domain.keys import parts_of
from tidegate.files.release_folder import read_contract
from tidegate.ports.inference_records import Selection

REQUESTS = 150
# A network's library adds in another order for many rows than for two (docs/critiques.md); trees give the same bits.
LAST_BITS = {"returns": 1e-5}


def asked(project: Project, release: str, path: Path) -> Mapping[str, np.ndarray]:
    """Write the rows of the latest answered requests to `path`; returns the outputs that clients got."""
    platform = project.platform()
    manifest = platform.release(release)
    contract = read_contract(platform.releases.folder(manifest.digest), manifest)
    live = platform.records(manifest.model).read(Selection(release=manifest.digest, shadow=False), newest_first=True)
    records = list(islice((record for record in live if record.status == 200), REQUESTS))
    assert len(records) == REQUESTS
    columns: dict[str, Any] = {}
    if contract.stored:
        parts = [parts_of(entity, contract.key) for record in records for entity in record.entities]
        columns = {part.name: pa.array([each[i] for each in parts]) for i, part in enumerate(contract.key)}
    for name in (*contract.request, *(tensor.name for tensor in contract.asked)):
        columns[name] = column(np.concatenate([{**record.tensors, **record.request}[name] for record in records]))
    pq.write_table(pa.table(columns), path)
    outputs = {name: np.concatenate([record.outputs[name] for record in records]) for name in records[0].outputs}
    if contract.stored:
        outputs["event_timestamp"] = np.concatenate([record.event_times for record in records]).astype("datetime64[us]")
    return outputs


def column(values: np.ndarray) -> pa.Array:
    """One value a row, or a list of them."""
    rows = values.reshape(len(values), -1)
    if rows.shape[1] == 1:
        return pa.array(rows[:, 0].tolist() if rows.dtype == object else rows[:, 0])
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def batch_equals_online(project: Project, model: str, release: str) -> None:
    """`tidegate predict` gives the rows that clients asked for the outputs that they got."""
    source, output = project.folder / f"{model}-asked.parquet", project.folder / f"{model}-answered.parquet"
    online = asked(project, release, source)
    done = project.run("predict", model, "--input", str(source), "--output", str(output))
    assert (done["release"], done["failed"]) == (release, 0)
    table = pq.read_table(output)
    assert table["error"].null_count == len(table) == done["rows"]
    for name, wanted in online.items():
        made = np.array(table[name].to_pylist()).astype(wanted.dtype).reshape(wanted.shape)
        if model in LAST_BITS and wanted.dtype.kind == "f":
            np.testing.assert_allclose(made, wanted, rtol=0, atol=LAST_BITS[model], err_msg=name)
        else:
            np.testing.assert_array_equal(made, wanted, err_msg=name)
