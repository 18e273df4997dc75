"""Restricts the sandbox to programs on this machine, excluding pages in a browser.

A foreign page in the user's browser can reach the loopback interface in two ways. With a form or `fetch`, `Origin`
names the page. Through a host name that resolves to 127.0.0.1, `Host` has that name.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_origin(headers: Mapping[str, str]) -> web.Response | None:
    """Return the 403 for a foreign request, or None."""
    host = headers.get("Host", "")
    if not _is_loopback(f"//{host}"):
        return _refused(f"the sandbox accepts only loopback names as Host, not `{host[:100]}`")
    origin = headers.get("Origin")
    if origin is not None and (not _is_loopback(origin) or urlsplit(origin).netloc != host):
        return _refused(f"the sandbox doesn't answer pages of Origin `{origin[:100]}`")
    # A browser sends these headers even without `Origin`, for a form, an image or a script (w3.org/TR/fetch-metadata).
    if headers.get("Sec-Fetch-Site", "none") in {"cross-site", "same-site"}:
        return _refused("the sandbox doesn't answer pages of another origin")
    return None


def _is_loopback(url: str) -> bool:
    try:
        name = urlsplit(url).hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _refused(why: str) -> web.Response:
    body = orjson.dumps({"error": {"message": why, "type": "invalid_request_error"}})
    return web.Response(status=403, body=body, content_type="application/json")
