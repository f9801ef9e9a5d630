"""A slot in process that serves a small model of any kind, and a request of the inference protocol to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving_builders import AsgiClient
from tensor_models import Case, CaseReader, release_of
from tidegate.apps.slot import SlotApp, build
from tidegate.apps.slot_settings import SlotSettings
from tidegate.domain.datatypes import DATATYPES, TEXT
from tidegate.ports.inference_records import InferenceRecord, Selection
from tidegate.serving.records import InferenceLogFiles

INFER = "/v2/models/any/infer"


class Slot:
    def __init__(self, case: Case, tmp_path: Path, files: Mapping[str, bytes] | None = None, **more: Any) -> None:
        self.folder, self.logs = release_of(tmp_path / "releases", case, files or {}), tmp_path / "logs"
        settings = SlotSettings(self.folder, "any", "blue", 0, 0, "fake", self.logs, **more)
        self.slot: SlotApp = build(settings, lambda location, contract: CaseReader(case))
        self.client = AsgiClient(self.slot.app)

    def records(self) -> list[InferenceRecord]:
        self.slot.log.close()
        return list(InferenceLogFiles(self.logs, "any").read(Selection()))


def described(case: Case, binary: bool) -> tuple[list[dict[str, Any]], bytes]:
    tensors, content = [], b""
    for name, array in case.tensors.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": DATATYPES[array.dtype]}
        if binary:
            encoded = [text.encode() for text in array.ravel().tolist()] if array.dtype == TEXT else []
            chunk = b"".join(len(e).to_bytes(4, "little") + e for e in encoded) if array.dtype == TEXT else array.tobytes()
            tensor["parameters"] = {"binary_data_size": len(chunk)}
            content += chunk
        else:
            tensor["data"] = array.tolist()
        tensors.append(tensor)
    return tensors, content
