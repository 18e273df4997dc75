"""The operations on subscriptions (docs.stripe.com/api/subscriptions)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.errors import no_such
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.listing import in_list, in_range
from dbt_stripe_sync.sandbox.objects import cycles, limits
from dbt_stripe_sync.sandbox.objects.clocks import use_clock_of
from dbt_stripe_sync.sandbox.objects.subscription_changes import (
    create_subscription,
    end_subscription,
    update_subscription,
)
from dbt_stripe_sync.sandbox.objects.subscription_items import render_item
from dbt_stripe_sync.sandbox.objects.subscription_shape import ENDED, SHAPE
from dbt_stripe_sync.sandbox.objects.subscription_time import advance_subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def _create(work: Work, request: ApiRequest) -> Body:
    return create_subscription(work, request.params)


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    use_clock_of(work, work.get("customer", body["customer"]))
    limits.check_frozen(FAMILY.kind, body, request.params)
    update_subscription(work, body, request.params)
    return body


def _cancel(work: Work, request: ApiRequest) -> Body:
    """Cancel immediately (docs.stripe.com/api/subscriptions/cancel). A subscription that has ended isn't found."""
    body = work.edit(FAMILY.kind, request.id)
    if body["status"] in ENDED:
        raise no_such("subscription", request.id, "id")
    use_clock_of(work, work.get("customer", body["customer"]))
    if request.get("cancellation_details"):
        body["cancellation_details"] = {**body["cancellation_details"], **request.params["cancellation_details"]}
    if request.get("prorate"):
        cycles.credit_unused(work, body, cycles.snapshot(work, body), {})
    # A guess: `canceled-incomplete`.
    end_subscription(work, body)
    if request.get("invoice_now"):
        invoice = cycles.bill(work, body, "manual", [])
        cycles.collect_later(work, body, invoice, at_once=True)
    return body


def _pause(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.path["subscription"])
    _check_pausable(body)
    if body["status"] not in {"active", "trialing"}:
        raise refuse(f"Only active or trialing subscriptions can be paused. This one is {body['status']}.")
    body["status"] = "paused"
    return body


def _check_pausable(body: Body) -> None:
    if body["schedule"]:
        raise refuse("You cannot pause a subscription with an attached schedule.")
    if body["billing_mode"]["type"] != "flexible":
        raise refuse("Only subscriptions with the flexible billing mode can be paused.")


def _resume(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.path["subscription"])
    if body["status"] != "paused":
        raise refuse("Only paused subscriptions can be resumed.")
    if body["collection_method"] != "charge_automatically":
        raise refuse("Only subscriptions that are charged automatically can be resumed.")
    body["status"] = "active"
    if (request.get("billing_cycle_anchor") or {"type": "now"})["type"] == "now":
        body["billing_cycle_anchor"] = work.now
    cycles.refresh_periods(work, body)
    invoice = cycles.bill(work, body, "subscription_update")
    cycles.collect_later(work, body, invoice, at_once=True)
    return body


def _migrate(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.path["subscription"])
    body["billing_mode"] = {**body["billing_mode"], **request.params["billing_mode"]}
    return body


def _delete_discount(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    if not body["discounts"]:
        raise refuse("No active discount for subscription: " + request.id, None, "resource_missing")
    gone, body["discounts"] = body["discounts"][0], []
    return {**(work.shown("discount", gone) or {"id": gone, "object": "discount"}), "deleted": True}


def _has_status(_work: Work, body: Body, status: str) -> bool:
    if status == "all":
        return True
    if status == "ended":
        return body["status"] in ENDED
    if status == "not_canceled":
        return bool(body["status"] != "canceled")
    return bool(body["status"] == status)


def _render(work: Work, body: Body) -> Body:
    items = [render_item(work, item) for item in cycles.items_of(work, body["id"])]
    return {**body, "items": in_list(items, f"/v1/subscription_items?subscription={body['id']}")}


def _has_price(work: Work, body: Body, price: str) -> bool:
    return any(item["price"] == price for item in cycles.items_of(work, body["id"]))


def _in_period(field: str) -> Callable[[Work, Body, Any], bool]:
    def holds(work: Work, body: Body, bounds: Any) -> bool:
        moments = [item[field] for item in cycles.items_of(work, body["id"])]
        return any(in_range(moment, bounds) for moment in moments)

    return holds


FAMILY = Family(
    kind="subscription",
    object="subscription",
    prefix="sub",
    blank=SHAPE.blank,
    operations={
        "create": _create,
        "update": _update,
        "cancel": _cancel,
        "pause": _pause,
        "resume": _resume,
        "migrate": _migrate,
        "delete_discount": _delete_discount,
    },
    filters={
        "status": _has_status,
        "price": _has_price,
        "plan": _has_price,
        "current_period_start": _in_period("current_period_start"),
        "current_period_end": _in_period("current_period_end"),
    },
    # docs.stripe.com/api/subscriptions/list: without a status, all that have not been canceled.
    default_filters={"status": "not_canceled"},
    test_clock_filters=("test_clock", "customer", "customer_account"),
    render=_render,
    tick=advance_subscription,
)


FAMILIES = (FAMILY,)
