"""Decides what an HTTP answer means: whether the request may be sent again, and what is known about its effect."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dbt_stripe_sync.model.calls import Answer, StripeFailure, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_ATTEMPTS = 8
# No further attempt is made once a call has taken this many seconds.
LONGEST_TRY = 300.0
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
MIN_WAIT_SHARE = 0.1

REDIRECT = 300
BAD_REQUEST = 400
UNAUTHORIZED = 401
FORBIDDEN = 403
CONFLICT = 409
TOO_MANY = 429
SERVER_ERROR = 500

# docs.stripe.com/error-codes: another request holds the key, or the object.
IN_USE = "idempotency_key_in_use"
LOCKED = "lock_timeout"
BUSY = frozenset({None, IN_USE, LOCKED})
KEY_ERROR = "idempotency_error"
_ERROR_TEXTS = ("code", "param", "message", "decline_code", "doc_url")
REJECTED_BEFORE_KEY = frozenset({UNAUTHORIZED, FORBIDDEN, TOO_MANY})


class Reply(Struct, frozen=True, kw_only=True):
    """The result of one HTTP request.

    `status` is None if there was no answer; then `sent` says whether Stripe may have received the request. `headers`
    have lowercase names. `trouble` says why there is no answer, and `foreign` why an answer isn't Stripe's answer to
    this call. `is_hopeless` says that another attempt would fail in the same way.
    """

    status: int | None
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: bool = True
    foreign: str | None = None
    trouble: str | None = None
    is_hopeless: bool = False

    @property
    def is_good(self) -> bool:
        """Whether Stripe did what it was asked to do."""
        return self.status is not None and self.status < REDIRECT and self.foreign is None

    @property
    def error(self) -> Mapping[str, Any]:
        """Stripe's error; empty if there is none."""
        error = self.body.get("error")
        return error if isinstance(error, dict) else {}

    @property
    def is_too_many(self) -> bool:
        """Whether Stripe itself rejected the request with a 429, before it did anything."""
        return self.status == TOO_MANY and self.foreign is None

    @property
    def is_replayed(self) -> bool:
        """Whether Stripe repeated the answer that it saved under the key."""
        return self.headers.get("idempotent-replayed") == "true"


def may_repeat(reply: Reply, *, is_read: bool, has_key: bool) -> bool:
    """Return whether the same request may be sent again: it can't act twice, and a different answer is possible."""
    if reply.is_good or reply.is_hopeless:
        return False
    advice = reply.headers.get("stripe-should-retry")
    if not reply.sent or advice == "false":
        return not reply.sent
    if not (is_read or has_key):
        # Only if Stripe itself rejected it before anything was done (docs.stripe.com/rate-limits).
        return reply.status == TOO_MANY and not leaves_doubt(reply)
    if reply.status is None or reply.status == TOO_MANY:
        return True
    # A saved answer never changes (docs.stripe.com/api/idempotent_requests).
    return not reply.is_replayed and (advice == "true" or _may_change(reply, reply.status, is_read=is_read))


def _may_change(reply: Reply, status: int, *, is_read: bool) -> bool:
    if status == CONFLICT:
        return reply.error.get("code") in BUSY
    if status == SERVER_ERROR:
        # A write's 500 is saved under its key, and would only be repeated (docs.stripe.com/api/idempotent_requests).
        return is_read
    # A redirect, or a success that isn't Stripe's, comes from something in between; so does a 502, 503 or 504.
    return status > SERVER_ERROR or status < BAD_REQUEST


def is_outage(reply: Reply) -> bool:
    """Return whether nothing answered, or something in between, so that the next request would fail as well."""
    return reply.status is None or reply.foreign is not None or reply.status > SERVER_ERROR


def describe_outage(reply: Reply) -> str:
    """Return why there is no answer from Stripe."""
    if reply.status is None:
        return reply.trouble or "no answer"
    return f"it answers {reply.status}" + (f", and {reply.foreign}" if reply.foreign else "")


def leaves_doubt(reply: Reply) -> bool:
    """Return whether the request may have acted, or may still act, although no successful answer arrived."""
    if reply.status is None:
        return reply.sent
    if reply.foreign is not None or reply.status >= SERVER_ERROR or reply.status < BAD_REQUEST:
        return True
    return reply.error.get("code") == IN_USE or reply.error.get("type") == KEY_ERROR


def wait_seconds(attempts: int) -> float:
    """Return the seconds before the next attempt: exponential backoff with jitter, which spreads the retries."""
    longest: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempts - 1))
    return random.uniform(MIN_WAIT_SHARE, 1.0) * longest  # noqa: S311 - jitter isn't a secret


def build_answer(reply: Reply, *, is_read: bool, in_doubt: bool, attempts: int) -> Answer:
    """Return the final result. `in_doubt` says that an earlier attempt may have acted."""
    request_id = reply.headers.get("request-id")
    if reply.is_good:
        return Answer(
            verdict=Verdict.DONE,
            body=reply.body,
            request_id=request_id,
            attempts=attempts,
        )
    return Answer(
        verdict=Verdict.REFUSED if _is_refusal(reply, is_read=is_read, in_doubt=in_doubt) else Verdict.UNKNOWN,
        request_id=request_id,
        failure=build_failure(reply),
        fatal=reply.status in {UNAUTHORIZED, FORBIDDEN},
        attempts=attempts,
    )


def _is_refusal(reply: Reply, *, is_read: bool, in_doubt: bool) -> bool:
    if reply.status is None or reply.foreign is not None or not BAD_REQUEST <= reply.status < SERVER_ERROR:
        return False
    if is_read:
        # Nothing was looked up, which isn't the same as "not found".
        return reply.status != TOO_MANY
    if leaves_doubt(reply) or (reply.status == CONFLICT and reply.error.get("code") is None):
        return False
    # Stripe returns these before it checks the key, so they say nothing about an earlier attempt. Other errors do: if
    # that attempt had acted, its saved answer would have been returned. Without an earlier attempt, a 429 or a
    # `lock_timeout` is a rejection like any other: nothing was done (docs.stripe.com/rate-limits), and the row is
    # planned again.
    return not (in_doubt and (reply.status in REJECTED_BEFORE_KEY or reply.error.get("code") == LOCKED))


def build_failure(reply: Reply) -> StripeFailure:
    """Return Stripe's error, or why there was no answer."""
    if reply.status is None:
        return StripeFailure(type="connection", message=reply.trouble)
    if reply.foreign is not None:
        kind = "redirect" if REDIRECT <= reply.status < BAD_REQUEST else "not_stripe"
        return StripeFailure(type=kind, status=reply.status, message=reply.foreign)
    error = reply.error
    return StripeFailure(
        type="permission" if reply.status == FORBIDDEN else str(error.get("type") or "api_error"),
        status=reply.status,
        **{name: _text_or_none(error.get(name)) for name in _ERROR_TEXTS},
    )


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None
