"""Schedules of subscriptions: a row's phases are made, and changed, wherever the first begins."""

from __future__ import annotations

import pytest
import stripe

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
