"""A slot's process without a model: answers what the real one answers, and can be told to be faulty.

Its release's digest selects the behaviour: `...bad` answers 500, `...slow` takes 300 ms, `...unready` is never ready.
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
    return [sys.executable, str(Path(__file__).resolve()), "--port", port, "--release", release, "--name", name]


def application(release: str, name: str) -> web.Application:
    counts = {"live": 0, "mirrored": 0}

    async def predict(request: web.Request) -> web.Response:
        await request.read()
        shadow = "x-tidegate-shadow" in request.headers
        assert shadow == request.headers["host"].endswith("-shadow"), "both marks of a mirrored request"
        counts["mirrored" if shadow else "live"] += 1
        if "slow" in release:
            await asyncio.sleep(0.3)
        elif "hang" in request.query:
            await asyncio.sleep(float(request.query["hang"]))
        body = {"release": release, "replica": name, "path": request.path}
        return web.json_response(body, status=500 if "bad" in release else 200, headers={"x-tidegate-release": release})

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"ready": "unready" not in release}, status=503 if "unready" in release else 200)

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


async def serve(port: int, release: str, name: str) -> None:
    runner = web.AppRunner(application(release, name), access_log=None, shutdown_timeout=5)
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
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.release, options.name))
