"""The result of an HTTP request: Stripe's answer, an answer from something else, or the reason why there is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import orjson
from msgspec.structs import replace

from dbt_stripe_sync.stripe_api.gateway_http import TooLongError
from dbt_stripe_sync.stripe_api.genuine import find_contradiction
from dbt_stripe_sync.stripe_api.retry import BAD_REQUEST, REDIRECT, Reply
from dbt_stripe_sync.stripe_api.unreadable import CERTIFICATE

if TYPE_CHECKING:
    from dbt_stripe_sync.stripe_api.gateway_http import Received
    from dbt_stripe_sync.stripe_api.genuine import Expectation

# Errors before a request has been sent.
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


def read_reply(received: Received, expected: Expectation) -> Reply:
    """Read what was received, and check whether it is Stripe's answer to this call."""
    headers = {name.lower(): value for name, value in received.headers.items()}
    reply = Reply(status=received.status, headers=headers)
    if REDIRECT <= received.status < BAD_REQUEST:
        return replace(reply, foreign=f"it redirects ({received.status}), which Stripe never does")
    try:
        body = orjson.loads(received.body)
    except orjson.JSONDecodeError:
        return replace(reply, foreign="it is not JSON")
    if not isinstance(body, dict):
        return replace(reply, foreign="it is not a JSON object")
    if received.status < REDIRECT:
        foreign = find_contradiction(body, headers, expected)
        return Reply(status=received.status, headers=headers, body=body, foreign=foreign)
    reply = replace(reply, body=body)
    if not any(isinstance(reply.error.get(name), str) for name in ("type", "code")):
        return replace(reply, foreign="it is an error without Stripe's `error`")
    return reply


def explain_no_reply(error: BaseException) -> Reply:
    """Return why no answer arrived, and whether the request may have been sent."""
    is_certificate = isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError)
    unsent = isinstance(error, _NEVER_SENT)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        trouble = "unknown host name"
    elif is_certificate:
        trouble = f"{CERTIFICATE}: {_certificate_trouble(error)}"
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        trouble = f"the proxy refuses the connection ({error.status})"
    elif isinstance(error, aiohttp.ClientConnectorError):
        trouble = (error.os_error.strerror or "it can't be reached").lower()
    elif isinstance(error, aiohttp.ConnectionTimeoutError):
        trouble = "no connection in time"
    elif isinstance(error, asyncio.TimeoutError):
        trouble = "no answer in time"
    elif isinstance(error, TooLongError):
        trouble = "its answer is longer than any of Stripe's"
    elif isinstance(error, aiohttp.ClientError | OSError):
        trouble = "the connection was cut"
    else:
        trouble = type(error).__name__
    return Reply(status=None, sent=not unsent, trouble=trouble, is_hopeless=is_certificate)


def _certificate_trouble(error: BaseException) -> str:
    """Return what OpenSSL reports about the certificate."""
    cause = getattr(error, "certificate_error", None) or error.__cause__
    reason = getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or "TLS negotiation failed"
    return str(reason).replace("_", " ").lower()


def rate_reason(reply: Reply) -> str | None:
    """Return which pace a 429 is about, or None if it is about something else.

    If a server gives no reason for a plain `rate_limit`, the endpoint is assumed.
    """
    reason = reply.headers.get("stripe-rate-limited-reason")
    # API v1 has it in the error's code, API v2 in its type.
    is_plain = "rate_limit" in {reply.error.get("code"), reply.error.get("type")}
    return reason or ("endpoint-rate" if is_plain else None)
