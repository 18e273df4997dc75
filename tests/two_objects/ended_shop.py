"""Rows of every resource whose change creates a new object and ends the old one, and whether that one has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from shop import Shop

USD = {"value": "usd"}
MONTHLY = {"value": "month"}
CUSTOMER = {"sync": "people", "key": "person"}
PRODUCT = {"sync": "products", "key": "product"}


@dataclass(frozen=True)
class Replaced:
    """A sync whose row changes what Stripe can't change.

    `end` is the request that ends the old object: its method, and a pattern of its path. `gone` says that the old
    object leaves Stripe's lists.
    """

    name: str
    resource: str
    columns: str
    fields: dict[str, Any]
    before: tuple[Any, ...]
    after: tuple[Any, ...]
    end: tuple[str, str]
    gone: bool = False
    is_ended: Callable[[dict[str, Any]], bool] = lambda body: body["active"] is False
    options: dict[str, Any] = field(default_factory=dict)


def _is_canceled(body: dict[str, Any]) -> bool:
    return body["status"] == "canceled"


REPLACED = (
    Replaced(
        name="prices",
        resource="price",
        columns="id text, product text, cents int",
        fields={"product": PRODUCT, "currency": USD, "unit_amount": "cents", "lookup_key": "id"},
        before=("m", "p", 1000),
        after=("m", "p", 1200),
        end=("POST", "^/v1/prices/"),
    ),
    Replaced(
        name="coupons",
        resource="coupon",
        columns="id text, pct int",
        fields={"percent_off": "pct", "duration": {"value": "once"}},
        before=("k", 10),
        after=("k", 20),
        end=("DELETE", "^/v1/coupons/"),
        gone=True,
    ),
    Replaced(
        name="tax_rates",
        resource="tax_rate",
        columns="id text, pct int",
        fields={"display_name": "id", "percentage": "pct", "inclusive": {"value": False}},
        before=("t", 19),
        after=("t", 20),
        end=("POST", "^/v1/tax_rates/"),
    ),
    Replaced(
        name="shipping",
        resource="shipping_rate",
        columns="id text, title text",
        fields={
            "display_name": "title",
            "type": {"value": "fixed_amount"},
            "fixed_amount": {"value": {"amount": 500, "currency": "usd"}},
        },
        before=("h", "Slow"),
        after=("h", "Fast"),
        end=("POST", "^/v1/shipping_rates/"),
    ),
    Replaced(
        name="subs",
        resource="subscription",
        columns="id text, person text, price text",
        fields={
            "customer": CUSTOMER,
            "items": [{"price": "price"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
        },
        before=("s", "c1", "PRICE"),
        after=("s", "c2", "PRICE"),
        end=("DELETE", "^/v1/subscriptions/"),
        is_ended=_is_canceled,
        options={"replace": True},
    ),
    Replaced(
        name="items",
        resource="invoice_item",
        columns="id text, person text",
        fields={"customer": CUSTOMER, "amount": {"value": 700}, "currency": USD},
        before=("i", "c1"),
        after=("i", "c2"),
        end=("DELETE", "^/v1/invoiceitems/"),
        gone=True,
    ),
    Replaced(
        name="vat",
        resource="customer.tax_id",
        columns="id text, number text",
        fields={"customer": {"sync": "people", "key": "id"}, "type": {"value": "eu_vat"}, "value": "number"},
        before=("c1", "DE123456789"),
        after=("c1", "DE987654321"),
        end=("DELETE", "^/v1/customers/.*/tax_ids/"),
        gone=True,
    ),
    Replaced(
        name="codes",
        resource="promotion_code",
        columns="id text, code text",
        fields={"promotion": {"value": {"type": "coupon", "coupon": "HALF"}}, "code": "code"},
        before=("x", "SPRING"),
        after=("x", "SUMMER"),
        end=("POST", "^/v1/promotion_codes/"),
    ),
    Replaced(
        name="links",
        resource="payment_link",
        columns="id text, price text, currency text",
        fields={"line_items": [{"price": "price", "quantity": {"value": 1}}], "currency": "currency"},
        before=("n", "PRICE", "usd"),
        after=("n", "PRICE", "eur"),
        end=("POST", "^/v1/payment_links/"),
        options={"replace": True},
    ),
)


def open_shop(shop: Shop) -> None:
    """Customers and a product that are synced, and a price and a coupon that somebody has made by hand."""
    hand = shop.hand.v1
    product = hand.products.create({"name": "Support"}).id
    price = hand.prices.create(
        {
            "product": product,
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
            "currency_options": {"eur": {"unit_amount": 800}},
        }
    ).id
    hand.coupons.create({"id": "HALF", "percent_off": 50, "duration": "once"})
    shop.rows("people", ("c1", "a@example.com"), ("c2", "b@example.com"), columns="id text, email text")
    shop.sync("people", resource="customer", fields={"email": "email"})
    shop.rows("products", ("p", "Desk"), columns="id text, name text")
    shop.sync("products", resource="product", fields={"name": "name"})
    for each in REPLACED:
        shop.sync(each.name, resource=each.resource, fields=each.fields, options=each.options)
    _write(shop, price, [each.before for each in REPLACED])


def change_shop(shop: Shop) -> None:
    """Let every row ask for what its object can't become."""
    price = next(price["id"] for price in shop.objects("price") if price["unit_amount"] == 900)
    _write(shop, price, [each.after for each in REPLACED])


def olds(shop: Shop) -> dict[str, str]:
    """The id of the object of each sync; only one is there yet."""
    ids = {}
    for each in REPLACED:
        made = [o for o in shop.objects(each.resource) if "dbt_stripe_sync" in (o.get("metadata") or {})]
        (body,) = made or shop.objects(each.resource)
        ids[each.name] = str(body["id"])
    return ids


def states(shop: Shop, old: dict[str, str]) -> dict[str, str]:
    """For each sync, whether its old object is `there` or `ended`, and how many others of its own there are."""
    told = {}
    for each in REPLACED:
        objects = {o["id"]: o for o in shop.objects(each.resource)}
        body = objects.pop(old[each.name], None)
        ended = body is None if each.gone or body is None else each.is_ended(body)
        metadata = [o for o in objects.values() if "dbt_stripe_sync" in (o.get("metadata") or {})]
        new = metadata if each.name != "vat" else list(objects.values())
        told[each.name] = f"{'ended' if ended else 'there'}, {len(new)} new"
    return told


def everywhere(state: str) -> dict[str, str]:
    """The same for every sync."""
    return {each.name: state for each in REPLACED}


def _write(shop: Shop, price: str, rows: list[tuple[Any, ...]]) -> None:
    for each, row in zip(REPLACED, rows, strict=True):
        named = tuple(price if value == "PRICE" else value for value in row)
        shop.rows(each.name, named, columns=each.columns)
