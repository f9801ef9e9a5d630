"""A slot's process without a model: answers what the real one answers, and can be told to be faulty.

With `--fault` (a file `bad` in the release's folder) it answers 500 to live requests, and mirrored ones well, as a release does
that fails only under live traffic; a file `broken` keeps it from starting. A request whose body is `fail` is answered 500.
`GET /counts` says how many live and mirrored requests it got.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web


def command(project: object, replica: object) -> list[str]:
    """The supervisor's injectable slot command."""
    name = f"{replica.slot}-{replica.number}"  # type: ignore[attr-defined]
    port, release = str(replica.port), replica.release  # type: ignore[attr-defined]
    if (project.state / "releases" / release / "broken").exists():  # type: ignore[attr-defined]
        return [sys.executable, "-c", "import sys; sys.exit(print('error: release: model.onnx is damaged') or 6)"]
    fault = ["--fault"] if (project.state / "releases" / release / "bad").exists() else []  # type: ignore[attr-defined]
    return [sys.executable, str(Path(__file__).resolve()), "--port", port, "--release", release, "--name", name, *fault]


def application(release: str, name: str, fault: bool) -> web.Application:
    counts = {"live": 0, "mirrored": 0}

    async def predict(request: web.Request) -> web.Response:
        failing = fault or await request.read() == b"fail"
        shadow = "x-tidegate-shadow" in request.headers
        assert shadow == request.headers["host"].endswith("-shadow"), "both marks of a mirrored request"
        counts["mirrored" if shadow else "live"] += 1
        body = {"release": release, "replica": name, "path": request.path}
        return web.json_response(body, status=500 if failing and not shadow else 200, headers={"x-tidegate-release": release})

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": True}, headers={"x-tidegate-release": release})

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def count(_: web.Request) -> web.Response:
        return web.json_response(counts)

    app = web.Application()
    app.router.add_get("/readyz", ready)
    app.router.add_get("/livez", live)
    app.router.add_get("/counts", count)
    app.router.add_route("*", "/{tail:.*}", predict)
    return app


async def serve(port: int, release: str, name: str, fault: bool) -> None:
    runner = web.AppRunner(application(release, name, fault), access_log=None, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--release")
    parser.add_argument("--name")
    parser.add_argument("--fault", action="store_true")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.release, options.name, options.fault))
