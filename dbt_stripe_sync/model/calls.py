"""Calls to Stripe and their answers, as values that the engine, the state and the gateway share."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping


# Stripe's ids: a short prefix, perhaps the mode, and at least 14 letters and digits with both in them.
OBJECT_ID = re.compile(r"\b[a-z]{2,12}_(?:(?:test|live)_)?(?=[A-Za-z0-9]*\d)(?=[A-Za-z0-9]*[A-Z])[A-Za-z0-9]{14,}\b")
# Keys look like ids (docs.stripe.com/keys).
_KEYS = ("sk_", "rk_", "pk_", "ek_", "whsec_")


# docs.stripe.com/error-codes: the object that a call names doesn't exist.
RESOURCE_MISSING = "resource_missing"


def is_object_id(text: str) -> bool:
    """Whether a text looks like the id of an object in Stripe, and not like a key."""
    return OBJECT_ID.fullmatch(text) is not None and not text.startswith(_KEYS)


class Call(Struct, frozen=True, kw_only=True):
    """One API call.

    `operation` is the method's name in the SDK's service (`create`, `update`, `delete`, `cancel`, `finalize_invoice`,
    `retrieve`, `list`, `search` …). `target` is the id of the object that it acts on, None for `create` and `list`.
    `params` holds the parameters as nested JSON; those in the URL of a nested resource (`customer` of
    `customer.tax_id`) are included under their own name, and the gateway moves them into the path. `repeated` says that
    an earlier run sent the key and didn't get the answer. Then an error that Stripe returns before it checks the key
    (401, 403) doesn't say what that first call did.
    """

    resource: str
    operation: str
    target: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    repeated: bool = False

    @property
    def endpoint(self) -> str:
        """The named operation that Stripe's endpoint limits count (docs.stripe.com/rate-limits)."""
        return f"{self.resource}.{self.operation}"


class Verdict(Enum):
    """What an answer says about the call's effect. `UNKNOWN` is not `REFUSED`: the effect may have happened."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class StripeFailure(Struct, frozen=True, kw_only=True):
    """Stripe's error (docs.stripe.com/api/errors), or the transport's. Never holds the key.

    `message` is Stripe's, which may repeat what was sent, or this program's if it `is_ours`.
    """

    type: str
    status: int | None = None
    code: str | None = None
    param: str | None = None
    message: str | None = None
    decline_code: str | None = None
    doc_url: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this isn't Stripe's answer: there was none, or something else answered in its place."""
        return self.type in _NOT_STRIPES


# The gateway's types of failure for no answer, for answers that aren't Stripe's, and for calls that weren't sent.
_NOT_STRIPES = frozenset({"connection", "not_sent", "not_stripe", "redirect"})


class Answer(Struct, frozen=True, kw_only=True):
    """The answer to a call, after every retry that is safe under the same key.

    `body` is Stripe's JSON (empty if there is none). `fatal` marks an error that every further call would get, too
    (wrong key, no permission): the run stops sending. `attempts` counts HTTP requests.
    """

    verdict: Verdict
    body: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    failure: StripeFailure | None = None
    fatal: bool = False
    attempts: int = 1

    @property
    def is_missing(self) -> bool:
        """Whether the object doesn't exist in Stripe: it says so, or returns a deleted object's stub."""
        return self.body.get("deleted") is True or (self.failure is not None and self.failure.code == RESOURCE_MISSING)


class Account(Struct, frozen=True, kw_only=True):
    """The account of a key. `id` is `acct_…`."""

    id: str
    livemode: bool
    api_version: str | None = None


class Usage(Struct, frozen=True, kw_only=True):
    """What a meter has counted for one customer: `counted` is the sum, count or last value, as `formula` says.

    In their payload, events name the customer by `customer_key`, and what they add by `value_key`.
    """

    meter: str
    customer: str
    customer_key: str
    value_key: str
    formula: str
    counted: Decimal

    def added_by(self, event: Mapping[str, Any]) -> Decimal | None:
        """Return what an event adds, or None if that isn't a number."""
        if self.formula == "count":
            return Decimal(1)
        try:
            value = Decimal(str((event.get("payload") or {}).get(self.value_key)))
        except InvalidOperation:
            return None
        return value if value.is_finite() else None
