"""Subscription items: what a subscription bills, each with a price, a quantity and a period."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.listing import page_of
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import cycles
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts
from dbt_stripe_sync.sandbox.objects.prices import add_price
from dbt_stripe_sync.sandbox.objects.rates import read_rates
from dbt_stripe_sync.stripe_api.rules.counts import SUBSCRIPTION_ITEMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_SET_SEPARATELY = (
    "id",
    "subscription",
    "price",
    "price_data",
    "plan",
    "quantity",
    "deleted",
    "clear_usage",
    "discounts",
    "tax_rates",
    "proration_behavior",
    "proration_date",
    "payment_behavior",
    "off_session",
    "current_trial",
)


def names_price(given: Mapping[str, Any]) -> bool:
    """Return whether an item names or describes its price."""
    return any(given.get(name) for name in ("price", "plan", "price_data"))


def price_for(work: Work, given: dict[str, Any], param: str, currency: str | None) -> Body:
    """Return the price that an item names, or create the one that it describes. Raises `ApiError`."""
    named = given.get("price") or given.get("plan")
    if not named:
        return add_price(work, {"currency": currency, **given["price_data"]})
    price = core.reference(work, "price", named, f"{param}[price]")
    if not price["active"]:
        raise refuse("The price specified is inactive. This field only accepts active prices.", f"{param}[price]")
    if price["type"] != "recurring":
        raise refuse(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
            f"{param}[price]",
        )
    return price


def put_items(work: Work, subscription: Body, given: list[Body], *, param: str = "items") -> None:
    """Change, remove or add items as a request says: an item without an id is new. Raises `ApiError`."""
    for index, item in enumerate(given):
        at = f"{param}[{index}]"
        if item.get("id"):
            held = core.reference(work, FAMILY.kind, item["id"], f"{at}[id]")
            if held["subscription"] != subscription["id"]:
                raise refuse(f"The item {item['id']} does not belong to this subscription.", f"{at}[id]")
            if item.get("deleted"):
                work.remove(FAMILY.kind, item["id"])
            else:
                change_item(work, subscription, work.edit(FAMILY.kind, item["id"]), item, at)
        else:
            add_item(work, subscription, item, at)
    check_items(work, subscription)


def add_item(work: Work, subscription: Body, given: Body, param: str) -> Body:
    """Add an item to the subscription, in its current period."""
    price = price_for(work, given, param, subscription["currency"])
    body = core.new_body(FAMILY, work)
    body.pop("livemode")
    body["subscription"] = subscription["id"]
    _put_price(work, subscription, body, price)
    if price["recurring"]["usage_type"] == "metered":
        if given.get("quantity") not in (None, ""):
            raise refuse("You can't set a quantity for a metered price.", f"{param}[quantity]")
        body.pop("quantity")
    else:
        body["quantity"] = int(given["quantity"]) if given.get("quantity") not in (None, "") else 1
    _put(work, subscription, body, given)
    return work.add(FAMILY.kind, body)


def change_item(work: Work, subscription: Body, body: Body, given: Body, param: str) -> None:
    """Update an item that is being edited."""
    if names_price(given):
        price = price_for(work, given, param, subscription["currency"])
        _put_price(work, subscription, body, price)
        if price["recurring"]["usage_type"] == "metered":
            body.pop("quantity", None)
        else:
            body.setdefault("quantity", 1)
    if given.get("quantity") not in (None, ""):
        if "quantity" not in body:
            raise refuse("You can't set a quantity for a metered price.", f"{param}[quantity]")
        body["quantity"] = int(given["quantity"])
    _put(work, subscription, body, given)


def _put_price(work: Work, subscription: Body, body: Body, price: Body) -> None:
    body["price"] = price["id"]
    body["plan"] = price["id"]
    start, end = cycles.current_period(subscription, price, work.now)
    body["current_period_start"], body["current_period_end"] = start, end


def _put(work: Work, subscription: Body, body: Body, given: Body) -> None:
    apply_params(body, given, leave=_SET_SEPARATELY)
    if "tax_rates" in given:
        body["tax_rates"] = read_rates(work, given["tax_rates"], "tax_rates", body["tax_rates"])
    if "discounts" in given:
        body["discounts"] = apply_discounts(
            work,
            given["discounts"],
            body["discounts"],
            customer=subscription["customer"],
            subscription_item=body["id"],
        )


def check_items(work: Work, subscription: Body) -> None:
    """Check the rules between the items of a subscription. Raises `ApiError` if one is broken."""
    items = cycles.items_of(work, subscription["id"])
    if not items:
        raise refuse(
            "A subscription must have at least one active plan. To cancel it, cancel the subscription.", "items"
        )
    # A guess: `billing-modes`.
    most = SUBSCRIPTION_ITEMS[subscription["billing_mode"]["type"]]
    if len(items) > most:
        raise refuse(f"A subscription can have up to {most} items.", "items")
    seen: set[str] = set()
    first = work.get("price", items[0]["price"])
    for item in items:
        price = work.get("price", item["price"])
        if price["id"] in seen:
            raise refuse(f"Cannot add multiple subscription items with the same price: {price['id']}", "items")
        seen.add(price["id"])
        recurring, expected = price["recurring"], first["recurring"]
        if subscription["billing_mode"]["type"] == "classic" and any(
            recurring[name] != expected[name] for name in ("interval", "interval_count")
        ):
            raise refuse(
                "Currency and interval fields must match across all plans on this subscription. Found mismatch in "
                "interval field.",
                "items",
            )
        if subscription["currency"] not in price.get("currency_options", {price["currency"]: None}):
            raise refuse(
                f"The price specified only supports `{price['currency']}`. This doesn't match the expected currency: "
                f"`{subscription['currency']}`.",
                "items",
            )


def render_item(work: Work, body: Body) -> Body:
    """Return an item with its price and, for older clients, its plan."""
    price = work.shown("price", body["price"]) or {"id": body["price"], "object": "price", "deleted": True}
    shown = {key: value for key, value in price.items() if key not in {"tiers", "currency_options"}}
    return {**body, "price": shown, "plan": _as_plan(shown)}


def _as_plan(price: Body) -> Body | None:
    recurring = price.get("recurring")
    if not recurring:
        return None
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": price["livemode"],
        "metadata": price["metadata"],
        "meter": recurring["meter"],
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }


def _create(work: Work, request: ApiRequest) -> Body:
    subscription = core.reference(work, "subscription", request.params["subscription"], "subscription")
    before = cycles.snapshot(work, subscription)
    body = add_item(work, subscription, request.params, "item")
    check_items(work, subscription)
    cycles.prorate(work, subscription, before, request.params)
    return body


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    subscription = work.get("subscription", body["subscription"])
    before = cycles.snapshot(work, subscription)
    change_item(work, subscription, body, request.params, "item")
    check_items(work, subscription)
    cycles.prorate(work, subscription, before, request.params)
    return body


def _delete(work: Work, request: ApiRequest) -> Body:
    body = work.get(FAMILY.kind, request.id)
    subscription = work.get("subscription", body["subscription"])
    before = cycles.snapshot(work, subscription)
    deleted = core.delete(FAMILY, work, request)
    check_items(work, subscription)
    cycles.prorate(work, subscription, before, request.params)
    return deleted


def _list(work: Work, request: ApiRequest) -> Body:
    subscription = core.reference(work, "subscription", request.params["subscription"], "subscription")
    return page_of(cycles.items_of(work, subscription["id"]), request)


FAMILY = Family(
    kind="subscription_item",
    object="subscription_item",
    prefix="si",
    blank={
        "billing_thresholds": None,
        "plan": None,
        "price": None,
        "quantity": 1,
        "subscription": None,
        "tax_rates": [],
    },
    operations={"create": _create, "update": _update, "delete": _delete, "list": _list},
    render=render_item,
)
FAMILIES = (FAMILY,)
