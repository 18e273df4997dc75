"""Schedules of subscriptions: a row's phases are made, and changed, wherever the first begins."""

from __future__ import annotations

import pytest
import stripe
from business import by_hand

from dbt_stripe_sync.sandbox import Sandbox

NOW = {"start_date": {"value": "now"}}


@pytest.mark.parametrize("phase", [{}, NOW], ids=["no start", "now"])
def test_a_schedule_is_made_and_its_phases_are_changed_from_where_they_began(business, phase):
    api = stripe.StripeClient(Sandbox.api_key, base_addresses={"api": business.stripe.url}).v1
    product = api.products.create({"name": "X"})["id"]
    monthly = {"product": product, "currency": "usd", "recurring": {"interval": "month"}}
    prices = [api.prices.create({**monthly, "unit_amount": amount})["id"] for amount in (1000, 2000)]
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
    assert "`end_date` takes this word in updates only, and the sync creates each subscription_schedule" in ran.text
    business.sync("plans", resource="subscription_schedule", key="id", mode="update", fields=fields)
    assert "takes this word in updates only" not in business.cli("parse").text


def test_a_row_whose_new_schedule_would_end_a_phase_now_is_rejected(business):
    business.sync("plans", resource="subscription_schedule", key="id", fields=two_phases(business, "ends"))

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`phases.0.end_date` has a word that Stripe takes in updates only" in ran.text
    assert business.stripe.count("subscription_schedule") == 0
