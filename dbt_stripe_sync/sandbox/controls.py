"""The sandbox's HTTP controls under `/_sandbox/`, for tests that control a sandbox in another process.

- `GET /_sandbox` describes the sandbox: account, api_key, now.
- `POST /_sandbox/faults` adds a `Fault` given as JSON, `GET` lists the pending ones, `DELETE` deletes them.
- `GET /_sandbox/requests[?writes=1]` returns the request log, `DELETE` clears it.
- `GET /_sandbox/objects/KIND[?livemode=1&account=acct_x&count=1]` lists live objects, oldest first, or counts them.
- `POST /_sandbox/clock` `{"advance": seconds}` moves the clock forward; `GET` shows its time.
- `POST /_sandbox/reset` deletes objects, saved answers, faults and the request log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web
from msgspec.structs import asdict

from dbt_stripe_sync.sandbox.errors import ACCOUNT
from dbt_stripe_sync.sandbox.faults import Fault
from dbt_stripe_sync.sandbox.service import API_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbt_stripe_sync.sandbox.server import Front

PREFIX = "/_sandbox"


async def handle_control(front: Front, request: web.BaseRequest) -> web.Response:
    """Answer one control request: 400 with the reason if it is invalid, 404 if there is no such control."""
    parts = request.path.removeprefix(PREFIX).strip("/").split("/")
    control = _CONTROLS.get((request.method, parts[0]))
    if control is None:
        return _json({"error": f"unknown control {request.method} {request.path}"}, status=404)
    body = await request.read()
    try:
        given = _json_object(body)
        return _json(control(front, given, {**request.query, "kind": ".".join(parts[1:])}))
    except (ValueError, TypeError, KeyError) as error:
        return _json({"error": f"{type(error).__name__}: {error}"}, status=400)


def _json_object(body: bytes) -> dict[str, Any]:
    given = orjson.loads(body) if body else {}
    if not isinstance(given, dict):
        raise TypeError("the body is not a JSON object")
    return given


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def _about(front: Front, _given: Any, _query: Mapping[str, str]) -> Any:
    return {"sandbox": "dbt-stripe-sync", "account": ACCOUNT, "api_key": API_KEY, "now": front.service.clock.now()}


def _add_fault(front: Front, given: Any, _query: Mapping[str, str]) -> Any:
    fault = Fault.from_json(given)
    front.faults.add(fault)
    return fault.as_json()


def _list_faults(front: Front, _given: Any, _query: Mapping[str, str]) -> Any:
    return {"data": [fault.as_json() for fault in front.faults.pending()]}


def _clear_faults(front: Front, _given: Any, _query: Mapping[str, str]) -> Any:
    front.faults.clear()
    return {}


def _requests(front: Front, _given: Any, query: Mapping[str, str]) -> Any:
    return {"data": [asdict(line) for line in front.requests() if line.is_write or not query.get("writes")]}


def _clear_requests(front: Front, _given: Any, _query: Mapping[str, str]) -> Any:
    front.reset_requests()
    return {}


def _objects(front: Front, _given: Any, query: Mapping[str, str]) -> Any:
    service = front.service
    kind = query["kind"]
    if kind not in service.families:
        raise ValueError(f"unknown resource `{kind}`")
    place = service.place(query.get("account", ACCOUNT), livemode=bool(query.get("livemode")))
    if query.get("count"):
        return {"count": service.count(kind, place)}
    return {"data": service.objects(kind, place)}


def _show_clock(front: Front, _given: Any, _query: Mapping[str, str]) -> Any:
    return {"now": front.service.clock.now()}


def _move_clock(front: Front, given: Any, query: Mapping[str, str]) -> Any:
    front.service.advance(float(given["advance"]))
    return _show_clock(front, given, query)


def _reset(front: Front, _given: Any, _query: Mapping[str, str]) -> Any:
    front.service.clear()
    front.faults.clear()
    front.reset_requests()
    return {}


_CONTROLS: Mapping[tuple[str, str], Callable[[Front, Any, Mapping[str, str]], Any]] = {
    ("GET", ""): _about,
    ("POST", "faults"): _add_fault,
    ("GET", "faults"): _list_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "requests"): _requests,
    ("DELETE", "requests"): _clear_requests,
    ("GET", "objects"): _objects,
    ("GET", "clock"): _show_clock,
    ("POST", "clock"): _move_clock,
    ("POST", "reset"): _reset,
}
