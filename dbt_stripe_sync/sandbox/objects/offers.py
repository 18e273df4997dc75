"""The line items of quotes and payment links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import refuse
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.objects.amounts import amount_of
from dbt_stripe_sync.sandbox.objects.prices import add_price
from dbt_stripe_sync.sandbox.store import value_at
from dbt_stripe_sync.stripe_api.rules.named_prices import PRICES_NAMED
from dbt_stripe_sync.stripe_api.rules.together import is_given

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def build_items(work: Work, given: list[Body], before: list[Body], param: str = "line_items") -> list[Body]:
    """Return the line items after a request: those with an id are changed, others are new, and the rest are removed."""
    known = {item["id"]: item for item in before}
    return [_build(work, item, known, f"{param}[{index}]") for index, item in enumerate(given)]


def check_mode(kind: str, items: list[Body], given: dict[str, Any]) -> None:
    """Raise `ApiError` for what is allowed only with recurring prices, or only with one-time prices."""
    repeats = any(item["price"]["type"] == "recurring" for item in items)
    (rule,) = PRICES_NAMED[kind]
    for path in rule.one_time_only if repeats else rule.recurring_only:
        if is_given(value_at(given, path)):
            param = path.replace(".", "[") + ("]" if "." in path else "")
            needed = "There cannot be any line items" if repeats else "There must be at least one line item"
            raise refuse(f"{needed} with a recurring price to use `{path}`.", param)


def _build(work: Work, given: dict[str, Any], known: dict[str, Body], param: str) -> Body:
    old = known.get(given.get("id", ""))
    if given.get("id") and old is None:
        raise refuse(f"No such line item: '{given['id']}'", f"{param}[id]", "resource_missing")
    if given.get("price"):
        price = core.reference(work, "price", given["price"], f"{param}[price]")
        if not price["active"]:
            raise refuse("The price specified is inactive. This field only accepts active prices.", f"{param}[price]")
    elif given.get("price_data"):
        price = add_price(work, given["price_data"])
    else:
        price = work.get("price", known[given["id"]]["price"]["id"])
    quantity = (
        int(given["quantity"]) if given.get("quantity") not in (None, "") else (old or {"quantity": 1})["quantity"]
    )
    amount = amount_of(price, quantity, price["currency"])
    product = work.shown("product", price["product"]) or {}
    return {
        "id": old["id"] if old else new_id("li"),
        "object": "item",
        "adjustable_quantity": given.get("adjustable_quantity") or (old or {}).get("adjustable_quantity"),
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product.get("name"),
        "price": {key: value for key, value in price.items() if key not in {"tiers", "currency_options"}},
        "quantity": quantity,
    }
