"""Checks that a successful answer is what the call asked for; anything else isn't Stripe's, and proves nothing.

A proxy, a captive portal or a wrong address can answer 200 with JSON of its own. If that counted, a write that never
reached Stripe would be recorded as done. So an answer is compared with the call, and with the operation's return type
in the SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.tag import TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.calls import Call
    from dbt_stripe_sync.model.params import Operation, Resource

# How ids begin in Stripe's own examples of these objects (fixtures3.json of github.com/stripe/stripe-mock), by their
# `object`.
ID_PREFIXES: Mapping[str, str] = {
    "account": "acct_",
    "credit_note": "cn_",
    "customer": "cus_",
    "customer_balance_transaction": "cbtxn_",
    "invoice": "in_",
    "invoiceitem": "ii_",
    "payment_link": "plink_",
    "person": "person_",
    "price": "price_",
    "product": "prod_",
    "product_feature": "prodft_",
    "promotion_code": "promo_",
    "quote": "qt_",
    "shipping_rate": "shr_",
    "subscription": "sub_",
    "subscription_item": "si_",
    "subscription_schedule": "sub_sched_",
    "tax_id": "txi_",
    "tax_rate": "txr_",
    "webhook_endpoint": "we_",
}
# docs.stripe.com/api/v2/billing/meter-event-stream/create
STREAM = "/v2/billing/meter_event_stream"
SESSION_OBJECT = "v2.billing.meter_event_session"
_LISTS = {"ListObject": "list", "SearchResultObject": "search_result"}


class Expectation(Struct, frozen=True, kw_only=True):
    """What a valid answer contains.

    - `names` are the possible values of its `object`; empty if unknown. `listed` is the `object` of the list or search
      result around them.
    - `target` is the id that it must have. If that is None, its id must begin with `prefix`.
    - `echoed` are fields that are returned as they were sent.
    - `livemode` is the key's mode; None if unknown.
    - `is_empty` says that Stripe answers with an empty object. Then only the `Request-Id` shows that the answer is
      Stripe's.
    """

    names: frozenset[str] = frozenset()
    listed: str | None = None
    has_id: bool = True
    target: str | None = None
    prefix: str = ""
    is_deleted: bool = False
    tag: str | None = None
    echoed: Mapping[str, str] | None = None
    livemode: bool | None = None
    is_empty: bool = False


ACCOUNT = Expectation(names=frozenset({"account"}), prefix="acct_")


def expect(call: Call, operation: Operation, resource: Resource, *, livemode: bool | None) -> Expectation:
    """Return what the answer to a call must contain, given its operation's return type in the SDK."""
    returned = operation.returned
    if returned is None:
        return Expectation(has_id=False, livemode=livemode)
    if returned.listed is not None:
        return Expectation(names=returned.names, listed=_LISTS[returned.listed], livemode=livemode)
    create = resource.operations.get("create")
    # Some operations act on one object and return another: `customer.delete_discount` returns the discount.
    is_same = create is not None and create.returned is not None and returned.names == create.returned.names
    has_id = "id" in returned.fields
    target = call.target if is_same and has_id else None
    is_new = call.operation == "create"
    own_id = call.params.get("id") if is_new and "id" in operation.params else None
    metadata = call.params.get("metadata") if is_same else None
    identifier = call.params.get("identifier") if is_new and not has_id else None
    return Expectation(
        names=returned.names,
        has_id=has_id,
        target=str(own_id) if own_id is not None else target,
        prefix=_prefix(returned.names) if is_new and own_id is None else "",
        is_deleted=operation.method == "delete"
        and operation.name.startswith("delete")
        and "deleted" in returned.fields,
        tag=str(metadata[TAG]) if isinstance(metadata, dict) and metadata.get(TAG) else None,
        echoed={"identifier": str(identifier)} if identifier is not None else None,
        livemode=livemode,
    )


def expect_v2(path: str, *, livemode: bool | None) -> Expectation:
    """Return what the answer to a POST of API v2 must contain.

    The answer to streamed events is empty; any other has an `object`.
    """
    if path == STREAM:
        return Expectation(is_empty=True)
    return Expectation(names=frozenset({SESSION_OBJECT}), livemode=livemode)


def find_contradiction(body: Mapping[str, Any], headers: Mapping[str, str], expected: Expectation) -> str | None:
    """Return why an answer can't be Stripe's answer to this call, or None if it can.

    The text contains no value from the answer. `headers` have lowercase names.
    """
    if "error" in body:
        return "it contains an error but claims success"
    if expected.is_empty:
        return _contradiction_of_empty(body, headers)
    if expected.listed is not None:
        return _contradiction_of_list(body, expected)
    return _contradiction(body, expected)


def _contradiction_of_empty(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    if body:
        return "it is not the empty object that Stripe answers with"
    return None if headers.get("request-id") else "it has no `Request-Id`"


def _contradiction_of_list(body: Mapping[str, Any], expected: Expectation) -> str | None:
    if body.get("object") != expected.listed:
        return f"its `object` is not `{expected.listed}`"
    data, more = body.get("data"), body.get("has_more")
    if not isinstance(data, list) or not isinstance(more, bool):
        return "its `data` is not a list, or its `has_more` is neither true nor false"
    each = Expectation(names=expected.names, livemode=expected.livemode)
    for found in data:
        wrong = _contradiction(found, each) if isinstance(found, dict) else "it is not an object"
        if wrong is not None:
            return f"of one of the objects in its list, {wrong}"
    return None


def _contradiction(body: Mapping[str, Any], expected: Expectation) -> str | None:
    if expected.names and not any(body.get("object") == name for name in expected.names):
        return f"its `object` is not `{'` or `'.join(sorted(expected.names))}`"
    return _wrong_id(body, expected) or _wrong_state(body, expected)


def _wrong_id(body: Mapping[str, Any], expected: Expectation) -> str | None:
    if not expected.has_id:
        return None
    found = body.get("id")
    if not isinstance(found, str) or not found:
        return "its `id` is missing or not text"
    if expected.target is not None and found != expected.target:
        return "its `id` is that of another object"
    if not found.startswith(expected.prefix):
        return f"its `id` does not begin with `{expected.prefix}`"
    return None


def _wrong_state(body: Mapping[str, Any], expected: Expectation) -> str | None:
    if expected.is_deleted and body.get("deleted") is not True:
        return "its `deleted` is not true"
    livemode = body.get("livemode")
    if expected.livemode is not None and livemode is not None and livemode is not expected.livemode:
        return "its `livemode` is not the key's"
    if expected.tag is not None and _tag_of(body) != expected.tag.split():
        return "it lacks the metadata that was sent"
    for name, value in (expected.echoed or {}).items():
        if body.get(name) != value:
            return f"its `{name}` is not the one that was sent"
    return None


def _tag_of(body: Mapping[str, Any]) -> list[str]:
    """Return the tag's words. They are compared instead of the text, since Stripe may not preserve spaces."""
    metadata = body.get("metadata")
    return str(metadata.get(TAG, "")).split() if isinstance(metadata, dict) else []


def _prefix(names: frozenset[str]) -> str:
    return ID_PREFIXES.get(next(iter(names)), "") if len(names) == 1 else ""
