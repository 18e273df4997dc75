"""Objects that leave in one plan, and of which one would take the other along before its time; and the ways back."""

from __future__ import annotations

import pytest


@pytest.fixture
def contracts(shop):
    """Two people and a subscription of each. `leave` takes one of both out of the models."""

    def rows(*names):
        shop.rows("people", *[(name, f"{name}@example.com") for name in names], columns="id text, email text")
        shop.rows("subs", *[(f"s-{name}", name, price) for name in names], columns="id text, person text, price text")

    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    ).id
    rows("ann", "bo")
    shop.sync("people", resource="customer", fields={"email": "email"}, on_removed="delete")
    shop.sync(
        "subs",
        resource="subscription",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": [{"price": "price"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 14},
        },
    )
    shop.write_rows = rows
    return shop


def end_with(shop, on_removed):
    meta = shop.business.models["subs"]["meta"]["stripe_sync"]
    shop.business.sync("subs", **meta, on_removed=on_removed)


def test_a_customer_waits_for_a_subscription_that_is_to_end_with_its_period(contracts):
    end_with(contracts, "cancel_at_period_end")
    contracts.succeeds()
    contracts.write_rows("bo")

    ran = contracts.succeeds()

    assert "dependent-ends-later" in ran.text
    assert contracts.stripe.count("customer") == 2
    assert sorted((s["status"], s["cancel_at_period_end"]) for s in contracts.objects("subscription")) == [
        ("active", False),
        ("active", True),
    ]
    contracts.writes()
    assert "waits until its subscription has ended" in contracts.succeeds("plan").text
    contracts.check_settled()

    ending = next(s["id"] for s in contracts.objects("subscription") if s["cancel_at_period_end"])
    contracts.hand.v1.subscriptions.cancel(ending)
    contracts.succeeds()

    assert contracts.stripe.count("customer") == 1
    contracts.check_settled()


def test_a_customer_and_a_subscription_that_ends_at_once_leave_in_one_run(contracts):
    end_with(contracts, "cancel")
    contracts.succeeds()
    contracts.write_rows("bo")

    contracts.succeeds()

    assert contracts.stripe.count("customer") == 1
    assert sorted(s["status"] for s in contracts.objects("subscription")) == ["active", "canceled"]
    contracts.check_settled()


def forget(shop):
    shop.succeeds("state", "forget", "people", "ann")


def recreate(shop):
    assert "`on_deleted: recreate`" in shop.fails().text
    meta = shop.business.models["people"]["meta"]["stripe_sync"]
    shop.business.sync("people", **meta, on_deleted="recreate")


@pytest.mark.parametrize("way", [forget, recreate])
def test_a_customer_that_somebody_deleted_is_no_dead_end(contracts, way):
    contracts.succeeds()
    ann = next(c["id"] for c in contracts.objects("customer") if c["email"].startswith("ann"))
    contracts.hand.v1.customers.delete(ann)
    people = [("ann", "ann.new@example.com"), ("bo", "bo@example.com")]
    contracts.rows("people", *people, columns="id text, email text")
    assert "`state forget`" in contracts.fails().text

    way(contracts)
    contracts.succeeds()

    # Stripe has canceled her subscription with the customer, and one that has ended stays so (`when_ended`).
    assert sorted(c["email"] for c in contracts.living("customer")) == ["ann.new@example.com", "bo@example.com"]
    assert len(contracts.living("subscription")) == 1
    contracts.check_settled()
