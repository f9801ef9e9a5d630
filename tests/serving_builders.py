"""A small release on disk and an online store in memory, for tests of what serves them.

The model is y[:, k] = (k + 1) * (units_lag_7 + 10 * horizon) + 0.5 * is_weekend, so a test can say what must come out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from release_signing import sign_release
from tidegate.domain.contract import FeatureContract
from tidegate.domain.digests import canonical_json
from tidegate.domain.errors import Unavailable
from tidegate.domain.release import Lineage, ReleaseManifest
from tidegate.files.digests import folder_files
from tidegate.ports.features import OnlineRows, Watermark

DAY = 86_400_000_000
T0 = 15_000 * DAY  # 2011-01-26, 00:00 UTC
ON_DEMAND = """
import numpy as np

def calendar(columns):
    day = columns["event_timestamp"] // 86_400_000_000 + columns["horizon"] - 1
    return {"is_weekend": ((day + 3) % 7 >= 5).astype(np.float64), "horizon": columns["horizon"]}
"""
CONTRACT = FeatureContract(
    service="demand",
    entity="sku",
    stored={"sku_sales": ("units_lag_7", "price")},
    vector=("sku_sales__units_lag_7", "sku_sales__price", "horizon", "is_weekend"),
    request=("horizon",),
    on_demand="calendar_features.py:calendar",
    derived=("is_weekend", "horizon"),
)


def onnx_model(features: int = 4, scale: float = 1.0) -> bytes:
    """quantiles = features @ W, float32 [n, 3]."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((features, 3), dtype=np.float32)
    for k in range(3):
        weights[0, k], weights[2, k], weights[3, k] = scale * (k + 1), 10 * scale * (k + 1), 0.5
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["quantiles"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def build_release(
    releases: Path,
    serving: Mapping[str, str] | None = None,
    *,
    model: str = "demand",
    onnx: bytes | None = None,
    version: str = "1",
) -> Path:
    """Write `releases/<digest>/` with the given serving files and return it."""
    staging = releases / "staging"
    files = {
        "model/model.onnx": onnx or onnx_model(),
        "features/features.json": canonical_json(CONTRACT.to_json()),
        "features/calendar_features.py": ON_DEMAND.encode(),
        "monitor.json": b"{}",
        **{f"serving/{name}": text.encode() for name, text in (serving or {}).items()},
    }
    for name, content in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    lineage = Lineage("0" * 64, "1" * 64, "2" * 64, "3" * 64, "run", "2011-01-26T00:00:00+00:00")
    manifest = ReleaseManifest(model, version, CONTRACT.service, CONTRACT.schema_digest, lineage, folder_files(staging))
    (staging / "manifest.json").write_bytes(manifest.to_bytes())
    folder = releases / manifest.digest
    staging.rename(folder)
    sign_release(folder)
    assert json.loads((folder / "manifest.json").read_text())["model"] == model
    return folder


class FakeReader:
    """SKU `S<i>` has units_lag_7 = i and price = i / 4; `reads` counts round trips, `down` makes the store unreachable."""

    def __init__(self, skus: int = 200, event_time: int = T0) -> None:
        self.event_time = event_time
        self._known = {f"S{i}": i for i in range(skus)}
        self.reads, self.down, self.closed = 0, False, False
        self.mark: Watermark | None = None

    def read(self, entities: Sequence[str]) -> OnlineRows:
        self.reads += 1
        self.ping()
        numbers = [self._known.get(name, -1) for name in entities]
        values = np.array([[n, n / 4] for n in numbers], dtype=np.float64)
        found = np.array([n >= 0 for n in numbers])
        return OnlineRows(values, np.full(len(numbers), self.event_time, dtype=np.int64), found)

    def ping(self) -> None:
        if self.down:
            raise Unavailable("online store fake: cannot be reached")

    def watermark(self) -> Watermark | None:
        return self.mark

    def expired(self) -> dict[str, int]:
        return {}

    def close(self) -> None:
        self.closed = True


DEMAND = Path(__file__).resolve().parents[1] / "serving" / "demand"


def demand_release(releases: Path, **extra: str) -> Path:
    """A release with the project's own demand service; `extra` are further serving files by stem."""
    files = {name: (DEMAND / name).read_text() for name in ("service.py", "bentofile.yaml")}
    return build_release(releases, files | {f"{stem}.py": text for stem, text in extra.items()})


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class AsgiClient:
    """Calls an ASGI application in process; `chunks` sends the body in several messages."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        chunks: int = 1,
    ) -> Reply:
        return asyncio.run(self._request(method, path, body, dict(headers or {}), chunks))

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None, chunks: int = 1) -> Reply:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.request("POST", path, body, {"content-type": "application/json", **(headers or {})}, chunks)

    async def _request(self, method: str, path: str, body: bytes, headers: dict[str, str], chunks: int) -> Reply:
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        if body and chunks == 1:
            raw.append((b"content-length", str(len(body)).encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": raw,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        size = -(-len(body) // chunks) or 1
        parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
        messages = [{"type": "http.request", "body": p, "more_body": i < len(parts) - 1} for i, p in enumerate(parts)]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(3600)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        start = sent[0]
        answered = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], answered, b"".join(m.get("body", b"") for m in sent[1:]))
