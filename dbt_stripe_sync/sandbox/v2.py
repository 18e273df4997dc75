"""What is different in API v2: JSON bodies, RFC 3339 times, and an error format of its own.

See docs.stripe.com/api-v2-overview.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from dbt_stripe_sync.sandbox.errors import bad_request
from dbt_stripe_sync.sandbox.forms import parse_form

PREFIX = "/v2/"


def is_v2(path: str) -> bool:
    """Whether a path belongs to API v2."""
    return path.startswith(PREFIX)


def parse_body(path: str, raw: str) -> dict[str, Any]:
    """Return a request's parameters as a tree whose lists are dicts, as in a form. Raises `ApiError`."""
    if not is_v2(path):
        return parse_form(raw)
    try:
        body = orjson.loads(raw or "{}")
    except orjson.JSONDecodeError:
        raise bad_request("Invalid request body: could not parse JSON.") from None
    if not isinstance(body, dict):
        raise bad_request("Invalid request body: expected an object.")
    tree: dict[str, Any] = _as_tree(body)
    return tree


def _as_tree(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tree(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return {str(index): _as_tree(inner) for index, inner in enumerate(value)}
    return value


def as_error(body: dict[str, Any]) -> dict[str, Any]:
    """Return an error as API v2 shows it: without `param`, since the message names the parameter."""
    error = body["error"]
    return {"error": {name: error[name] for name in ("code", "message", "type", "doc_url") if name in error}}


def as_time(seconds: float) -> str:
    """Return Unix seconds as API v2 shows them."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(name: str, text: Any) -> float:
    """Parse a time into Unix seconds. Raises `ApiError` if it isn't a valid RFC 3339 time."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - it has no zone, so it is rejected
    if moment.tzinfo is None:
        raise bad_request(f"Invalid timestamp in {name}: must be an RFC 3339 timestamp.", name)
    return moment.timestamp()
