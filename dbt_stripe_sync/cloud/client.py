"""Sends requests to dbt Cloud's Admin API v2: authenticated, retried if that is safe, with actionable errors."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from dbt_stripe_sync import __version__
from dbt_stripe_sync.model.errors import DbtCloudError, Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from dbt_stripe_sync.cloud.access import CloudAccess

MOST_ATTEMPTS = 5
FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
# An artifact of a large project takes a while to arrive. A connection without data for this long is dead.
SILENCE_SECONDS = 60.0
CONNECT_SECONDS = 15.0
CHUNK_BYTES = 1 << 20

REDIRECT = 300
UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
TOO_MANY = 429
SERVER_ERROR = 500


class MaybeSentError(Exception):
    """A request that must not be repeated got no clear answer: dbt Cloud may have carried it out."""


class CloudClient:
    """One account of dbt Cloud. `what` in each call describes the request, for messages."""

    def __init__(self, access: CloudAccess, session: aiohttp.ClientSession) -> None:
        self._access = access
        self._session = session
        self._root = f"{access.base_url}/api/v2/accounts/{access.account_id}"

    async def read(self, path: str, what: str, params: Mapping[str, str] | None = None) -> Any:
        """The `data` of a JSON answer. Raises `DbtCloudError`."""
        async with self._request("GET", path, what, params=params) as answer:
            return _data(await answer.read(), what)

    async def find(self, path: str, what: str, params: Mapping[str, str] | None = None) -> Any | None:
        """As `read`; None if it doesn't exist."""
        async with self._request("GET", path, what, params=params, may_lack=True) as answer:
            return None if answer.status == NOT_FOUND else _data(await answer.read(), what)

    async def download(self, path: str, what: str, into: Path, params: Mapping[str, str] | None = None) -> None:
        """Write the body of an answer to a file. Raises `DbtCloudError`."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                return await self._write(path, what, into, params)
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == MOST_ATTEMPTS:
                    raise DbtCloudError(self._unreachable(what, error)) from None
                await asyncio.sleep(_wait_seconds(attempt))
        return None

    async def _write(self, path: str, what: str, into: Path, params: Mapping[str, str] | None) -> None:
        async with self._request("GET", path, what, params=params) as answer:
            with into.open("wb") as file:
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    file.write(chunk)

    async def start(self, path: str, what: str, body: Mapping[str, Any]) -> Any:
        """Send a request that must not be carried out twice.

        Raises `MaybeSentError` if it may have been carried out, `DbtCloudError` if it was not.
        """
        async with self._request("POST", path, what, body=body) as answer:
            try:
                return _data(await answer.read(), what)
            except (aiohttp.ClientError, DbtCloudError) as error:  # it has been accepted, and we can't read the answer
                raise MaybeSentError from error

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        what: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        may_lack: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        answer = await self._answer(method, path, what, params=params, body=body)
        async with answer:
            if answer.status >= REDIRECT and not (may_lack and answer.status == NOT_FOUND):
                raise DbtCloudError(await self._refusal(answer, what))
            yield answer

    async def _answer(
        self, method: str, path: str, what: str, *, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> aiohttp.ClientResponse:
        """The first answer that another attempt would not improve."""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                answer = await self._session.request(
                    method,
                    self._root + path,
                    params=params,
                    data=orjson.dumps(body) if body is not None else None,
                    allow_redirects=method == "GET",  # aiohttp leaves out the token if a redirect leads to another host
                    headers={
                        "Authorization": f"Token {self._access.token}",
                        "Content-Type": "application/json",
                        "User-Agent": f"dbt-stripe-sync/{__version__}",
                    },
                )
            except (aiohttp.ClientError, TimeoutError) as error:
                if method != "GET" and not isinstance(error, aiohttp.ClientConnectorError):
                    raise MaybeSentError from error
                if attempt == MOST_ATTEMPTS or isinstance(error, aiohttp.InvalidURL):
                    raise DbtCloudError(self._unreachable(what, error)) from None
                await asyncio.sleep(_wait_seconds(attempt))
                continue
            if answer.status >= SERVER_ERROR and method != "GET":
                answer.release()
                raise MaybeSentError
            if attempt == MOST_ATTEMPTS or (answer.status < SERVER_ERROR and answer.status != TOO_MANY):
                return answer
            wait = _asked_to_wait(answer.headers.get("Retry-After"))
            answer.release()
            await asyncio.sleep(_wait_seconds(attempt) if wait is None else wait)
        raise AssertionError  # the last attempt returns or raises

    def _unreachable(self, what: str, error: BaseException) -> Problem:
        return Problem(
            code="dbt-cloud-unreachable",
            summary=f"dbt Cloud at {self._access.base_url} did not answer when asked for {what} ({_kind(error)})",
            hint="check DBT_CLOUD_HOST, the network and the proxy, then run it again",
        )

    async def _refusal(self, answer: aiohttp.ClientResponse, what: str) -> Problem:
        status = answer.status
        said = await _error_message(answer, self._access.token)
        if status == UNAUTHORIZED:
            return Problem(
                code="dbt-cloud-unauthorized",
                summary=f"dbt Cloud rejected the token when asked for {what} (401){said}",
                hint="check DBT_CLOUD_API_TOKEN, and that DBT_CLOUD_HOST is the access URL of that account",
            )
        if status == FORBIDDEN:
            return Problem(
                code="dbt-cloud-forbidden",
                summary=f"the token may not access {what} (403){said}",
                hint="give the service token the permission Job Admin for this project, or use an IP address that "
                "the account allows",
            )
        if status == NOT_FOUND:
            return Problem(
                code="dbt-cloud-not-found",
                summary=f"account {self._access.account_id} has no {what} (404)",
                hint="check the number, DBT_CLOUD_ACCOUNT_ID and DBT_CLOUD_HOST",
            )
        return Problem(
            code="dbt-cloud-unreachable" if status >= SERVER_ERROR or status == TOO_MANY else "dbt-cloud-refused",
            summary=f"dbt Cloud answered {status} when asked for {what}{said}",
            hint="run it again later; https://status.getdbt.com says whether dbt Cloud has an incident"
            if status >= SERVER_ERROR or status == TOO_MANY
            else "check the options of the command against the job in dbt Cloud",
        )


@asynccontextmanager
async def open_client(access: CloudAccess) -> AsyncIterator[CloudClient]:
    """A client with its own connection pool."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        yield CloudClient(access, session)


def _data(body: bytes, what: str) -> Any:
    try:
        return orjson.loads(body)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise DbtCloudError(
            Problem(
                code="dbt-cloud-refused",
                summary=f"the answer to the request for {what} is not dbt Cloud's",
                hint="check that DBT_CLOUD_HOST is the access URL of your account and that no proxy answers instead",
            )
        ) from None


async def _error_message(answer: aiohttp.ClientResponse, token: str) -> str:
    """The message of dbt Cloud itself on one line, without the token in case it is repeated there."""
    try:
        message = orjson.loads(await answer.read())["status"]["user_message"]
    except (aiohttp.ClientError, orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    text = " ".join(str(message or "").split()).replace(token, "…")[:200]
    return f": {text}" if text else ""


def _kind(error: BaseException) -> str:
    os_error = getattr(error, "os_error", None) or error
    return getattr(os_error, "strerror", None) or type(error).__name__


def _asked_to_wait(header: str | None) -> float | None:
    """The seconds in a `Retry-After` header; a date in it isn't parsed."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(header or "")))
    except ValueError:
        return None


def _wait_seconds(attempt: int) -> float:
    longest: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1))
    return random.uniform(0.5, 1.0) * longest  # noqa: S311 - jitter is no secret
