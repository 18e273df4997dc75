"""Parts that only creation accepts are immutable at any depth, and an update never sends them again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from business import run_cli

from dbt_stripe_sync.engine.payload.builder import Payload
from dbt_stripe_sync.engine.payload.compare import compare
from dbt_stripe_sync.model.params import immutable_parts
from dbt_stripe_sync.stripe_api.catalog import read_catalog

CATALOG = read_catalog()
SHIPPING: dict[str, Any] = {"display_name": "Std", "fixed_amount": {"amount": 500, "currency": "usd"}}
PRICE = {"currency": "usd", "unit_amount": 500}
LINK = {"line_items": [{"price": "price_1", "quantity": 1}, {"price": "price_2", "quantity": 1}]}
CODE = {"code": "A", "restrictions": {"minimum_amount": 100, "minimum_amount_currency": "usd"}}


def differ(resource, before, after):
    mapped = frozenset((name,) for name in (*before, *after))
    payload = Payload(params=after, absent={}, problems=())
    return compare(before, payload, CATALOG.resources[resource], mapped)


def option(amount, behavior, currency="eur"):
    return {"currency_options": {currency: {"amount": amount, "tax_behavior": behavior}}}


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("shipping_rate", "fixed_amount.amount"),
        ("shipping_rate", "fixed_amount.currency"),
        ("payment_link", "line_items.price"),
        ("payment_link", "line_items.price_data"),
        ("payment_link", "subscription_data.description"),
        ("promotion_code", "restrictions.minimum_amount"),
        ("promotion_code", "restrictions.first_time_transaction"),
        ("quote", "subscription_data.billing_mode"),
    ],
)
def test_the_sdk_shows_which_parts_are_immutable(resource, path):
    name, *rest = path.split(".")
    assert tuple(rest) in set(immutable_parts(CATALOG.resources[resource].params[name]))
    assert not CATALOG.resources[resource].params[name].immutable


@pytest.mark.parametrize(
    ("resource", "before", "after", "immutable", "update"),
    [
        ("shipping_rate", SHIPPING, {"fixed_amount": {"amount": 700, "currency": "usd"}}, ["fixed_amount.amount"], {}),
        (
            "shipping_rate",
            SHIPPING,
            {"fixed_amount": {**SHIPPING["fixed_amount"], **option(400, "exclusive")}},
            [],
            {"fixed_amount": option(400, "exclusive")},
        ),
        (
            "shipping_rate",
            {"fixed_amount": {**SHIPPING["fixed_amount"], **option(400, "exclusive")}},
            {"fixed_amount": {**SHIPPING["fixed_amount"], **option(400, "inclusive")}},
            ["fixed_amount.currency_options.eur.tax_behavior"],
            {"fixed_amount": {"currency_options": {"eur": {"amount": 400}}}},
        ),
        (
            "promotion_code",
            CODE,
            {**CODE, "restrictions": {"minimum_amount": 200, "minimum_amount_currency": "usd"}},
            ["restrictions.minimum_amount"],
            {},
        ),
        (
            "quote",
            {"subscription_data": {"billing_mode": {"type": "classic"}, "trial_period_days": 1}},
            {"subscription_data": {"billing_mode": {"type": "flexible"}, "trial_period_days": 1}},
            ["subscription_data.billing_mode"],
            {},
        ),
        (
            "quote",
            {"subscription_data": {"billing_mode": {"type": "classic"}, "trial_period_days": 1}},
            {"subscription_data": {"billing_mode": {"type": "classic"}, "trial_period_days": 2}},
            [],
            {"subscription_data": {"trial_period_days": 2}},
        ),
        ("price", {**PRICE, "tax_behavior": "unspecified"}, {**PRICE, "tax_behavior": "inclusive"}, [], "tax_behavior"),
        ("price", PRICE, {**PRICE, "tax_behavior": "inclusive"}, [], "tax_behavior"),
        (
            "price",
            {**PRICE, "tax_behavior": "exclusive"},
            {**PRICE, "tax_behavior": "inclusive"},
            ["tax_behavior"],
            {},
        ),
        ("quote", {"customer": "cus_1"}, {"customer": "cus_2"}, ["customer"], {}),
        ("price", {"recurring": {"interval": "day"}}, {"recurring": {"interval": "week"}}, ["recurring"], {}),
        (
            "payment_link",
            LINK,
            {"line_items": [{"price": "price_1", "quantity": 3}, {"price": "price_2", "quantity": 1}]},
            [],
            "line_items",
        ),
        ("payment_link", LINK, {"line_items": LINK["line_items"][::-1]}, [], {}),
        (
            "payment_link",
            LINK,
            {"line_items": [{"price": "price_3", "quantity": 1}, {"price": "price_2", "quantity": 1}]},
            ["line_items.price"],
            {},
        ),
        ("payment_link", LINK, {"line_items": LINK["line_items"][:1]}, ["line_items"], {}),
    ],
)
def test_a_change_of_an_immutable_part_is_named_by_its_path_and_never_sent(resource, before, after, immutable, update):
    found = differ(resource, before, {**before, **after})

    assert found.immutable == immutable
    assert found.update == ({update: after[update]} if isinstance(update, str) else update)
    assert found.desired == {**before, **after}


def test_a_shipping_rate_with_another_amount_is_replaced(business):
    fields = {
        "display_name": "name",
        "type": {"value": "fixed_amount"},
        "fixed_amount.amount": "cents",
        "fixed_amount.currency": {"value": "usd"},
    }
    business.sync("ship", resource="shipping_rate", key="id", fields=fields)
    for cents in (500, 700):
        business.rows("ship", ("std", "Standard", cents), columns="id text, name text, cents int")
        assert business.cli().exit_code == 0

    rates = business.stripe.objects("shipping_rate")
    assert sorted((rate["fixed_amount"]["amount"], rate["active"]) for rate in rates) == [(500, False), (700, True)]


def test_a_payment_link_keeps_its_url_if_only_a_quantity_changes(business):
    prices(business, 1000)
    links(business, 1)
    assert business.cli().exit_code == 0
    (before,) = business.stripe.objects("payment_link")
    links(business, 2)
    assert business.cli().exit_code == 0

    (after,) = business.stripe.objects("payment_link")
    assert after["url"] == before["url"]
    assert business.plan() == []


def test_a_payment_link_with_another_price_is_replaced_if_its_sync_says_so(business):
    prices(business, 1000)
    links(business, 1, options={"replace": True})
    assert business.cli().exit_code == 0
    prices(business, 1200)
    assert business.cli().exit_code == 0
    assert [link["active"] for link in business.stripe.objects("payment_link")] == [False, True]


def prices(business, cents):
    business.rows("products", ("p1", "Gold"), columns="id text, name text")
    business.rows("prices", ("gold", "p1", cents), columns="id text, prod text, cents int")
    business.sync("products", resource="product", key="id", fields={"name": "name"})
    fields = {"product": {"sync": "products", "key": "prod"}, "currency": {"value": "usd"}, "unit_amount": "cents"}
    business.sync("prices", resource="price", key="id", fields=fields)


def links(business, quantity, **more):
    business.rows("links", ("l1", "gold", quantity), columns="id text, price text, q int")
    item = {"price": {"sync": "prices", "key": "price"}, "quantity": "q"}
    business.sync("links", resource="payment_link", key="id", fields={"line_items": [item]}, **more)


def test_fields_shows_immutable_parts_and_those_set_once():
    rows = {row["name"]: row for row in listed("shipping_rate")}
    assert rows["fixed_amount"]["immutable_parts"] == ["amount", "currency"]
    assert rows["tax_behavior"]["set_once"]
    assert "immutable in it: amount, currency" in run_cli("fields", "shipping_rate").out

    assert {row["name"] for row in listed("shipping_rate", "fixed_amount") if row["immutable"]} == {
        "amount",
        "currency",
    }
    assert {row["immutable"] for row in listed("price", "recurring")} == {True}


def listed(*path):
    return [json.loads(line) for line in run_cli("fields", *path, "--output", "json").out.splitlines()]
