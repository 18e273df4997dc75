"""Stripe's error answers (docs.stripe.com/api/errors), raised anywhere below HTTP and rendered in one place."""

from __future__ import annotations

from typing import Any

# Keys up to this length are masked completely.
# A guess: `wording`.
_SHOWN_LENGTH = 12


class ApiError(Exception):
    """An answer that isn't 2xx. `headers` are sent with it; `saved` says whether an idempotency key keeps it."""

    def __init__(  # noqa: PLR0913 - Stripe's error object has these fields
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",  # noqa: A002 - Stripe's own word
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        saved: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.headers = headers or {}
        self.saved = saved

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the JSON body of the answer."""
        error: dict[str, Any] = {"message": self.message, "type": self.type}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": error}


def no_such(kind: str, id: str, param: str, status: int = 404) -> ApiError:  # noqa: A002 - Stripe's own word
    """The object doesn't exist: 404 if the URL names it, 400 if a parameter does."""
    thing = kind.rsplit(".", 1)[-1].replace("_", " ")
    return ApiError(f"No such {thing}: '{id}'", status=status, code="resource_missing", param=param)


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400; `param` names the parameter that caused it."""
    return ApiError(message, code=code, param=param)


def unknown_url(method: str, path: str) -> ApiError:
    """No operation has this method and path."""
    return ApiError(
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/.",
        status=404,
    )


# The account of keys that don't name one.
ACCOUNT = "acct_sandbox"
# Permissions that aren't named after their path: for Stripe's permissions, a price is a plan.
_PERMISSIONS = {"prices": "plan", "invoiceitems": "invoice", "subscription_items": "subscription"}


def unauthorized(key: str) -> ApiError:
    """The key is missing or invalid. Like Stripe's, the message shows only the start and the end of the key."""
    if not key:
        return ApiError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    shown = f"{key[:8]}{'*' * (len(key) - 12)}{key[-4:]}" if len(key) > _SHOWN_LENGTH else "*" * len(key)
    return ApiError(f"Invalid API Key provided: {shown}", status=401)


def session_expired() -> ApiError:
    """A meter event session's token has expired (docs.stripe.com/api/v2/billing-meter-stream)."""
    return ApiError(
        "The temporary session token has expired.",
        status=401,
        type="temporary_session_expired",
        code="billing_meter_event_session_expired",
    )


def forbidden(method: str, path: str, account: str) -> ApiError:
    """The restricted key lacks a permission. Stripe names the account and the permission (stripe/stripe-node#2246)."""
    kind = path.split("/")[2] if path.count("/") > 1 else path
    permission = "accounts_kyc_basic" if kind == "account" else _PERMISSIONS.get(kind, kind.removesuffix("s"))
    needed = f"rak_{permission}_{'read' if method == 'GET' else 'write'}"
    return ApiError(
        "The provided key 'rk_test_****' does not have the required permissions for this endpoint on account "
        f"'{account}'. Having the '{needed}' permission would allow this request to continue.",
        status=403,
        code="more_permissions_required",
    )


def rate_limited(reason: str) -> ApiError:
    """A 429 with its reason and, like Stripe's, without `Retry-After` (docs.stripe.com/rate-limits)."""
    return ApiError(
        "Request rate limit exceeded. Learn more about rate limits here: https://stripe.com/docs/rate-limits.",
        status=429,
        code="rate_limit",
        headers={"Stripe-Rate-Limited-Reason": reason},
    )


def lock_timeout() -> ApiError:
    """Another request locks the object (docs.stripe.com/rate-limits, "Object lock timeouts"): 429 without a reason."""
    return ApiError(
        "This object cannot be accessed right now because another API request or Stripe process is currently "
        "accessing it. If you see this error intermittently, retry the request. If you see this error frequently and "
        "are making multiple concurrent requests to a single object, make your requests serially or at a lower rate.",
        status=429,
        code="lock_timeout",
    )


def server_error(status: int) -> ApiError:
    """A failure of Stripe's. A key saves only a 500: 502 to 504 come from proxies in front of the API."""
    return ApiError(
        "An unknown error occurred. If this error persists, contact us at https://support.stripe.com/.",
        status=status,
        type="api_error",
        saved=status == 500,  # noqa: PLR2004
    )


def declined() -> ApiError:
    """The customer's card was declined (docs.stripe.com/declines)."""
    return ApiError("Your card was declined.", status=402, type="card_error", code="card_declined")
