"""The SDK's HTTP client: follows no redirects, limits what it reads, and explains waits of more than 5 s.

The SDK's own aiohttp client follows redirects. A write that is answered with 301, 302 or 303 would become a read, whose
200 looks like success. One that is answered with 307 or 308 would send the row's values to another host.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import stripe
from msgspec import Struct

from dbt_stripe_sync.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

# Stripe's own clients wait this long for an answer.
ANSWER_SECONDS = 80.0
# For TCP and, if there is one, the proxy, plus TLS.
CONNECT_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 60
# A wait is reported after this long without an answer, and then at this interval.
PATIENCE_SECONDS = 5.0
REMINDER_SECONDS = 30.0
BUSY_SECONDS = 1.0
# A page of a hundred objects has a few MB. A longer answer isn't Stripe's, and would fill the memory.
MOST_BYTES = 64 * 1024 * 1024

# The SDK's telemetry would send an id that it keeps in the home folder, and would fail without a home folder.
stripe.enable_telemetry = False

log = logging.getLogger("dbt_stripe_sync.network")
_CONNECTING = "no connection to {host} after {seconds:.0f} s"
_WAITING = "connected to {host}, but no answer after {seconds:.0f} s"


class TooLongError(Exception):
    """An answer is longer than any of Stripe's."""


class Received(Struct, frozen=True):
    """An answer as received."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Exchange(Struct, eq=False):
    """A request in progress. `phase` is what it waits for; at `due`, a message says so."""

    received: Received | None = None
    phase: str = _CONNECTING
    began: float = 0.0
    due: float = 0.0


_exchange: ContextVar[Exchange] = ContextVar("exchange")


@contextmanager
def listening() -> Iterator[Exchange]:
    """Capture the answer to the next request of this task, before the SDK processes it."""
    exchange = Exchange()
    token = _exchange.set(exchange)
    try:
        yield exchange
    finally:
        _exchange.reset(token)


class Transport(stripe.HTTPClient):
    """The SDK's HTTP client for one address.

    It must be created inside the event loop, because its connections are bound to it.
    """

    name = "aiohttp"

    def __init__(self, address: str, *, is_local: bool, concurrency: int, timeout: float = ANSWER_SECONDS) -> None:
        """Create the client. `timeout` is in seconds. Raises `ConfigError` if the proxy can't be used."""
        super().__init__()
        parts = urlsplit(address)
        self._host = parts.hostname or address
        self._loop = asyncio.get_running_loop()
        self._in_progress: set[Exchange] = set()
        self._timer: asyncio.TimerHandle | None = None
        # Addresses on this machine are reached without a proxy.
        self._proxy_url = None if is_local else find_proxy(address)
        connecting = min(timeout, CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=_Connector(
                # Loading certificates takes a while, and `http://` doesn't need them.
                limit=concurrency,
                ssl=_trusted() if parts.scheme == "https" else True,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=timeout, connect=connecting, sock_connect=connecting),
            # With this, aiohttp would also read ~/.netrc, and reject a key in addition to that.
            trust_env=False,
        )

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request, and read up to `MOST_BYTES` of its answer."""
        exchange = _exchange.get()
        self._begin(exchange)
        try:
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=post_data.encode() if post_data is not None else None,
                allow_redirects=False,
                proxy=self._proxy_url,
            ) as response:
                body = await _read(response)
        finally:
            self._in_progress.discard(exchange)
        exchange.received = Received(response.status, response.headers, body)
        return body, response.status, response.headers

    def sleep_async(self, secs: float) -> asyncio.Future[None]:
        """Wait. Only the SDK's own retries need this, and they are disabled."""
        return asyncio.ensure_future(asyncio.sleep(secs))

    async def close_async(self) -> None:
        """Close the connections."""
        if self._timer is not None:
            self._timer.cancel()
        await self._session.close()

    def _begin(self, exchange: Exchange) -> None:
        exchange.began = self._loop.time()
        exchange.due = exchange.began + PATIENCE_SECONDS
        self._in_progress.add(exchange)
        if self._timer is None:
            self._timer = self._loop.call_at(exchange.due, self._remind)

    def _remind(self) -> None:
        """Report what slow requests are waiting for. One timer serves all requests in progress."""
        now = self._loop.time()
        for exchange in self._in_progress:
            if exchange.due > now:
                continue
            if now - exchange.due > BUSY_SECONDS:
                # This program itself was busy, so the answer may already be there.
                exchange.due = now + PATIENCE_SECONDS
                continue
            said = exchange.phase.format(host=self._host, seconds=now - exchange.began)
            through = f" through the proxy {_shown(self._proxy_url)}" if self._proxy_url else ""
            _warn_occasionally(f"still waiting: {said}{through}", time.monotonic())
            exchange.due = now + REMINDER_SECONDS
        next_due = min((exchange.due for exchange in self._in_progress), default=None)
        self._timer = self._loop.call_at(next_due, self._remind) if next_due is not None else None


class _Connector(aiohttp.TCPConnector):
    """Records when a request gets its connection, so that messages can say what a long wait is for."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _exchange.get().phase = _WAITING
        return connection


def warn_of_retries(address: str, trouble: str, seconds: float) -> None:
    """Log why a request is retried, once the retries take long."""
    if seconds >= PATIENCE_SECONDS:
        host = urlsplit(address).hostname or address
        _warn_occasionally(f"still trying to reach {host} after {seconds:.0f} s: {trouble}", time.monotonic())


_warned_at = float("-inf")


def _warn_occasionally(text: str, now: float) -> None:
    """Log a warning unless there was one recently. Many requests may be waiting for the same reason."""
    global _warned_at  # noqa: PLW0603 - one warning at a time in the whole process
    if now - _warned_at >= PATIENCE_SECONDS:
        _warned_at = now
        log.warning(text)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, length = [], 0
    async for part in response.content.iter_any():
        length += len(part)
        if length > MOST_BYTES:
            raise TooLongError
        parts.append(part)
    return b"".join(parts)


def find_proxy(address: str) -> str | None:
    """Return the proxy that the environment names for an address, or None.

    The variables are HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.

    Raises `ConfigError` if the proxy can't be used.
    """
    parts = urlsplit(address)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or (parts.hostname and proxy_bypass(parts.hostname)):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        is_usable = urlsplit(proxy).scheme in {"http", "https"} and bool(urlsplit(proxy).hostname)
        _ = urlsplit(proxy).port
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(
            Problem(
                code="bad-proxy",
                summary=f"the proxy that the environment names for {parts.scheme} is not an HTTP proxy's address",
                hint="set HTTPS_PROXY to http://HOST:PORT, or add Stripe's host to NO_PROXY",
            )
        )
    return proxy


def _shown(proxy: str) -> str:
    """Return a proxy's address without its user and password."""
    parts = urlsplit(proxy)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _trusted() -> ssl.SSLContext:
    """Return a context that trusts the SDK's certificates and the system's, where a company may have added its own."""
    context = ssl.create_default_context()
    context.load_verify_locations(stripe.ca_bundle_path)
    return context
