"""Adds Google's XML interface to fake-gcs-server, which has the JSON one: `python gcs_front.py PORT PROGRAM`.

Writes go through its JSON interface with the request's condition; everything else is passed through unchanged.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import socket
import sys
from contextlib import closing
from urllib.parse import quote, unquote

import aiohttp
from aiohttp import web
from yarl import URL

# linux/prctl.h
PR_SET_PDEATHSIG = 1
LEFT_OUT = {"host", "content-length", "transfer-encoding", "content-encoding", "connection"}


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Front:
    def __init__(self, behind: str) -> None:
        self._behind = behind

    async def handle(self, request: web.Request) -> web.StreamResponse:
        bucket, _, name = request.rel_url.raw_path.lstrip("/").partition("/")
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            if request.method == "PUT" and name:
                return await self._put(session, unquote(bucket), unquote(name), request)
            headers = {key: value for key, value in request.headers.items() if key.lower() not in LEFT_OUT}
            url = self._behind + str(request.rel_url)
            async with session.request(
                request.method, _as_it_is(url), headers=headers, data=await request.read()
            ) as answer:
                kept = {key: value for key, value in answer.headers.items() if key.lower() not in LEFT_OUT}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def _put(
        self, session: aiohttp.ClientSession, bucket: str, name: str, request: web.Request
    ) -> web.StreamResponse:
        query = {"uploadType": "media", "name": name}
        if (generation := request.headers.get("x-goog-if-generation-match")) is not None:
            query["ifGenerationMatch"] = generation
        pairs = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        url = f"{self._behind}/upload/storage/v1/b/{quote(bucket, safe='')}/o?{pairs}"
        async with session.post(_as_it_is(url), data=await request.read()) as answer:
            body = await answer.read()
            if answer.status != web.HTTPOk.status_code:
                return web.Response(status=answer.status, body=body)
            made = json.loads(body)
            headers = {"ETag": f'"{made["etag"]}"', "x-goog-generation": str(made["generation"])}
            return web.Response(headers=headers)


def _end_with_parent() -> None:
    """Let the kernel end the server with us, who are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _as_it_is(url: str):
    return URL(url, encoded=True)


async def main(port: int, program: str) -> None:
    behind = free_port()
    address = f"127.0.0.1:{behind}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(behind), "-backend", "memory"]
    server = await asyncio.create_subprocess_exec(
        program, *options, "-public-host", address, preexec_fn=_end_with_parent
    )
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", Front(f"http://{address}").handle)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", behind)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            break
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await server.wait()
    finally:
        if server.returncode is None:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
