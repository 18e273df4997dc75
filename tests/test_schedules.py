"""Subscription schedules: a row's phases are created and changed, whenever the first one begins."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from business import by_hand

from dbt_stripe_sync.sandbox import Sandbox

NOW = {"start_date": {"value": "now"}}


@pytest.mark.parametrize("phase", [{}, NOW], ids=["no start", "now"])
def test_a_schedule_is_created_and_updated_phases_keep_their_start(business, phase):
    api = stripe.StripeClient(Sandbox.api_key, base_addresses={"api": business.stripe.url}).v1
    product = api.products.create({"name": "X"})["id"]
    monthly: Any = {"product": product, "currency": "usd", "recurring": {"interval": "month"}}
    prices = [api.prices.create(monthly | {"unit_amount": amount})["id"] for amount in (1000, 2000)]
    customer = api.customers.create({"email": "a@example.com"})["id"]
    fields = {"customer": "customer", **NOW, "phases": [{**phase, "items": [{"price": "price"}]}]}

    def write(price):
        business.rows("plans", ("s1", customer, price), columns="id text, customer text, price text")
        business.sync("plans", resource="subscription_schedule", key="id", fields=fields)
        ran = business.cli()
        assert ran.exit_code == 0, ran.text

    write(prices[0])
    (made,) = business.stripe.objects("subscription_schedule")
    write(prices[1])
    business.write_calls()
    write(prices[1])

    (changed,) = business.stripe.objects("subscription_schedule")
    assert changed["phases"][0]["items"][0]["price"] == prices[1]
    assert changed["phases"][0]["start_date"] == made["phases"][0]["start_date"]
    assert business.write_calls() == []


def two_phases(business, end):
    """A schedule whose first phase ends at a time that a constant or a column says."""
    monthly = {"currency": "usd", "recurring[interval]": "month", "product_data[name]": "Desk"}
    price = by_hand(business, "prices", unit_amount=1000, **monthly)["id"]
    customer = by_hand(business, "customers", email="a@example.com")["id"]
    phases = [{"items": [{"price": "price"}], "end_date": end}, {"items": [{"price": "price"}]}]
    fields = {"customer": "customer", **NOW, "phases": phases}
    business.rows("plans", ("s1", customer, price, "now"), columns="id text, customer text, price text, ends text")
    return fields


def test_a_phase_of_a_new_schedule_cannot_end_now(business):
    fields = two_phases(business, {"value": "now"})
    business.sync("plans", resource="subscription_schedule", key="id", fields=fields)

    ran = business.cli("parse")

    assert ran.exit_code == 2
    assert (
        "Stripe accepts this value for `end_date` in updates only, and the sync creates each subscription_schedule"
        in ran.text
    )
    business.sync("plans", resource="subscription_schedule", key="id", mode="update", fields=fields)
    assert "Stripe accepts this value for" not in business.cli("parse").text


def test_a_row_whose_new_schedule_would_end_a_phase_now_is_rejected(business):
    business.sync("plans", resource="subscription_schedule", key="id", fields=two_phases(business, "ends"))

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`phases.0.end_date` has a value that Stripe accepts only in updates" in ran.text
    assert business.stripe.count("subscription_schedule") == 0


def test_unmapped_parts_of_phases_survive_an_update(business):
    hand = stripe.StripeClient(Sandbox.api_key, base_addresses={"api": business.stripe.url}).v1
    product = hand.products.create({"name": "Desk"}).id
    prices = [
        hand.prices.create(
            {"product": product, "currency": "usd", "unit_amount": cents, "recurring": {"interval": "month"}}
        ).id
        for cents in (1000, 2000, 3000)
    ]
    customer = hand.customers.create({"email": "a@example.com"}).id
    hand.coupons.create({"id": "HALF", "percent_off": 50, "duration": "once"})
    columns = "id text, customer text, first text, second text, months int, about text"
    length = {"interval": {"value": "month"}, "interval_count": "months"}
    phases = [
        {"items": [{"price": "first"}], "duration": length, "description": "about"},
        {"items": [{"price": "second"}], "duration": length},
    ]
    fields = {"customer": "customer", **NOW, "phases": phases}
    business.rows("plans", ("p1", customer, prices[0], prices[1], 3, "Trial"), columns=columns)
    business.sync("plans", resource="subscription_schedule", key="id", fields=fields)
    assert business.cli().exit_code == 0
    (made,) = business.stripe.objects("subscription_schedule")
    kept = ("start_date", "end_date", "description")
    by_somebody: Any = [
        {
            **{name: phase[name] for name in kept if phase[name]},
            "items": [{"price": item["price"], "quantity": 5, "metadata": {"desk": "7"}} for item in phase["items"]],
            "metadata": {"note": "by hand"},
            "discounts": [{"coupon": "HALF"}],
        }
        for phase in made["phases"]
    ]
    hand.subscription_schedules.update(made["id"], {"phases": by_somebody})

    business.rows("plans", ("p1", customer, prices[0], prices[2], 6, None), columns=columns)
    ran = business.cli()

    assert ran.exit_code == 0, ran.text
    (schedule,) = business.stripe.objects("subscription_schedule")
    first, second = schedule["phases"]
    assert [phase["metadata"] for phase in (first, second)] == [{"note": "by hand"}] * 2
    assert [phase["discounts"][0]["coupon"] for phase in (first, second)] == ["HALF", "HALF"]
    assert (first["items"][0]["quantity"], first["items"][0]["metadata"]) == (5, {"desk": "7"})
    assert (second["items"][0]["price"], second["items"][0]["quantity"]) == (prices[2], 1)
    assert first["description"] is None
    assert first["end_date"] - first["start_date"] > 150 * 86_400
    business.write_calls()
    assert business.cli().exit_code == 0
    assert business.write_calls() == []
