"""The only module that calls Stripe: through the official SDK, paced, and with retries that can't act twice."""

from __future__ import annotations

import asyncio
import logging
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import stripe
from msgspec import Struct, field

from dbt_stripe_sync.model.calls import Account, Answer, Call, Usage, Verdict
from dbt_stripe_sync.model.errors import ReadLimitError
from dbt_stripe_sync.model.errors import StripeError as StripeProblem
from dbt_stripe_sync.model.lifecycle import IN_BULK
from dbt_stripe_sync.stripe_api.accounts import build_account
from dbt_stripe_sync.stripe_api.catalog import ONLY_LISTED, TEST_CLOCK, read_catalog
from dbt_stripe_sync.stripe_api.gateway_http import (
    ANSWER_SECONDS,
    TooLongError,
    Transport,
    listening,
    warn_of_retries,
)
from dbt_stripe_sync.stripe_api.genuine import ACCOUNT as ACCOUNT_ANSWER
from dbt_stripe_sync.stripe_api.genuine import Expectation, expect, expect_v2
from dbt_stripe_sync.stripe_api.keys import is_live, is_local, is_organization, is_stripe, mode_of
from dbt_stripe_sync.stripe_api.rate import Gate
from dbt_stripe_sync.stripe_api.replies import explain_no_reply, rate_reason, read_reply
from dbt_stripe_sync.stripe_api.retry import (
    LONGEST_TRY,
    MOST_ATTEMPTS,
    Reply,
    build_answer,
    describe_outage,
    is_outage,
    leaves_doubt,
    may_repeat,
    wait_seconds,
)
from dbt_stripe_sync.stripe_api.stream import EventStream
from dbt_stripe_sync.stripe_api.unreadable import endless_list, unreadable
from dbt_stripe_sync.stripe_api.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from stripe._base_address import BaseAddresses

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.params import Operation, Resource
    from dbt_stripe_sync.stripe_api.rate import RateLimits

# The largest page (docs.stripe.com/api/pagination).
MOST_LISTED = 100
ACCOUNT = "account.retrieve_current"
# Nothing has started yet, so a missing server is reported soon.
FIRST_ATTEMPTS = 4

# The SDK logs parameters at debug level, and they contain personal data.
logging.getLogger("stripe").setLevel(logging.WARNING)


# What the SDK raises or wraps when a connection fails or ends in the middle of an answer.
_NETWORK_ERRORS = (stripe.APIConnectionError, aiohttp.ClientError, asyncio.TimeoutError, OSError, TooLongError)


class Request(Struct, frozen=True, kw_only=True):
    """A request, however often it is sent. `options` are the SDK's; `expected` describes a valid answer."""

    endpoint: str
    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    expected: Expectation

    @property
    def is_read(self) -> bool:
        """Whether the request changes nothing."""
        return self.method == "get"

    @property
    def has_key(self) -> bool:
        """Whether sending the request again can't act twice."""
        return "idempotency_key" in self.options


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait for an answer, and how long to retry while Stripe can't be reached at all (both in seconds).

    `outage_seconds` counts from the first request that Stripe didn't answer. If it is None, each call is tried
    `MOST_ATTEMPTS` times.
    """

    answer_seconds: float = ANSWER_SECONDS
    outage_seconds: float | None = None


class Gateway:
    """Stripe's API; implements `engine.ports.Stripe`. No message contains the key."""

    def __init__(
        self,
        key: str,
        address: str,
        limits: RateLimits,
        clock: Clock,
        account: str | None = None,
        *,
        patience: Patience | None = None,
    ) -> None:
        """Create a gateway for a key and an address that `keys.py` accepts.

        `account` is the one in the settings. An organization's key acts for it, and a restricted key that can't read
        its own account is assumed to belong to it.
        """
        self._key = key
        self._address = address
        self._limits = limits
        self._clock = clock
        self._named_account = account
        self._patience = patience or Patience()
        # When the first request of the current outage failed.
        self._outage_since: float | None = None
        self._livemode = {"live": True, "test": False}.get(mode_of(key) or "")
        self._catalog = read_catalog()
        self._operations: dict[str, Operation] = {}
        self._gate: Gate | None = None
        self._transport: Transport | None = None
        self._client: stripe.StripeClient | None = None
        self._stream = EventStream(self, clock)
        self._requests = 0
        self._reads = 0
        self._most_reads = inf
        self._check_write: Callable[[], None] = lambda: None
        # The number of answers other than rate limits. As long as they arrive, the run continues.
        self._passed = 0
        self._clocks: tuple[str, ...] | None = None
        self._clocks_lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Gateway({self._address})"

    @property
    def requests(self) -> int:
        """The number of HTTP requests sent so far."""
        return self._requests

    @property
    def reads(self) -> int:
        """The number of read requests so far, including retries."""
        return self._reads

    @property
    def reads_left(self) -> float:
        """The number of further read requests that are allowed; infinity if there is no limit."""
        return self._most_reads - self._reads

    def allow_reads(self, most: float) -> None:
        """Allow at most `most` more read requests. The next one after them raises `ReadLimitError`."""
        self._most_reads = self._reads + most

    def check_before_writes(self, check: Callable[[], None]) -> None:
        """Register a function to call before each request that may change something.

        If it raises, the request isn't sent.
        """
        self._check_write = check

    async def close(self) -> None:
        """Close the connections."""
        await self._stream.close()
        if self._transport is not None:
            await self._transport.close_async()

    async def send(self, call: Call) -> Answer:
        """Send a call, and retry it under the same key as long as that is safe.

        Raises `LookupError` for an unknown operation, or if an id in its path is missing.
        """
        if call.operation in IN_BULK:
            return await self._stream.send(call)
        operation = self._operation(call)
        path, params = build_request(operation, call)
        options = {"idempotency_key": call.idempotency_key} if call.idempotency_key else {}
        expected = expect(call, operation, self._resource(call.resource), livemode=self._livemode)
        request = Request(
            endpoint=call.endpoint,
            method=operation.method,
            path=path,
            params=params,
            options=options,
            expected=expected,
        )
        return await self._exchange(request, in_doubt=call.repeated)

    async def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Yield every page of a list, newest object first. Raises `StripeError` if a page can't be read."""
        asked = dict(params)
        begun: set[str] = set()
        while True:
            answer = await self.send(Call(resource=resource, operation="list", params=asked))
            if answer.verdict is not Verdict.DONE:
                raise StripeProblem(unreadable(answer.failure, f"the list of `{resource}`", self._address))
            page: Sequence[Mapping[str, Any]] = answer.body["data"]
            if page:
                yield page
            if not answer.body["has_more"] or not page:
                return
            last = page[-1]["id"]
            if last in begun:
                raise StripeProblem(endless_list(resource, self._address))
            begun.add(last)
            asked["starting_after"] = last

    async def test_clocks(self) -> Sequence[str]:
        """Return the ids of the test clocks, read once; none in live mode, or if the key may not read them."""
        async with self._clocks_lock:
            if self._clocks is None:
                self._clocks = () if is_live(self._key) else await self._list_test_clocks()
        return self._clocks

    async def usage(self, event: Mapping[str, Any], start: int, end: int) -> Usage | None:
        """Return what an event's meter counted between two times, or None if it doesn't exist. Raises `StripeError`."""
        return await read_usage(self, event, start, end)

    async def account(self) -> Account:
        """Return the account that the key belongs to. Raises `StripeError`."""
        request = Request(endpoint=ACCOUNT, method="get", path="/v1/account", expected=ACCOUNT_ANSWER)
        answer = await self._exchange(request, most=FIRST_ATTEMPTS)
        return build_account(answer, named=self._named_account, key=self._key, address=self._address)

    async def post(
        self, endpoint: str, path: str, params: Mapping[str, Any], *, token: str | None = None, in_doubt: bool = False
    ) -> Answer:
        """Send a POST to API v2. With a session's `token`, it goes to the host for meter events."""
        options = {"idempotency_key": str(uuid4())}
        if token is not None:
            options |= {"api_key": token, "base": "meter_events"}
        expected = expect_v2(path, livemode=self._livemode)
        request = Request(
            endpoint=endpoint, method="post", path=path, params=params, options=options, expected=expected
        )
        return await self._exchange(request, in_doubt=in_doubt)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list_test_clocks(self) -> tuple[str, ...]:
        try:
            pages = self.pages(TEST_CLOCK.name, {"limit": MOST_LISTED})
            return tuple([str(clock["id"]) async for page in pages for clock in page])
        except StripeProblem as error:
            # A key without permission for test clocks isn't meant to use them.
            if error.problems[0].code == "stripe-permission":
                return ()
            raise

    def _resource(self, name: str) -> Resource:
        return ONLY_LISTED.get(name) or self._catalog.resources[name]

    def _operation(self, call: Call) -> Operation:
        operation = self._operations.get(call.endpoint)
        if operation is None:
            resource = ONLY_LISTED.get(call.resource) or self._catalog.resource(call.resource)
            operation = resource.operation(call.operation) if resource else None
            if operation is None:
                raise LookupError(call.endpoint)
            self._operations[call.endpoint] = operation
        return operation

    async def _exchange(self, request: Request, *, in_doubt: bool = False, most: int = MOST_ATTEMPTS) -> Answer:
        gate, client = self._open()
        began = self._clock.monotonic()
        attempts, failed_attempts = 0, 0
        while True:
            passed = self._passed
            async with gate.turn(request.endpoint) as left_at:
                if request.is_read:
                    self._count_read()
                else:
                    self._check_write()
                attempts += 1
                self._requests += 1
                reply = await _request(client, request)
            if reply.is_too_many:
                gate.refused(request.endpoint, rate_reason(reply), left_at)
                # It was rejected and nothing was done, so it is sent again as long as other calls succeed.
                failed_attempts = failed_attempts + 1 if self._passed == passed else 1
            else:
                failed_attempts += 1
                if reply.status is not None:
                    self._passed += 1
                    gate.accepted(request.endpoint)
            now = self._clock.monotonic()
            left = self._outage_left(reply, now) if most == MOST_ATTEMPTS else None
            late = now - began > LONGEST_TRY and not reply.is_too_many
            gives_up = (failed_attempts >= most or late) if left is None else left <= 0
            if gives_up or not may_repeat(reply, is_read=request.is_read, has_key=request.has_key):
                return build_answer(reply, is_read=request.is_read, in_doubt=in_doubt, attempts=attempts)
            in_doubt = in_doubt or leaves_doubt(reply)
            if is_outage(reply):
                warn_of_retries(self._address, describe_outage(reply), now - began)
            await self._clock.sleep(min(wait_seconds(failed_attempts), inf if left is None else left))

    def _outage_left(self, reply: Reply, now: float) -> float | None:
        """Return the seconds left to wait for an outage to end; None if there is no outage, or no limit."""
        if not is_outage(reply):
            self._outage_since = None
            return None
        if self._outage_since is None:
            self._outage_since = now
        longest = self._patience.outage_seconds
        return None if longest is None else self._outage_since + longest - now

    def _count_read(self) -> None:
        if self.reads_left <= 0:
            raise ReadLimitError
        self._reads += 1

    def _open(self) -> tuple[Gate, stripe.StripeClient]:
        # Created inside the event loop, since connections and locks are bound to it.
        if self._gate is None or self._client is None:
            self._transport = Transport(
                self._address,
                is_local=is_local(self._address),
                concurrency=self._limits.concurrency,
                timeout=self._patience.answer_seconds,
            )
            self._gate = Gate(self._limits, self._clock)
            self._client = stripe.StripeClient(
                self._key,
                # docs.stripe.com/keys/organization-api-keys: each request with such a key names the account that it
                # acts for.
                stripe_context=self._named_account if is_organization(self._key) else None,
                base_addresses=_addresses(self._address),
                http_client=self._transport,
                max_network_retries=0,
            )
        return self._gate, self._client


def build_request(operation: Operation, call: Call) -> tuple[str, dict[str, Any]]:
    """Return the path with its ids filled in, and the remaining parameters.

    The call's target is the last id in the path. Raises `LookupError` if an id is missing.
    """
    params = {name: value for name, value in call.params.items() if value is not None}
    names = list(operation.path_params)
    ids: dict[str, Any] = {}
    if call.target is not None and names:
        ids[names.pop()] = call.target
    for name in names:
        ids[name] = params.pop(name)
    if not ids:
        return operation.path, params
    return operation.path.format(**{name: quote(str(value), safe="") for name, value in ids.items()}), params


async def _request(client: stripe.StripeClient, request: Request) -> Reply:
    """Send a request once. The SDK builds the request, but the answer is read here, as received."""
    with listening() as exchange:
        try:
            await client.raw_request_async(request.method, request.path, **request.params, **request.options)
        except Exception as error:
            # Once an answer was received, the SDK's own error doesn't matter.
            if exchange.received is None:
                if not isinstance(error, _NETWORK_ERRORS):
                    raise
                is_wrapped = isinstance(error, stripe.APIConnectionError)
                return explain_no_reply((error.__cause__ or error) if is_wrapped else error)
    if exchange.received is None:
        raise LookupError(request.path)
    return read_reply(exchange.received, request.expected)


def _addresses(base: str) -> BaseAddresses:
    """Return the address of each of Stripe's hosts, for an address that `keys.py` accepts.

    Stripe has a separate host for streamed meter events, which the SDK knows. Any other address replaces both, so a
    session's token goes only where the key goes.
    """
    return {"api": base} if is_stripe(base) else {"api": base, "meter_events": base}
