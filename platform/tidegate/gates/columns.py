"""The columns by which traffic is judged: features by name, request inputs, the model's other inputs, its outputs, a profile.

A column has a value a row: float64 (NaN is missing; booleans are 0 and 1), or texts (None is missing). An input or output of a
few values a row is a column a value, `name[0]`, `name[1]`, ...; one of many (an image, a long series) is its mean and spread,
`name.mean` and `name.spread`, unless the definition has a profile function, whose columns stand for such inputs; an embedding
is its length, `name.norm`; free text is its length and words (`gates.free_text`). Rows of a record and of a reference are
brought to columns by the same code.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from tidegate.domain.contract import FEATURES, FeatureContract, InputTensor
from tidegate.domain.errors import InvalidInput
from tidegate.domain.release import ReleaseManifest
from tidegate.files.release_folder import read_contract, verified_bytes
from tidegate.gates.free_text import without_free_text
from tidegate.gates.judged import Judged, ProfileFunction, load_profile
from tidegate.gates.reference import tensor_of
from tidegate.ports.inference_records import InferenceRecord
from tidegate.statistics.calibration import TIME, values_of

WIDEST = 64  # values a row that become columns of their own
logger = logging.getLogger("tidegate.gates")
Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Columns:
    """`outputs` are the kinds of outputs; `profile` is the definition's function, if it has one."""

    contract: FeatureContract
    outputs: Mapping[str, str] = field(default_factory=dict)
    profile: ProfileFunction | None = None

    @classmethod
    def of_release(cls, folder: Path, manifest: ReleaseManifest, judged: Judged) -> Columns:
        """Of a release whose code may run, if it has a profile."""
        profile = None
        if judged.profile:
            content = verified_bytes(folder, manifest, judged.profile_file)
            profile = load_profile(judged.profile, content, folder, f"release {manifest.id}")
        return cls(read_contract(folder, manifest), judged.outputs, profile)

    def of_record(self, record: InferenceRecord) -> dict[str, np.ndarray]:
        """By name, [n] each; nothing where the record is not of this contract, or the profile function refuses it."""
        rows, made = rows_of(record), dict[str, np.ndarray]()
        for tensor in self.contract.tensors:
            array = record.tensors.get(tensor.name, record.features if tensor.name == FEATURES else None)
            if array is None:
                continue
            if len(array) != rows:
                return {}
            if tensor.features:
                flat = array.reshape(rows, -1)
                if flat.shape[1] != len(tensor.features):
                    return {}
                made |= {name: _values(flat[:, i]) for i, name in enumerate(tensor.features)}
            else:
                made |= self._of_input(tensor, array)
        made |= {name: _values(np.asarray(values)) for name, values in record.request.items() if name not in made}
        for name, array in record.outputs.items():
            made |= expanded(name, array, self.outputs.get(name, ""))
        made |= self._profiled(record.tensors, rows, getattr(record, "profile", {}))
        return {name: values for name, values in made.items() if values.shape == (rows,)}

    def of_reference(
        self, frame: pl.DataFrame, outputs: Collection[str], where: str, as_they_are: Collection[str] = ()
    ) -> pl.DataFrame:
        """The reference with a column for each of them, and its key and times as they are. `outputs` are the model's. In the
        place of free text are its parts, unless it is among those that are to stay `as_they_are`."""
        contract, made, tensors = self.contract, dict[str, np.ndarray](), dict[str, np.ndarray]()
        for tensor in contract.asked:
            if tensor.name in frame.columns:
                tensors[tensor.name] = tensor_of(frame[tensor.name], tensor, where)
                made |= self._of_input(tensor, tensors[tensor.name])
        for name in outputs:
            if name in frame.columns:
                made |= expanded(name, _array_of(frame[name]), self.outputs.get(name, ""))
        profiled = self._profiled(tensors, len(frame), {}) if len(tensors) == len(contract.asked) else {}
        wide = [name for name in frame.columns if frame[name].dtype.is_nested()]
        taken = {*tensors, *(name for name in outputs if name in frame.columns)} | set(wide)
        made |= profiled
        rest = [name for name in frame.columns if name not in made and (name not in taken or name in contract.key_names)]
        judged = pl.DataFrame([*(frame[name] for name in rest), *(series_of(name, values) for name, values in made.items())])
        texts = {*contract.vector, *tensors, *outputs} - set(as_they_are)
        return without_free_text(judged, sorted(texts))

    def names(self, reference: pl.DataFrame, judged: pl.DataFrame, outputs: Collection[str]) -> list[str]:
        """The columns of `judged` (of `of_reference`) that say something of the model: all but keys, times, features that it
        does not read, and others'."""
        known = [*(name for name in self.contract.vector if name in self.contract.read), *self.contract.request]
        made = [name for name in judged.columns if name not in reference.columns]
        same = [name for name in judged.columns if name in {*outputs, *(tensor.name for tensor in self.contract.asked)}]
        profiled = []
        if self.profile is not None:  # columns that the pipeline has made by it
            aside = {TIME, *self.contract.key_names, *self.contract.vector, *known, *made, *same}
            profiled = [name for name in judged.columns if name not in aside and judged[name].dtype.is_numeric()]
        wanted = [*known, *same, *made, *profiled]
        return [name for name in dict.fromkeys(wanted) if name in judged.columns]

    def _of_input(self, tensor: InputTensor, array: np.ndarray) -> dict[str, np.ndarray]:
        if self.profile is not None and array.size != len(array):
            return {}
        return expanded(tensor.name, array)

    def _profiled(self, tensors: Values, rows: int, kept: Values) -> dict[str, np.ndarray]:
        if not rows:
            return {}
        if self.profile is None or any(tensor.name not in tensors for tensor in self.contract.asked):
            return {name: _values(np.asarray(values)) for name, values in kept.items()}
        try:
            found = self.profile(tensors)
            made = {str(name): _values(np.asarray(values)) for name, values in found.items()}
        except Exception as error:  # a client's tensors may be of any kind: without columns they are not looked at
            logger.warning("profile function on %d rows: %s: %s", rows, type(error).__name__, error)
            return {}
        return {name: values for name, values in made.items() if values.shape == (rows,)}


def rows_of(record: InferenceRecord) -> int:
    return len(record.entities) or len(record.features) or max((len(t) for t in record.tensors.values() if t.ndim), default=0)


def expanded(name: str, array: np.ndarray, kind: str = "") -> dict[str, np.ndarray]:
    """Columns of an input or output [n, ...]."""
    if array.ndim == 0 or not len(array):
        return {}
    flat = array.reshape(len(array), -1)
    if kind == "embedding" and flat.dtype.kind in "iufb":
        return {f"{name}.norm": np.linalg.norm(flat.astype(np.float64), axis=1)}
    if flat.shape[1] == 1:
        column = _values(flat[:, 0])
        return {name: texts_of(column) if kind == "label" else column}
    if flat.shape[1] <= WIDEST:
        return {f"{name}[{i}]": _values(flat[:, i]) for i in range(flat.shape[1])}
    if flat.dtype.kind not in "iufb":
        return {}
    values = flat.astype(np.float64)
    return {f"{name}.mean": values.mean(axis=1), f"{name}.spread": values.std(axis=1)}


def texts_of(values: np.ndarray) -> np.ndarray:
    """Numbers as the texts by which categories are compared; texts as they are."""
    if values.dtype.kind == "O":
        return values
    return np.array([None if np.isnan(value) else f"{value:.15g}" for value in values], dtype=object)


def series_of(name: str, values: np.ndarray) -> pl.Series:
    if values.dtype.kind == "O":
        return pl.Series(name, values.tolist(), dtype=pl.String)
    return pl.Series(name, values)


def reference_values(series: pl.Series, category: bool) -> np.ndarray:
    """A column of a judged reference as records have it."""
    values = values_of(series)
    return texts_of(values) if category else values


def _values(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "iufb":
        return array.astype(np.float64)
    return np.array([None if value is None or value == "" else str(value) for value in array.ravel().tolist()], dtype=object)


def _array_of(series: pl.Series) -> np.ndarray:
    if series.dtype.is_nested():
        try:
            return np.array(series.to_list())
        except ValueError as error:
            raise InvalidInput(f"reference: column '{series.name}' has rows of different lengths ({error})") from error
    return values_of(series)
