"""The only file that calls Stripe: through the official SDK, paced, and with retries that can't act twice."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import stripe

from dbt_stripe_sync.errors import Problem
from dbt_stripe_sync.errors import StripeError as StripeProblem
from dbt_stripe_sync.stripe_api.calls import Account, Answer, Call, StripeFailure, Verdict
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.keys import is_live
from dbt_stripe_sync.stripe_api.rate import Pacer
from dbt_stripe_sync.stripe_api.sdk import api_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from dbt_stripe_sync.stripe_api.catalog import Operation
    from dbt_stripe_sync.stripe_api.ports import Clock
    from dbt_stripe_sync.stripe_api.rate import RateLimits

TIMEOUT = aiohttp.ClientTimeout(total=80, connect=15)
MOST_ATTEMPTS = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
TOO_MANY = 429
CONFLICT = 409
SERVER_ERROR = 500
UNAUTHORIZED = 401
FORBIDDEN = 403

# The SDK logs parameters at debug level, and they hold people's data.
logging.getLogger("stripe").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class _Reply:
    """One HTTP answer, or none (`status` is None): `sent` says whether the request may have reached Stripe."""

    status: int | None
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    sent: bool = True
    is_json: bool = True
    error: str | None = None


class Gateway:
    """Stripe's API. Implements `engine.ports.Stripe`. Its key is in none of its texts."""

    def __init__(self, key: str, address: str, limits: RateLimits, clock: Clock) -> None:
        self._clock = clock
        self._limits = limits
        self._livemode = is_live(key)
        self._key_digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._address = address
        self._session: aiohttp.ClientSession | None = None
        self._key = key
        self._client: stripe.StripeClient | None = None
        self._pacer = Pacer(limits, clock)
        self._places = asyncio.Semaphore(limits.concurrency)
        self._catalog = read_catalog()
        self._requests = 0

    def __repr__(self) -> str:
        return f"Gateway({self._address})"

    @property
    def requests(self) -> int:
        """HTTP requests sent so far."""
        return self._requests

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def send(self, call: Call) -> Answer:
        """Send one call, and again under the same key while that is safe."""
        operation = self._operation(call)
        path, params = _split(operation, call)
        attempts = 0
        while True:
            async with self._places:
                await self._pacer.acquire(call.endpoint)
                attempts += 1
                reply = await self._request(operation.method, path, params, call.idempotency_key)
            self._learn(call.endpoint, reply)
            if attempts < MOST_ATTEMPTS and _may_repeat(operation, call, reply):
                await self._clock.sleep(_wait(attempts))
                continue
            return _answer(operation, reply, attempts)

    async def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Every page of a list, newest object first. Raises `StripeError` where a page can't be had."""
        asked = dict(params)
        while True:
            answer = await self.send(Call(resource=resource, operation="list", params=asked))
            if answer.verdict is not Verdict.DONE:
                raise StripeProblem(_unreachable(answer.failure, f"the list of {resource}s", self._address))
            page: Sequence[Mapping[str, Any]] = answer.body.get("data", ())
            if page:
                yield page
            if not answer.body.get("has_more") or not page:
                return
            asked["starting_after"] = page[-1]["id"]

    async def account(self) -> Account:
        """Whose key it is. Raises `StripeError`."""
        reply = await self._retried("get", "/v1/account")
        if reply.status == FORBIDDEN:
            # A restricted key need not be allowed to read its account; then it stands for the account itself.
            return Account(id=f"key_{self._key_digest}", livemode=self._livemode, api_version=api_version())
        if reply.status is None or reply.status >= 400:  # noqa: PLR2004 - HTTP's own boundary
            raise StripeProblem(_unreachable(_failure(reply), "the account", self._address))
        settings = reply.body.get("settings") or {}
        name = (settings.get("dashboard") or {}).get("display_name")
        return Account(id=str(reply.body.get("id")), livemode=self._livemode, name=name, api_version=api_version())

    async def _retried(self, method: str, path: str) -> _Reply:
        for attempt in range(1, 4):
            reply = await self._request(method, path, {}, None)
            if reply.status is not None and reply.status != TOO_MANY and reply.status < SERVER_ERROR:
                break
            if attempt < 3:  # noqa: PLR2004 - three tries
                await self._clock.sleep(_wait(attempt))
        return reply

    def _operation(self, call: Call) -> Operation:
        resource = self._catalog.resource(call.resource)
        operation = resource.operation(call.operation) if resource else None
        if operation is None:
            raise LookupError(call.endpoint)
        return operation

    async def _request(self, method: str, path: str, params: Mapping[str, Any], key: str | None) -> _Reply:
        client = self._open()
        self._requests += 1
        options: dict[str, Any] = {"idempotency_key": key} if key else {}
        try:
            response = await client.raw_request_async(method, path, **params, **options)
        except stripe.APIConnectionError as error:
            cause = error.__cause__
            sent = not isinstance(cause, aiohttp.ClientConnectorError)
            return _Reply(None, {}, {}, sent=sent, error=type(cause or error).__name__)
        except stripe.StripeError as error:
            body = error.json_body if isinstance(error.json_body, dict) else {}
            is_json = bool(body) or not error.http_body
            return _Reply(error.http_status, body, dict(error.headers or {}), is_json=is_json)
        data = response.data if isinstance(response.data, dict) else {}
        return _Reply(response.code, data, dict(response.headers))

    def _open(self) -> stripe.StripeClient:
        if self._client is None:
            # Made inside the event loop, which aiohttp binds its connections to.
            connector = aiohttp.TCPConnector(limit=self._limits.concurrency, ssl=True, keepalive_timeout=60)
            self._session = aiohttp.ClientSession(connector=connector)
            http = stripe.AIOHTTPClient(timeout=TIMEOUT, session=self._session)
            self._client = stripe.StripeClient(
                self._key,
                base_addresses={"api": self._address},
                http_client=http,
                max_network_retries=0,
            )
        return self._client

    def _learn(self, endpoint: str, reply: _Reply) -> None:
        if reply.status == TOO_MANY:
            self._pacer.refused(endpoint, _header(reply, "stripe-rate-limited-reason"))
        elif reply.status is not None:
            self._pacer.accepted(endpoint)


def _split(operation: Operation, call: Call) -> tuple[str, dict[str, Any]]:
    """The path with its ids, and the parameters that are left for the body. The target is the last id of the path."""
    params = {name: value for name, value in call.params.items() if value is not None}
    ids: dict[str, Any] = {}
    names = list(operation.path_params)
    if call.target is not None and names:
        ids[names.pop()] = call.target
    for name in names:
        ids[name] = params.pop(name)
    if call.operation != "create":
        # A nested object's parent may be among the parameters of its row without being in this operation's path.
        params = {name: value for name, value in params.items() if name not in ids}
    return operation.path.format(**{name: quote(str(value), safe="") for name, value in ids.items()}), params


def _may_repeat(operation: Operation, call: Call, reply: _Reply) -> bool:
    """Whether the same request may be sent again: it can't act twice, and another answer can be hoped for."""
    if reply.status == TOO_MANY or not reply.sent:
        return True
    if operation.method != "get" and call.idempotency_key is None:
        return False
    should = _header(reply, "stripe-should-retry")
    if should is not None:
        return should == "true"
    if reply.status is None or reply.status == CONFLICT:
        return True
    if reply.status == SERVER_ERROR:
        # A write's 500 is saved under its key and would only be repeated (docs.stripe.com/api/idempotent_requests).
        return operation.method == "get"
    return reply.status > SERVER_ERROR


def _wait(attempts: int) -> float:
    """Seconds before the next try: exponential with full jitter, so that many who wait do not come back together."""
    return random.uniform(0.1, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))  # noqa: S311 - no secret


def _answer(operation: Operation, reply: _Reply, attempts: int) -> Answer:
    request_id = _header(reply, "request-id")
    if reply.status is not None and reply.status < 300 and reply.is_json:  # noqa: PLR2004 - HTTP's own boundary
        replayed = _header(reply, "idempotent-replayed") == "true"
        return Answer(
            verdict=Verdict.DONE, body=reply.body, request_id=request_id, attempts=attempts, replayed=replayed
        )
    refused = reply.status is not None and 400 <= reply.status < SERVER_ERROR  # noqa: PLR2004 - HTTP's own boundary
    # A conflict or a limit that outlasts every try says nothing of an earlier try of the same call.
    certain = refused and not (reply.status in {CONFLICT, TOO_MANY} and operation.method != "get")
    return Answer(
        verdict=Verdict.REFUSED if certain else Verdict.UNKNOWN,
        request_id=request_id,
        failure=_failure(reply),
        fatal=reply.status in {UNAUTHORIZED, FORBIDDEN},
        attempts=attempts,
    )


def _failure(reply: _Reply) -> StripeFailure:
    error = reply.body.get("error")
    details: Mapping[str, Any] = error if isinstance(error, dict) else {}
    if reply.status is None:
        return StripeFailure(type="connection", message=reply.error)
    if not reply.is_json:
        return StripeFailure(type="not_json", status=reply.status, message="the answer is not JSON")
    kind = "permission" if reply.status == FORBIDDEN else str(details.get("type") or "api_error")
    return StripeFailure(
        type=kind,
        status=reply.status,
        code=details.get("code"),
        param=details.get("param"),
        message=details.get("message"),
        decline_code=details.get("decline_code"),
        doc_url=details.get("doc_url"),
    )


def _header(reply: _Reply, name: str) -> str | None:
    return next((value for header, value in reply.headers.items() if header.lower() == name), None)


def _unreachable(failure: StripeFailure | None, what: str, address: str) -> Problem:
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
        why = f" ({failure.message})" if failure and failure.message else ""
        return Problem(
            code="stripe-unreachable",
            summary=f"{address} does not answer{why}",
            hint="check the network and proxy; for the sandbox, start `dbt-stripe-sync sandbox` and its URL",
        )
    return Problem(
        code="stripe-read-failed",
        summary=f"{what} could not be read: Stripe answered {status}",
        hint="run it again; https://status.stripe.com says whether Stripe has trouble",
    )
