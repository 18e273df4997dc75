"""The HTTP side: the webhook, health, metrics, the status page, and the reports and logs of past syncs."""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
import sqlite3
from base64 import b64decode
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from dbt_stripe_sync.artifacts import PAGE, RESULTS
from dbt_stripe_sync.cloud.access import LOOPBACK
from dbt_stripe_sync.model.errors import ConfigError, Problem
from dbt_stripe_sync.serve.deliveries import Deliveries
from dbt_stripe_sync.serve.metrics import CONTENT_TYPE, render_metrics
from dbt_stripe_sync.serve.options import PASSWORD
from dbt_stripe_sync.serve.status_page import policy, render_status
from dbt_stripe_sync.serve.syncing import LOG, folder_of
from dbt_stripe_sync.serve.webhook import MOST_BYTES, BadEventError, is_signed, parse_event
from dbt_stripe_sync.serve.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dbt_stripe_sync.serve.options import ServeOptions
    from dbt_stripe_sync.serve.webhook import Event

WEBHOOK = "/webhooks/dbt-cloud"
BODY_SECONDS = 10.0
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
KINDS = {
    "report": (PAGE, "text/html"),
    "results": (RESULTS, "application/json"),
    "log": (LOG, "text/plain"),
}


def serve(options: ServeOptions, *, ready: Callable[[str], None], report: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    A running sync then finishes the calls in flight, and continues at the next start. `ready` is called with the
    address once the server answers. Raises `ConfigError`.
    """
    deliveries = Deliveries(options.folder)
    try:
        asyncio.run(_serve(options, deliveries, ready, report))
    finally:
        deliveries.close()


async def _serve(
    options: ServeOptions, deliveries: Deliveries, ready: Callable[[str], None], report: Callable[[str], None]
) -> None:
    requeued = deliveries.requeue_running()
    if requeued:
        report(f"{requeued:,} sync{'' if requeued == 1 else 's'} that the last stop interrupted will run again")
    worker = Worker(options, deliveries, report)
    front = Front(options, deliveries, worker)
    logging.getLogger("aiohttp.server").addFilter(_is_our_failure)
    runner = web.AppRunner(front.app(), access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            Problem(
                code="serve-address",
                summary=f"port {options.port} of {options.host} can't be used: {error.strerror}",
                hint="stop the process that uses it, or choose another port with `--port`",
            )
        ) from None
    work = asyncio.create_task(worker.work())
    front.is_working = lambda: not work.done()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, worker.stop)
    ready(_address(runner, options))
    try:
        await work
    finally:
        await runner.cleanup()


def _is_our_failure(record: logging.LogRecord) -> bool:
    """Whether a log record is about more than a request that is not HTTP, which scanners send and which gets a 400."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _address(runner: web.AppRunner, options: ServeOptions) -> str:
    port = runner.addresses[0][1]
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{port}"


class Front:
    """Answers requests. `rejected` counts those with a wrong signature or body since the start."""

    def __init__(self, options: ServeOptions, deliveries: Deliveries, worker: Worker) -> None:
        self._options = options
        self._deliveries = deliveries
        self._worker = worker
        self.is_working: Callable[[], bool] = lambda: False
        self.rejected = 0

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MOST_BYTES, middlewares=[_safe_headers])
        app.router.add_post(WEBHOOK, self._receive)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/", self._show_status)
        app.router.add_get(r"/runs/{number:\d{1,9}}/{kind:report|results|log}", self._show_run)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        try:
            body = await asyncio.wait_for(request.read(), BODY_SECONDS)
        except web.HTTPRequestEntityTooLarge:
            return self._reject(413, f"the body has more than {MOST_BYTES:,} bytes")
        except TimeoutError:
            return self._reject(408, "the body did not arrive in time")
        if not is_signed(body, request.headers.get("Authorization"), self._options.secret):
            return self._reject(401, "the signature is not that of the webhook's secret")
        try:
            event = parse_event(body)
        except BadEventError as error:
            return self._reject(400, str(error))
        try:
            return await self._take(event)
        except sqlite3.Error:
            # dbt Cloud sends it again: docs.getdbt.com/docs/deploy/webhooks.
            return web.json_response({"status": "error", "reason": "the queue can't be written"}, status=503)

    async def _take(self, event: Event) -> web.Response:
        reason = self._reason_to_ignore(event)
        if reason is not None:
            await asyncio.to_thread(self._deliveries.count_ignored)
            return web.json_response({"status": "ignored", "reason": reason})
        is_new = await asyncio.to_thread(self._deliveries.add, event)
        self._worker.wake()
        return web.json_response(
            {"status": "queued" if is_new else "duplicate", "id": event.id}, status=202 if is_new else 200
        )

    def _reason_to_ignore(self, event: Event) -> str | None:
        if not event.is_finished_run:
            return f"{event.kind or 'an event without a type'} {event.status}".strip() + " needs no sync"
        if event.account_id != self._options.access.account_id:
            return "the event is of another dbt Cloud account"
        if self._options.jobs and event.job_id not in self._options.jobs:
            return f"job {event.job_id} is not one of those that are synced"
        return None

    def _reject(self, status: int, reason: str) -> web.Response:
        self.rejected += 1
        return web.json_response({"status": "rejected", "reason": reason}, status=status)

    async def _health(self, _: web.Request) -> web.Response:
        try:
            waiting = await asyncio.to_thread(self._deliveries.waiting)
        except sqlite3.Error:
            waiting = None
        is_well = waiting is not None and self.is_working()
        return web.json_response(
            {"status": "ok" if is_well else "failing", "queued": waiting}, status=200 if is_well else 503
        )

    async def _metrics_page(self, request: web.Request) -> web.Response:
        self._check_reader(request)
        text = await asyncio.to_thread(render_metrics, self._deliveries, self.rejected)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _show_status(self, request: web.Request) -> web.Response:
        self._check_reader(request)
        page = await asyncio.to_thread(render_status, self._options, self._deliveries)
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": policy()})

    async def _show_run(self, request: web.Request) -> web.StreamResponse:
        self._check_reader(request)
        name, content_type = KINDS[request.match_info["kind"]]
        file = folder_of(self._options, int(request.match_info["number"])) / name
        if not file.is_file():
            raise web.HTTPNotFound(text="This report no longer exists.\n")
        return web.FileResponse(file, headers={"Content-Type": f"{content_type}; charset=utf-8"})

    def _check_reader(self, request: web.Request) -> None:
        """Check who reads reports, since they contain keys of rows: this machine, or a user with the password."""
        password = self._options.password
        if password is not None:
            if not _has_password(request.headers.get("Authorization"), password):
                raise web.HTTPUnauthorized(headers={"WWW-Authenticate": 'Basic realm="dbt-stripe-sync"'})
        elif not (self._options.is_loopback and _is_direct(request)):
            raise web.HTTPForbidden(text=f"Set {PASSWORD} to see this page from another machine.\n")


def _is_direct(request: web.Request) -> bool:
    """Whether the request comes from this machine: not through a proxy, nor from a site that rebinds its DNS name."""
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        return (urlsplit(f"//{request.host}").hostname or "") in LOOPBACK
    except ValueError:
        return False  # a `Host` that is no host


def _has_password(header: str | None, password: str) -> bool:
    scheme, _, encoded = (header or "").partition(" ")
    try:
        given = b64decode(encoded.strip(), validate=True).partition(b":")[2] if scheme.lower() == "basic" else b""
    except ValueError:
        given = b""
    return hmac.compare_digest(given, password.encode())


@web.middleware
async def _safe_headers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    answer: web.StreamResponse
    try:
        answer = await handler(request)
    except web.HTTPException as error:
        answer = error
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["X-Frame-Options"] = "DENY"
    if isinstance(answer, web.HTTPException):
        raise answer
    return answer
