"""Starts the sandbox: in a background thread of this process (`Sandbox`), or as the process itself (`serve`)."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from dbt_stripe_sync.sandbox.clock import Clock, MovableClock
from dbt_stripe_sync.sandbox.controls import PREFIX, handle_control
from dbt_stripe_sync.sandbox.datafile import DataFile
from dbt_stripe_sync.sandbox.errors import ACCOUNT
from dbt_stripe_sync.sandbox.origin import check_origin
from dbt_stripe_sync.sandbox.server import Front, RequestLine
from dbt_stripe_sync.sandbox.service import API_KEY, Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from dbt_stripe_sync.sandbox.faults import Fault
    from dbt_stripe_sync.sandbox.rates import RateLimits

T = TypeVar("T")

SEARCH_DELAY = 1.0
"""Seconds until search sees a change. Stripe says "under a minute", and mostly less (docs.stripe.com/search)."""

HOST = "127.0.0.1"
_STOP_SECONDS = 10.0
# On stop, requests in progress are dropped after this; 0 would wait forever.
_DROP_SECONDS = 0.05


class Sandbox:
    """A running sandbox. Use it as a context manager, or call `start` and `stop`. Every method is thread-safe.

    `port` 0 picks a free port. `data_file` keeps the sandbox's data between starts. If `rate_limits` is None, only
    injected faults answer 429. `clock` replaces the system clock, and `search_delay` is in seconds of that clock. With
    `require_payment_methods`, the sandbox refuses to charge a customer without a card, as Stripe does.

    Raises `ValueError` if `data_file` can't be opened or isn't a data file of the sandbox, and `OSError` if the port is
    taken.
    """

    api_key = API_KEY

    def __init__(
        self,
        *,
        port: int = 0,
        data_file: Path | str | None = None,
        rate_limits: RateLimits | None = None,
        clock: Clock | None = None,
        search_delay: float = SEARCH_DELAY,
        require_payment_methods: bool = False,
    ) -> None:
        self._port = port
        self._data = DataFile(Path(data_file)) if data_file is not None else None
        service = Service(
            clock=MovableClock(clock),
            limits=rate_limits,
            search_delay=search_delay,
            data=self._data,
            requires_payment_methods=require_payment_methods,
        )
        self._front = Front(service)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._failed: BaseException | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Serve from a background thread. Returns once requests are answered."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="stripe-sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed
        return self

    def stop(self) -> None:
        """Drop every connection and stop."""
        if self._loop is not None and self._stopping is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_STOP_SECONDS)
        self._loop = None

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{HOST}:{self._port}"

    def objects(self, kind: str, *, account: str = ACCOUNT, livemode: bool = False) -> list[dict[str, Any]]:
        """Return a resource's live objects (`customer`, `customer.tax_id`) as the API shows them, oldest first."""
        service = self._front.service
        return self._call(lambda: service.objects(kind, service.place(account, livemode=livemode)))

    def count(self, kind: str, *, account: str = ACCOUNT, livemode: bool = False) -> int:
        """Return the number of a resource's live objects."""
        service = self._front.service
        return self._call(lambda: service.count(kind, service.place(account, livemode=livemode)))

    def requests(self) -> list[RequestLine]:
        """Return every request so far, in order of arrival."""
        return self._call(self._front.requests)

    def writes(self) -> list[RequestLine]:
        """Return the requests that could have changed something."""
        return [line for line in self.requests() if line.is_write]

    def reset_requests(self) -> None:
        """Clear the request log."""
        self._call(self._front.reset_requests)

    def inject(self, fault: Fault) -> None:
        """Apply a fault to matching requests from now on."""
        self._call(lambda: self._front.faults.add(fault))

    def clear_faults(self) -> None:
        """Delete the pending faults."""
        self._call(self._front.faults.clear)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock forward. Search, idempotency keys, trials and periods follow."""
        self._call(lambda: self._front.service.advance(seconds))

    def _call(self, act: Callable[[], T]) -> T:
        if self._loop is None:
            return act()

        async def run() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready))
        except (OSError, OverflowError) as error:
            self._failed = error
        finally:
            ready.set()
            if self._data is not None:
                self._data.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stopping = asyncio.Event()
        async with _serving(self._front, self._port) as port:
            self._port = port
            self._loop = asyncio.get_running_loop()
            ready.set()
            await self._stopping.wait()


def serve(sandbox: Sandbox, announce: Callable[[str], None]) -> None:
    """Run until interrupted. `announce` is called with the URL once requests are answered. Raises `OSError`."""
    with contextlib.suppress(KeyboardInterrupt), sandbox:
        announce(sandbox.url)
        threading.Event().wait()


class _serving:  # noqa: N801 - used like a function
    def __init__(self, front: Front, port: int) -> None:
        self._front = front
        self._port = port

    async def __aenter__(self) -> int:
        front = self._front

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            refused = check_origin(request.headers)
            if refused is not None:
                return refused
            if request.path.startswith(PREFIX):
                return await handle_control(front, request)
            return await front.handle(request)

        self._runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=_DROP_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port, backlog=1024)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
