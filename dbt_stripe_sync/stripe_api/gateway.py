"""The only file that calls Stripe: through the official SDK, paced, and with retries that can't act twice."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import stripe

from dbt_stripe_sync.model.calls import Account, Answer, Call, StripeFailure, Verdict
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.errors import StripeError as StripeProblem
from dbt_stripe_sync.model.lifecycle import IN_BULK
from dbt_stripe_sync.stripe_api.catalog import TEST_CLOCK, read_catalog
from dbt_stripe_sync.stripe_api.keys import is_live, is_local, is_stripe
from dbt_stripe_sync.stripe_api.rate import Gate
from dbt_stripe_sync.stripe_api.retry import (
    FORBIDDEN,
    LONGEST_TRY,
    MOST_ATTEMPTS,
    TOO_MANY,
    UNAUTHORIZED,
    Reply,
    build_answer,
    leaves_doubt,
    may_repeat,
    wait_seconds,
)
from dbt_stripe_sync.stripe_api.sdk import api_version
from dbt_stripe_sync.stripe_api.stream import EventStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from stripe._base_address import BaseAddresses

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.params import Operation
    from dbt_stripe_sync.stripe_api.rate import RateLimits

# Stripe's own clients wait that long.
TIMEOUT_SECONDS = 80.0
CONNECT_SECONDS = 15.0
KEEP_ALIVE = 60
# docs.stripe.com/api/pagination: the most that a page takes.
MOST_LISTED = 100
ACCOUNT = "account.retrieve_current"

# The SDK logs parameters at debug level, and they hold people's data.
logging.getLogger("stripe").setLevel(logging.WARNING)


class Gateway:
    """Stripe's API. Implements `engine.ports.Stripe`. Its key is in none of its texts."""

    def __init__(
        self, key: str, address: str, limits: RateLimits, clock: Clock, *, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """`key` and `address` are those that `keys.py` lets pass; `timeout` is in seconds."""
        self._key = key
        self._address = address
        self._limits = limits
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, CONNECT_SECONDS))
        self._catalog = read_catalog()
        self._operations: dict[str, Operation] = {}
        self._gate: Gate | None = None
        self._session: aiohttp.ClientSession | None = None
        self._client: stripe.StripeClient | None = None
        self._stream = EventStream(self, clock)
        self._requests = 0
        self._clocks: tuple[str, ...] | None = None
        self._clocks_asked = asyncio.Lock()

    def __repr__(self) -> str:
        return f"Gateway({self._address})"

    @property
    def requests(self) -> int:
        """HTTP requests sent so far."""
        return self._requests

    async def close(self) -> None:
        """Close the connections."""
        await self._stream.close()
        if self._session is not None:
            await self._session.close()

    async def send(self, call: Call) -> Answer:
        """Send one call, and again under the same key while that is safe.

        Raises `LookupError` for an operation that the catalogue lacks or for an id that its path needs.
        """
        if call.operation in IN_BULK:
            return await self._stream.send(call)
        operation = self._operation(call)
        path, params = build_request(operation, call)
        options = {"idempotency_key": call.idempotency_key} if call.idempotency_key else {}
        return await self._exchange(call.endpoint, operation.method, path, params, options, in_doubt=call.repeated)

    async def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Every page of a list, newest object first. Raises `StripeError` where a page can't be had."""
        asked = dict(params)
        while True:
            answer = await self.send(Call(resource=resource, operation="list", params=asked))
            if answer.verdict is not Verdict.DONE:
                raise StripeProblem(_unreadable(answer.failure, f"the list of `{resource}`", self._address))
            page: Sequence[Mapping[str, Any]] = answer.body.get("data") or ()
            if page:
                yield page
            if not answer.body.get("has_more") or not page:
                return
            asked["starting_after"] = page[-1]["id"]

    async def test_clocks(self) -> Sequence[str]:
        """The ids of the test clocks, asked for once; none in live mode, or where the key may not read them."""
        async with self._clocks_asked:
            if self._clocks is None:
                self._clocks = () if is_live(self._key) else await self._list_test_clocks()
        return self._clocks

    async def account(self) -> Account:
        """Whose key it is. Raises `StripeError`."""
        answer = await self._exchange(ACCOUNT, "get", "/v1/account", {}, {})
        failure = answer.failure
        livemode = is_live(self._key)
        if failure is not None and failure.status == FORBIDDEN:
            # A restricted key need not be allowed to read its account; then it stands for the account itself.
            digest = hashlib.sha256(self._key.encode()).hexdigest()[:16]
            return Account(id=f"key_{digest}", livemode=livemode, api_version=api_version())
        account_id = answer.body.get("id")
        if answer.verdict is not Verdict.DONE or not isinstance(account_id, str):
            raise StripeProblem(_unreadable(failure, "the account", self._address))
        settings = answer.body.get("settings") or {}
        name = (settings.get("dashboard") or {}).get("display_name")
        return Account(id=account_id, livemode=livemode, name=name, api_version=api_version())

    async def post(
        self, endpoint: str, path: str, params: Mapping[str, Any], *, token: str | None = None, in_doubt: bool = False
    ) -> Answer:
        """One POST of API v2. With a session's `token` it goes to the host that takes meter events."""
        options = {"idempotency_key": str(uuid4())}
        if token is not None:
            options |= {"api_key": token, "base": "meter_events"}
        return await self._exchange(endpoint, "post", path, params, options, in_doubt=in_doubt)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list_test_clocks(self) -> tuple[str, ...]:
        try:
            pages = self.pages(TEST_CLOCK.name, {"limit": MOST_LISTED})
            return tuple([str(clock["id"]) async for page in pages for clock in page])
        except StripeProblem as error:
            # Whoever made the key had no clocks in mind.
            if error.problems[0].code == "stripe-permission":
                return ()
            raise

    def _operation(self, call: Call) -> Operation:
        operation = self._operations.get(call.endpoint)
        if operation is None:
            resource = TEST_CLOCK if call.resource == TEST_CLOCK.name else self._catalog.resource(call.resource)
            operation = resource.operation(call.operation) if resource else None
            if operation is None:
                raise LookupError(call.endpoint)
            self._operations[call.endpoint] = operation
        return operation

    async def _exchange(
        self,
        endpoint: str,
        method: str,
        path: str,
        params: Mapping[str, Any],
        options: Mapping[str, str],
        *,
        in_doubt: bool = False,
    ) -> Answer:
        gate, client = self._open()
        is_read = method == "get"
        has_key = "idempotency_key" in options
        began = self._clock.monotonic()
        attempts = 0
        while True:
            async with gate.turn(endpoint) as left_at:
                attempts += 1
                self._requests += 1
                reply = await _request(client, method, path, params, options)
            if reply.status == TOO_MANY:
                gate.refused(endpoint, _reason(reply), left_at)
            elif reply.status is not None:
                gate.accepted(endpoint)
            late = self._clock.monotonic() - began > LONGEST_TRY
            if attempts >= MOST_ATTEMPTS or late or not may_repeat(reply, is_read=is_read, has_key=has_key):
                return build_answer(reply, is_read=is_read, in_doubt=in_doubt, attempts=attempts)
            in_doubt = in_doubt or leaves_doubt(reply)
            await self._clock.sleep(wait_seconds(attempts))

    def _open(self) -> tuple[Gate, stripe.StripeClient]:
        # Made inside the event loop, which connections and locks are bound to.
        if self._gate is None or self._client is None:
            local = is_local(self._address)
            connector = aiohttp.TCPConnector(
                limit=self._limits.concurrency, ssl=True if local else _trusted(), keepalive_timeout=KEEP_ALIVE
            )
            # A company's proxy is found in HTTPS_PROXY, and what is on this machine is reached without one.
            self._session = aiohttp.ClientSession(connector=connector, trust_env=not local)
            self._gate = Gate(self._limits, self._clock)
            self._client = stripe.StripeClient(
                self._key,
                base_addresses=_addresses(self._address),
                http_client=stripe.AIOHTTPClient(timeout=self._timeout, session=self._session),
                max_network_retries=0,
            )
        return self._gate, self._client


def build_request(operation: Operation, call: Call) -> tuple[str, dict[str, Any]]:
    """The path with its ids, and the parameters that are left. The target is the last id of the path.

    Raises `LookupError` where an id of the path is missing.
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


async def _request(
    client: stripe.StripeClient, method: str, path: str, params: Mapping[str, Any], options: Mapping[str, str]
) -> Reply:
    try:
        response = await client.raw_request_async(method, path, **params, **options)
    except stripe.APIConnectionError as error:
        return _no_reply(error.__cause__ or error)
    except stripe.StripeError as error:
        return _reply(error.http_status, error.json_body, error.headers or {})
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        # The SDK lets these through where a connection ends in the middle of an answer.
        return _no_reply(error)
    return _reply(response.code, response.data, response.headers)


def _addresses(base: str) -> BaseAddresses:
    """Where calls to each of Stripe's hosts go, for an address that `keys.py` lets pass.

    Stripe takes streamed meter events at a host of its own, which the SDK knows. What stands in for Stripe stands in
    for both, so that a session's token goes nowhere else than the key.
    """
    return {"api": base} if is_stripe(base) else {"api": base, "meter_events": base}


def _reply(status: int | None, body: object, headers: Mapping[str, str]) -> Reply:
    lowercase = {name.lower(): value for name, value in headers.items()}
    if not isinstance(body, dict):
        return Reply(status=status, headers=lowercase, is_json=False)
    return Reply(status=status, body=body, headers=lowercase)


def _no_reply(error: BaseException) -> Reply:
    unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        trouble = "its name is not known"
    elif isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        trouble = "its certificate is not trusted"
    elif isinstance(error, aiohttp.ClientConnectorError):
        trouble = (error.os_error.strerror or "it can't be reached").lower()
    elif isinstance(error, asyncio.TimeoutError):
        trouble = "no answer in time"
    elif isinstance(error, aiohttp.ClientError | OSError):
        trouble = "the connection was cut"
    else:
        trouble = type(error).__name__
    return Reply(status=None, sent=not unsent, trouble=trouble)


def _reason(reply: Reply) -> str | None:
    """What a 429 says of our pace. A server that names no reason for a plain `rate_limit` means the endpoint."""
    reason = reply.headers.get("stripe-rate-limited-reason")
    # API v1 has it as the error's code, v2 as its type.
    is_plain = "rate_limit" in {reply.error.get("code"), reply.error.get("type")}
    return reason or ("endpoint-rate" if is_plain else None)


def _trusted() -> ssl.SSLContext:
    """The system's certificates, which a company may have added to, and those that come with the SDK."""
    context = ssl.create_default_context()
    context.load_verify_locations(stripe.ca_bundle_path)
    return context


def _unreadable(failure: StripeFailure | None, what: str, address: str) -> Problem:
    """Why something could not be read."""
    status = failure.status if failure else None
    if status == UNAUTHORIZED:
        return Problem(
            code="stripe-auth",
            summary="Stripe does not know the key",
            hint="take a current one from https://dashboard.stripe.com/apikeys; it may have been rolled or revoked",
        )
    if status == FORBIDDEN:
        return Problem(
            code="stripe-permission",
            summary=f"the key may not read {what}",
            hint="give the restricted key that permission at https://dashboard.stripe.com/apikeys",
        )
    if status is None or (failure and failure.type == "not_json"):
        why = f": {failure.message}" if failure and failure.message else ""
        return Problem(
            code="stripe-unreachable",
            summary=f"{address} can't be reached, or does not answer as Stripe does{why}",
            hint="check the network and its proxy (HTTPS_PROXY); for the sandbox, start `dbt-stripe-sync sandbox`",
        )
    return Problem(
        code="stripe-read-failed",
        summary=f"{what} could not be read: Stripe answered {status}",
        hint="run it again; https://status.stripe.com says whether Stripe has trouble",
    )
