"""HTTP in front of the service: faults, idempotency and the request log."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from msgspec import Struct

from dbt_stripe_sync.sandbox.errors import ApiError, server_error
from dbt_stripe_sync.sandbox.faults import REFUSALS, Fault, FaultKind, FaultTable
from dbt_stripe_sync.sandbox.forms import as_lists
from dbt_stripe_sync.sandbox.idempotency import SavedAnswer
from dbt_stripe_sync.sandbox.ids import new_request_id
from dbt_stripe_sync.sandbox.service import Result
from dbt_stripe_sync.sandbox.v2 import as_error, is_v2, parse_body

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.sandbox.routes import Route
    from dbt_stripe_sync.sandbox.service import Place, Service

KEPT_REQUESTS = 200_000
_NOT_JSON = b"<html><head><title>Bad Gateway</title></head><body>upstream sent no valid answer</body></html>"
_SERVER_ERRORS = 500


class RequestLine(Struct, frozen=True, kw_only=True):
    """One request in the log. `status` is None if no answer was sent; `at` is in Unix seconds."""

    method: str
    path: str
    params: dict[str, Any]
    status: int | None
    idempotency_key: str | None
    request_id: str
    replayed: bool
    at: float

    @property
    def is_write(self) -> bool:
        """Whether the request could change something."""
        return self.method != "GET"


class _DropConnection(Exception):  # noqa: N818 - not an error: the connection is to be dropped
    pass


class _Exchange(Struct):
    method: str
    path: str
    raw: str
    key: str | None
    request_id: str
    at: float
    faults: Sequence[Fault]
    status: int | None = None
    replayed: bool = False

    def first(self, *, after_effect: bool, kinds: frozenset[FaultKind]) -> Fault | None:
        return next((f for f in self.faults if f.kind in kinds and f.after_effect is after_effect), None)


_TRANSPORT = frozenset({FaultKind.CUT, FaultKind.HANG, FaultKind.NOT_JSON})


class Front:
    """Handles every API request."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.faults = FaultTable()
        self._log: deque[_Exchange] = deque(maxlen=KEPT_REQUESTS)

    def requests(self) -> list[RequestLine]:
        """Return every request since the last reset, in order of arrival."""
        return [
            RequestLine(
                method=x.method,
                path=x.path,
                params=as_lists(_decoded(x)),
                status=x.status,
                idempotency_key=x.key,
                request_id=x.request_id,
                replayed=x.replayed,
                at=x.at,
            )
            for x in list(self._log)
        ]

    def reset_requests(self) -> None:
        """Clear the log."""
        self._log.clear()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or drop its connection."""
        method, path = request.method, request.path
        raw = (await request.read()).decode("utf-8", "replace") if method != "GET" else ""
        query = "" if is_v2(path) and method != "GET" else request.rel_url.raw_query_string
        x = _Exchange(
            method=method,
            path=path,
            raw="&".join(part for part in (query, raw) if part),
            key=request.headers.get("Idempotency-Key") if method == "POST" else None,
            request_id=new_request_id(),
            at=self.service.clock.now(),
            faults=self.faults.strike(method, path),
        )
        self._log.append(x)
        try:
            result = await self._answer(x, request)
        except _DropConnection:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        x.status = result.status
        headers = {"Request-Id": x.request_id, "Content-Type": "application/json", **result.headers}
        if x.key is not None:
            headers["Idempotency-Key"] = x.key
        version = request.headers.get("Stripe-Version")
        if version:
            headers["Stripe-Version"] = version
        return web.Response(status=result.status, body=result.body, headers=headers)

    async def _answer(self, x: _Exchange, request: web.BaseRequest) -> Result:
        service = self.service
        try:
            for fault in x.faults:
                if fault.kind in REFUSALS:
                    raise fault.refusal(x.method, x.path, x.key or "")
            place = service.authenticate(request.headers, x.method, x.path)
            route, path = service.route(x.method, x.path)
            if place.gate is not None:
                place.gate.enter(route.endpoint, service.clock.monotonic())
            await self._break(x.first(after_effect=False, kinds=_TRANSPORT))
            tree = parse_body(x.path, x.raw)
            saved = place.answers.begin(x.key, _fingerprint(x, tree), service.clock.now()) if x.key else None
        except ApiError as error:
            return _failed(error, x)
        if saved is not None:
            x.replayed = True
            result = Result(saved.status, saved.body, headers={"Idempotent-Replayed": "true"})
            result.headers["Original-Request"] = saved.request_id
            return await self._break(x.first(after_effect=True, kinds=_TRANSPORT), result)
        return await self._execute(x, place, route, path, tree)

    async def _execute(
        self, x: _Exchange, place: Place, route: Route, path: dict[str, str], tree: dict[str, Any]
    ) -> Result:
        ended = False
        try:
            for fault in x.faults:
                if fault.kind is FaultKind.LATENCY:
                    await asyncio.sleep(fault.seconds)
            result, effect = self._outcome(x, place, route, path, tree)
            answer = None
            if x.key is not None and result.saved:
                answer = (
                    x.key,
                    SavedAnswer(
                        _fingerprint(x, tree), result.status, result.body, x.request_id, self.service.clock.now()
                    ),
                )
            self.service.commit(place, effect, answer)
            if x.key is not None:
                place.answers.end(x.key, answer[1] if answer else None)
                ended = True
        finally:
            if x.key is not None and not ended:
                place.answers.end(x.key, None)
        gateway = x.first(after_effect=True, kinds=frozenset({FaultKind.STATUS}))
        if gateway is not None and gateway.status != _SERVER_ERRORS:
            result = _failed(gateway.refusal(x.method, x.path, ""), x)
        return await self._break(x.first(after_effect=True, kinds=_TRANSPORT), result)

    def _outcome(
        self, x: _Exchange, place: Place, route: Route, path: dict[str, str], tree: dict[str, Any]
    ) -> tuple[Result, Result | None]:
        """Return the answer, and the work to commit; a 500 after the effect has both."""
        early = x.first(after_effect=False, kinds=frozenset({FaultKind.STATUS}))
        if early is not None:
            return _failed(early.refusal(x.method, x.path, ""), x), None
        try:
            result = self.service.perform(place, route, path, x.path, tree)
        except ApiError as error:
            return _failed(error, x), None
        except Exception as error:  # noqa: BLE001 - answer 500 and continue, as Stripe would
            crashed = server_error(500)
            crashed.message = f"The sandbox failed: {type(error).__name__}: {error}"
            return _failed(crashed, x), None
        late = x.first(after_effect=True, kinds=frozenset({FaultKind.STATUS}))
        if late is not None and late.status == _SERVER_ERRORS:
            return _failed(late.refusal(x.method, x.path, ""), x), result
        return result, result

    async def _break(self, fault: Fault | None, result: Result | None = None) -> Result:
        if fault is None:
            return result if result is not None else Result(0, b"")
        if fault.kind is FaultKind.HANG:
            await asyncio.sleep(fault.seconds)
        if fault.kind is FaultKind.NOT_JSON:
            if result is None:
                raise _NotJsonError(fault.status)
            return Result(fault.status, _NOT_JSON, headers={"Content-Type": "text/html"})
        raise _DropConnection


class _NotJsonError(ApiError):
    def __init__(self, status: int) -> None:
        super().__init__("", status=status)


def _failed(error: ApiError, x: _Exchange) -> Result:
    if isinstance(error, _NotJsonError):
        return Result(error.status, _NOT_JSON, headers={"Content-Type": "text/html"}, saved=False)
    body = error.body(x.request_id)
    if not is_v2(x.path):
        return Result(error.status, orjson.dumps(body), headers=dict(error.headers), saved=error.saved)
    # API v2 executes a failed request again under the same key (docs.stripe.com/api-v2-overview#idempotency).
    return Result(error.status, orjson.dumps(as_error(body)), headers=dict(error.headers), saved=False)


def _fingerprint(x: _Exchange, tree: dict[str, Any]) -> str:
    return f"{x.method} {x.path} {orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode()}"


def _decoded(x: _Exchange) -> dict[str, Any]:
    try:
        return parse_body(x.path, x.raw)
    except ApiError:
        return {}
