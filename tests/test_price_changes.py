"""The effect of a changed price on subscribers is shown first, and the change isn't made if they can't follow."""

from __future__ import annotations

import json

import pytest

PRICE = {"sync": "prices", "key": "plan"}


def prices(business, desk="10.00", currency="usd"):
    rows = [("desk", desk, currency), ("lamp", "4.00", "usd")]
    business.rows("prices", *rows, columns="plan text, amount decimal(10, 2), ccy text")


def subscribe(business, price=PRICE, **fields):
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "id"},
            "items": [{"price": price, "quantity": "seats"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            **fields,
        },
    )


@pytest.fixture
def shop(business):
    """Eight customers with a subscription each: seven to a desk (one with three seats), one to a lamp."""
    plans = ["desk"] * 7 + ["lamp"]
    business.rows("subs", *((f"s{i}", p, 3 if i == 0 else 1) for i, p in enumerate(plans)), columns=COLUMNS)
    business.table("customers", "SELECT id FROM subs")
    business.sync("customers", resource="customer", key="id", fields={"name": "id"})
    prices(business)
    business.sync(
        "prices",
        resource="price",
        key="plan",
        fields={
            "product_data.name": "plan",
            "currency": "ccy",
            "unit_amount": {"column": "amount", "as": "minor_units", "currency_column": "ccy"},
            "recurring.interval": {"value": "month"},
        },
    )
    subscribe(business)
    assert business.cli().exit_code == 0
    business.write_calls()
    return business


COLUMNS = "id text, plan text, seats int"


def test_a_plan_shows_moved_subscriptions_amounts_and_proration(shop):
    prices(shop, desk="12.50")

    plan = shop.cli("plan", "--show-values")
    quiet = shop.cli("plan")
    document = json.loads(shop.cli("plan", "--format", "json", "--show-values").out)
    ran = shop.cli()

    said = "price [desk] 10.00 USD -> 12.50 USD per month: moves 7 subscriptions of `subs`, 9 units"
    assert said in plan.text
    assert "`proration_behavior: create_prorations`, Stripe's default: the difference for the rest" in plan.text
    assert "in total +22.50 USD per month" in plan.text
    assert "~ 6 rows alike" in plan.text
    assert "price [desk]: moves 7 subscriptions of `subs`" in quiet.text
    assert "12.50" not in quiet.text
    (change,) = document["price_changes"]
    assert (change["subscriptions"], change["quantity"], change["monthly_difference"]) == (7, 9, "2250.00")
    assert "price [desk]: moves 7 subscriptions" in ran.err
    assert ran.exit_code == 0
    assert "Price changes" not in shop.cli("plan").text


def test_amounts_are_shown_without_other_values_if_configured(shop):
    shop.set(show_amounts=True)
    subscribe(shop, proration_behavior={"value": "none"})
    shop.cli()
    prices(shop, desk="8.00")

    plan = shop.cli("plan")

    assert "10.00 USD -> 8.00 USD per month" in plan.text
    assert "`proration_behavior: none`: nothing is charged or credited" in plan.text
    assert "in total -18.00 USD per month" in plan.text


@pytest.mark.telling
def test_a_price_in_another_currency_is_rejected_with_the_subscriptions_that_cannot_follow(shop):
    prices(shop, desk="10.00", currency="eur")

    ran = shop.cli()

    assert ran.exit_code == 1
    assert "`currency` differs, and 7 rows of `subs` would move to the new price" in ran.text
    assert shop.write_calls() == []
    assert {price["active"] for price in shop.stripe.objects("price")} == {True}


def test_a_price_in_another_currency_is_replaced_if_every_subscription_keeps_the_old_one(shop):
    subscribe(shop, {**PRICE, "when_replaced": "keep"})
    prices(shop, desk="10.00", currency="eur")

    plan = shop.cli("plan")

    assert plan.exit_code == 0, plan.text
    assert "7 rows: keeps the object that this plan replaces (`when_replaced: keep`)" in plan.text
    assert shop.cli().exit_code == 0
    assert {price["currency"] for price in shop.stripe.objects("price")} == {"usd", "eur"}
