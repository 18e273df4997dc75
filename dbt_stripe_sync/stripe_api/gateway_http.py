"""The HTTP under the SDK: no redirect is followed, nothing is read without a limit, and a wait is explained after 5 s.

The SDK's own aiohttp client follows redirects: a write that is answered 301, 302 or 303 becomes a read, whose 200 looks
as if it had been done, and one that is answered 307 or 308 takes the row's values to another host.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import stripe

from dbt_stripe_sync.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import SimpleNamespace

# Stripe's own clients wait that long for an answer.
ANSWER_SECONDS = 80.0
# For TCP and, where there is one, the proxy; and TLS on top of it.
CONNECT_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 60
# After this long without an answer, and then so often, a person is told what is being waited for.
PATIENCE_SECONDS = 5.0
REMINDER_SECONDS = 30.0
BUSY_SECONDS = 1.0
# A page of a hundred objects has a few MB; what is longer is not Stripe's, and would fill the memory.
MOST_BYTES = 64 * 1024 * 1024

log = logging.getLogger("dbt_stripe_sync.network")
_CONNECTING = "no connection to {host} after {seconds:.0f} s"
_WAITING = "connected to {host}, but no answer after {seconds:.0f} s"


class TooLongError(Exception):
    """An answer is longer than any of Stripe's."""


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Exchange:
    """One request while it is under way. `phase` says what is being waited for."""

    received: Received | None = None
    phase: str = _CONNECTING


_exchange: ContextVar[Exchange] = ContextVar("exchange")


@contextmanager
def listening() -> Iterator[Exchange]:
    """Hear what the next request of this task gets, as it is, before the SDK makes anything of it."""
    exchange = Exchange()
    token = _exchange.set(exchange)
    try:
        yield exchange
    finally:
        _exchange.reset(token)


class Transport(stripe.HTTPClient):
    """The SDK's HTTP client for one address. Made inside the event loop, which its connections are bound to."""

    name = "aiohttp"

    def __init__(self, address: str, *, is_local: bool, concurrency: int, timeout: float = ANSWER_SECONDS) -> None:
        """`timeout` is in seconds. Raises `ConfigError` where the proxy can't be used."""
        super().__init__()
        parts = urlsplit(address)
        self._host = parts.hostname or address
        # What is on this machine is reached without a proxy.
        self._proxy_url = None if is_local else find_proxy(address)
        connecting = min(timeout, CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # Certificates take a while to load, and `http://` needs none.
                limit=concurrency,
                ssl=_trusted() if parts.scheme == "https" else True,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
            ),
            timeout=aiohttp.ClientTimeout(total=timeout, connect=connecting, sock_connect=connecting),
            trace_configs=[_tracing()],
            # It would read ~/.netrc, too, and refuse the key that is sent beside what stands there.
            trust_env=False,
        )

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request, and read its answer up to `MOST_BYTES`."""
        exchange = _exchange.get()
        with self._patience(exchange):
            async with self._session.request(
                method,
                url,
                headers=headers,
                data=post_data.encode() if post_data is not None else None,
                allow_redirects=False,
                proxy=self._proxy_url,
                trace_request_ctx=exchange,
            ) as response:
                body = await _read(response)
        exchange.received = Received(response.status, response.headers, body)
        return body, response.status, response.headers

    def sleep_async(self, secs: float) -> asyncio.Future[None]:
        """Wait, which only the SDK's own retries ask for; they are off."""
        return asyncio.ensure_future(asyncio.sleep(secs))

    async def close_async(self) -> None:
        """Close the connections."""
        await self._session.close()

    @contextmanager
    def _patience(self, exchange: Exchange) -> Iterator[None]:
        """Say what is being waited for, while it takes long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer: asyncio.TimerHandle
        due: float

        def remind() -> None:
            nonlocal timer, due
            if loop.time() - due > BUSY_SECONDS:
                # It was this program that had no time to look: the answer may be there.
                due = loop.time() + PATIENCE_SECONDS
                timer = loop.call_at(due, remind)
                return
            said = exchange.phase.format(host=self._host, seconds=loop.time() - began)
            through = f" through the proxy {_shown(self._proxy_url)}" if self._proxy_url else ""
            _warn_once_a_while(f"still waiting: {said}{through}", time.monotonic())
            due = loop.time() + REMINDER_SECONDS
            timer = loop.call_at(due, remind)

        due = began + PATIENCE_SECONDS
        timer = loop.call_at(due, remind)
        try:
            yield
        finally:
            timer.cancel()


def remind_of_trouble(address: str, trouble: str, seconds: float) -> None:
    """Say why a request is sent again, once that has taken long."""
    if seconds >= PATIENCE_SECONDS:
        host = urlsplit(address).hostname or address
        _warn_once_a_while(f"still trying to reach {host} after {seconds:.0f} s: {trouble}", time.monotonic())


_said_at = float("-inf")


def _warn_once_a_while(text: str, now: float) -> None:
    """Many requests wait together: one of them speaks for all."""
    global _said_at  # noqa: PLW0603 - one process has one screen
    if now - _said_at >= PATIENCE_SECONDS:
        _said_at = now
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
    """The proxy that the environment names for an address (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY).

    Raises `ConfigError` where it is not one that can be used.
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
    """A proxy without its user and password."""
    parts = urlsplit(proxy)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _tracing() -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()

    async def connected(
        _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
    ) -> None:
        exchange: Exchange = context.trace_request_ctx
        exchange.phase = _WAITING

    config.on_request_headers_sent.append(connected)
    return config


def _trusted() -> ssl.SSLContext:
    """The system's certificates, which a company may have added to, and those that come with the SDK."""
    context = ssl.create_default_context()
    context.load_verify_locations(stripe.ca_bundle_path)
    return context
