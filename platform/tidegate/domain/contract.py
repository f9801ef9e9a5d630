"""The contract of a model: its key, the features it reads and the tensors it takes.

A release carries it as `features/features.json` (CONTRACT_FORMAT). A key that a reader does not know decides what the model is
given, so none may be ignored. A field that came later is not written while it has its default: a contract that says what an
earlier version could say has the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tidegate.domain.digests import digest_of
from tidegate.domain.formats import Format, Unknown, added, document
from tidegate.domain.keys import TEXT, JoinKey, Key

CONTRACT_FORMAT = Format("feature contract", Unknown.REFUSED)
FEATURES, NUMBER = "features", "FP32"  # the tensor that holds all features of a model that has no contract of tensors
NOT_GIVEN = ("request_types", "ttl")  # what changes nothing of the tensors that the model is given


@dataclass(frozen=True)
class InputTensor:
    """An input of the model: datatype by the Open Inference Protocol's name, shape with -1 for a dimension of any size.

    `features` are the names in the contract's vector that it is assembled from, in this order; without any it is asked for in
    the request, under its name.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureContract:
    """What a model reads: stored features by view, on-demand features, and the order of the vector.

    `stored` maps a view's name to its features; `request` names the request inputs of the on-demand transformation (numbers;
    `request_types` may say of which datatype, by the Open Inference Protocol's names); `on_demand` is `module.py:function`, or
    None, with `derived` its outputs. `vector` lists all features in the model's input order, each named `view__feature`, or
    plainly for derived ones; `types` has the datatype of those that are no plain numbers (BYTES, BOOL, INT64, ...).

    `entity` is the only join key's name where it is a String, and labels the key otherwise; `join_keys` are the parts of any
    other key, `view_keys` the join keys of a view that has a part of the key only. `inputs` are the model's tensors, where they
    are not one tensor `features` of the whole vector. `ttl` has the seconds after which a view's value is missing, where there
    is a limit. A model without features has no key, no view and an empty vector.
    """

    service: str
    entity: str
    stored: Mapping[str, tuple[str, ...]]
    vector: tuple[str, ...]
    request: tuple[str, ...] = ()
    on_demand: str | None = None
    derived: tuple[str, ...] = ()
    request_types: Mapping[str, str] = added(default_factory=dict)
    join_keys: tuple[JoinKey, ...] = added(default=())
    types: Mapping[str, str] = added(default_factory=dict)
    inputs: tuple[InputTensor, ...] = added(default=())
    ttl: Mapping[str, float] = added(default_factory=dict)
    view_keys: Mapping[str, tuple[str, ...]] = added(default_factory=dict)

    @cached_property
    def key(self) -> Key:
        """The join keys, in the order of an entity's parts; none for a model without features."""
        return self.join_keys or ((JoinKey(self.entity),) if self.entity else ())

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.key)

    def key_of(self, view: str) -> Key:
        """The join keys of a view's rows."""
        names = self.view_keys.get(view)
        return self.key if names is None else tuple(part for part in self.key if part.name in names)

    @cached_property
    def tensors(self) -> tuple[InputTensor, ...]:
        """Every input of the model."""
        return self.inputs or (InputTensor(FEATURES, NUMBER, (-1, len(self.vector)), self.vector),)

    @cached_property
    def asked(self) -> tuple[InputTensor, ...]:
        """The inputs that requests have to bring."""
        return tuple(each for each in self.tensors if not each.features)

    @cached_property
    def read(self) -> frozenset[str]:
        """The features that an input of the model is made of: a service may have more than the model takes."""
        return frozenset(name for tensor in self.tensors for name in tensor.features)

    @cached_property
    def stored_names(self) -> tuple[str, ...]:
        """`view__feature` for each stored feature."""
        return tuple(f"{view}__{name}" for view, names in self.stored.items() for name in names)

    @cached_property
    def stored_texts(self) -> tuple[str, ...]:
        """Those that are texts."""
        return tuple(name for name in self.stored_names if self.types.get(name) == TEXT)

    @cached_property
    def stored_numbers(self) -> tuple[str, ...]:
        """Those that are none."""
        return tuple(name for name in self.stored_names if self.types.get(name) != TEXT)

    @property
    def schema_digest(self) -> str:
        """Digest of what the model is given, of a contract that was made here; one that was read is compared as a value."""
        return digest_of({name: value for name, value in self.to_json().items() if name not in NOT_GIVEN})

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = document(self)
        return value

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> FeatureContract:
        """Raises IntegrityError that names `where`."""
        return CONTRACT_FORMAT.convert(CONTRACT_FORMAT.parse(content, where), cls, where)


def keyed(names_and_types: Mapping[str, str]) -> tuple[str, tuple[JoinKey, ...]]:
    """The fields `entity` and `join_keys` of a key, as they are written: join keys only where `entity` cannot say them."""
    key = tuple(JoinKey(name, datatype) for name, datatype in names_and_types.items())
    label = ",".join(names_and_types)
    return label, () if key in ((), (JoinKey(label),)) else key
