"""If Stripe's documented rules would reject a row, the plan rejects it before anything is sent."""

from __future__ import annotations

import time
from typing import Any

import pytest
import stripe as stripe_sdk
from business import by_hand
from frozen_objects import FROZEN_CASES, make_in_status
from msgspec.structs import replace

from dbt_stripe_sync.sandbox.objects import limits
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog

DAY = 86_400


def test_a_value_that_stripe_would_refuse_is_rejected_with_field_and_reason(business):
    business.rows(
        "people",
        ("long", "+1 780-555-0156 ext. 7250", "Ann"),
        ("name", "+15550100", "x" * 257),
        ("good", "+15550101", "Bob"),
        columns="id text, phone text, name text",
    )
    business.sync("people", resource="customer", key="id", fields={"phone": "phone", "name": "name"})

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    assert "`phone` has 25 characters, Stripe accepts 20" in planned.text
    assert "`name` has 257 characters, Stripe accepts 256" in planned.text
    assert "7250" not in planned.text
    assert ran.exit_code == 1
    assert [customer["name"] for customer in business.stripe.objects("customer")] == ["Bob"]
    assert len(business.stripe.writes()) == 1


def test_every_rule_that_a_row_breaks_is_named_with_its_source(business):
    business.rows("prices", ("p1", 4, "xyz", 12.5), columns="id text, years int, cur text, amount decimal(9, 1)")
    fields = {
        "product_data.name": "id",
        "product_data.statement_descriptor": {"value": '<ACME> "and more" than 22'},
        "currency": "cur",
        "unit_amount_decimal": "amount",
        "recurring.interval": {"value": "year"},
        "recurring.interval_count": "years",
    }
    business.sync("prices", resource="price", key="id", fields=fields)

    planned = business.cli("plan")

    for said in (
        "`product_data.statement_descriptor` has 25 characters, Stripe accepts 22",
        "`currency` is not a currency that Stripe supports",
        "`recurring.interval_count` is longer than 3 years",
    ):
        assert said in planned.text
    business.cli("run", "--yes")
    assert not business.stripe.writes()


def test_a_time_that_stripe_would_refuse_is_rejected_before_it_is_sent(business):
    soon = int(time.time()) + 30 * DAY
    in_milliseconds = soon * 1000
    rows = [("c1", soon, "Spring"), ("c2", in_milliseconds, "Late")]
    business.rows("coupons", *rows, columns="id text, redeem bigint, name text")
    fields = {"percent_off": {"value": 10}, "duration": {"value": "once"}, "redeem_by": "redeem", "name": "name"}
    business.sync("coupons", resource="coupon", key="id", fields=fields)

    ran = business.cli("run", "--yes")

    assert "`redeem_by` is more than 5 years in the future" in ran.text
    assert [coupon["name"] for coupon in business.stripe.objects("coupon")] == ["Spring"]
    assert len(business.stripe.writes()) == 1


@pytest.mark.parametrize(("resource", "status", "rule", "change"), FROZEN_CASES)
def test_what_a_status_fixes_is_known_to_the_plan_unless_it_is_a_guess(
    business, stripe, resource, status, rule, change
):
    """The same rows of the table by which the sandbox refuses."""
    api = stripe_sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1
    made = make_in_status(api, stripe, resource, status)
    ((name, value),) = change.items()
    business.rows("things", (made, value), columns=f"id text, v {'bigint' if isinstance(value, int) else 'text'}")
    business.sync("things", resource=resource, key="id", mode="update", match=["id"], fields={name: "v"})
    stripe.reset_requests()

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    if rule.source is None:
        assert ran.exit_code == 1
        assert stripe.writes()
    elif status in lifecycle_of(resource).ended:
        assert "has already ended" in planned.text
        assert not stripe.writes()
    else:
        assert f"`{name}` can't be changed" in planned.text
        assert rule.fixed.reason in planned.text
        assert not stripe.writes()


@pytest.fixture
def few_invoice_items(monkeypatch):
    """An invoice of the plan and of the local Stripe takes four items here; 250 are made one by one elsewhere."""
    resource = read_catalog().resources["invoice_item"]
    assert resource.lifecycle.at_most.most == limits.MOST_INVOICE_ITEMS == 250
    rule = replace(resource.lifecycle.at_most, most=4)
    monkeypatch.setitem(resource.__dict__, "lifecycle", replace(resource.lifecycle, at_most=rule))
    monkeypatch.setattr(limits, "MOST_INVOICE_ITEMS", 4)


@pytest.mark.usefixtures("few_invoice_items")
def test_one_invoice_item_too_many_is_known_to_the_plan_with_those_of_earlier_runs(business, stripe):
    api = stripe_sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1
    customer = api.customers.create({"email": "a@example.com"}).id
    invoice = api.invoices.create({"customer": customer}).id
    business.table("items", f"SELECT i::text AS id, '{invoice}' AS inv, '{customer}' AS cu FROM range(3) t(i)")
    fields = {"customer": "cu", "invoice": "inv", "amount": {"value": 5}, "currency": {"value": "usd"}}
    business.sync("items", resource="invoice_item", key="id", fields=fields)
    assert business.cli("run", "--yes").exit_code == 0
    business.table("items", f"SELECT i::text AS id, '{invoice}' AS inv, '{customer}' AS cu FROM range(6) t(i)")

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    assert "Stripe accepts no more" in planned.text
    assert "2 rejected" in planned.text
    assert ran.exit_code == 1
    assert stripe.count("invoice_item") == 4
    assert all(line.status == 200 for line in stripe.writes())


def test_a_second_currency_of_a_customer_is_known_to_the_plan(business, stripe):
    business.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("plans", ("usd", "usd"), ("eur", "eur"), columns="id text, cur text")
    price = {"product_data.name": "id", "currency": "cur", "unit_amount": {"value": 500}}
    business.sync("plans", resource="price", key="id", fields={**price, "recurring.interval": {"value": "month"}})
    business.rows("subs", ("s1", "c1", "usd"), ("s2", "c1", "eur"), columns="id text, person text, plan text")
    fields = {
        "customer": {"sync": "people", "key": "person"},
        "items": [{"price": {"sync": "plans", "key": "plan"}}],
    }
    business.sync("subs", resource="subscription", key="id", fields=fields)

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    assert "`customer` gets a second currency in this plan" in planned.text
    assert ran.exit_code == 1
    assert len(stripe.objects("subscription")) == 1
    assert all(line.status == 200 for line in stripe.writes())


@pytest.mark.parametrize("ended", [False, True])
def test_a_currency_of_an_earlier_run_is_known_to_the_plan_while_its_subscription_lives(business, stripe, ended):
    business.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("plans", ("usd", "usd"), ("eur", "eur"), columns="id text, cur text")
    price = {"product_data.name": "id", "currency": "cur", "unit_amount": {"value": 500}}
    business.sync("plans", resource="price", key="id", fields={**price, "recurring.interval": {"value": "month"}})
    business.rows("subs", ("s1", "c1", "eur"), columns="id text, person text, plan text")
    fields = {
        "customer": {"sync": "people", "key": "person"},
        "items": [{"price": {"sync": "plans", "key": "plan"}}],
    }
    business.sync("subs", resource="subscription", key="id", fields=fields)
    assert business.cli("run", "--yes").exit_code == 0
    if ended:
        (made,) = stripe.objects("subscription")
        by_hand(business, f"subscriptions/{made['id']}", method="DELETE")
    business.rows("subs", ("s1", "c1", "eur"), ("s2", "c1", "usd"), columns="id text, person text, plan text")

    planned = business.cli("plan")

    assert ("row [s1] of `subs` has the same `customer` in another currency" in planned.text) is not ended
    assert business.cli("run", "--yes").exit_code == (0 if ended else 1)
    assert len(stripe.objects("subscription")) == (2 if ended else 1)
    assert all(line.status == 200 for line in stripe.writes())


def test_a_product_with_prices_is_known_not_to_be_deletable(business, stripe):
    business.rows("products", ("p1", "Desk"), ("p2", "Lamp"), columns="id text, name text")
    business.sync("products", resource="product", key="id", fields={"name": "name"}, on_removed="delete")
    business.cli("run", "--yes")
    api = stripe_sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1
    priced = next(p for p in stripe.objects("product") if p["name"] == "Desk")["id"]
    price = api.prices.create({"product": priced, "currency": "usd", "unit_amount": 5}).id
    api.prices.update(price, {"active": False})
    business.rows("products", ("p3", "Chair"), columns="id text, name text")
    stripe.reset_requests()

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    assert f"{priced} can't be deleted" in planned.text
    assert price in planned.text
    assert ran.exit_code == 1
    assert all(line.status == 200 for line in stripe.writes())


@pytest.mark.parametrize("earlier", [False, True], ids=["of this plan", "of an earlier run"])
@pytest.mark.parametrize("is_recurring", [False, True], ids=["one-time", "recurring"])
def test_a_price_of_the_wrong_kind_is_known_to_the_plan(business, stripe, is_recurring, earlier):
    business.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("plans", ("p1", "usd"), columns="id text, cur text")
    price = {"product_data.name": "id", "currency": "cur", "unit_amount": {"value": 500}}
    price |= {"recurring.interval": {"value": "month"}} if is_recurring else {}
    business.sync("plans", resource="price", key="id", fields=price)
    if earlier:
        assert business.cli("run").exit_code == 0
    business.rows("subs", ("s1", "c1", "p1"), columns="id text, person text, plan text")
    customer, plan = {"sync": "people", "key": "person"}, {"sync": "plans", "key": "plan"}
    business.sync("subs", resource="subscription", key="id", fields={"customer": customer, "items": [{"price": plan}]})
    business.rows("items", ("i1", "c1", "p1"), columns="id text, person text, plan text")
    fields = {"customer": customer, "pricing.price": plan}
    business.sync("items", resource="invoice_item", key="id", fields=fields)

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    kept, lost = ("subscription", "invoice_item") if is_recurring else ("invoice_item", "subscription")
    assert f"is a {'recurring' if is_recurring else 'one-time'} price, and Stripe accepts only" in planned.text
    assert (ran.exit_code, stripe.count(kept), stripe.count(lost)) == (1, 1, 0)
    assert all(line.status == 200 for line in stripe.writes())


@pytest.mark.parametrize(("column", "value", "is_accepted"), [("plan", "p2", True), ("note", "new", False)])
def test_subscriptions_that_cannot_wait_for_payment_are_known_to_the_plan(business, stripe, column, value, is_accepted):
    business.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("plans", ("p1", 500), ("p2", 900), columns="id text, amount int")
    price = {"product_data.name": "id", "currency": {"value": "usd"}, "unit_amount": "amount"}
    business.sync("plans", resource="price", key="id", fields={**price, "recurring.interval": {"value": "month"}})
    row = {"id": "s1", "person": "c1", "plan": "p1", "note": "old", "waits": None}
    columns = ", ".join(f"{name} text" for name in row)
    business.rows("subs", tuple(row.values()), columns=columns)
    fields = {
        "customer": {"sync": "people", "key": "person"},
        "items": [{"price": {"sync": "plans", "key": "plan"}}],
        "description": "note",
        "payment_behavior": "waits",
    }
    business.sync("subs", resource="subscription", key="id", fields=fields)
    assert business.cli("run").exit_code == 0
    business.rows("subs", tuple({**row, "waits": "pending_if_incomplete", column: value}.values()), columns=columns)
    stripe.reset_requests()

    ran = business.cli("run")

    assert (ran.exit_code == 0) is is_accepted, ran.text
    assert (
        "can't be `pending_if_incomplete` in a request that also sends `description`" in ran.text
    ) is not is_accepted
    assert len(stripe.writes()) == (1 if is_accepted else 0)


PRICE_ROWS: dict[str, dict[str, Any]] = {
    "metered": {"recurring.interval": {"value": "month"}, "recurring.usage_type": {"value": "metered"}},
    "monthly": {"recurring.interval": {"value": "month"}},
    "once": {},
    "archived": {"recurring.interval": {"value": "month"}, "active": {"value": False}},
}


@pytest.mark.parametrize(
    ("kind", "resource", "fields", "said"),
    [
        (
            "metered",
            "subscription",
            {"items": [{"quantity": {"value": 2}}]},
            "`quantity` can't be set for a metered price",
        ),
        ("metered", "subscription", {"items": [{}]}, None),
        ("monthly", "subscription", {"items": [{"quantity": {"value": 2}}]}, None),
        ("archived", "subscription", {"items": [{}]}, "names a price that is archived"),
        ("once", "payment_link", {"application_fee_percent": {"value": 5}}, "requires a recurring price"),
        ("monthly", "payment_link", {"application_fee_percent": {"value": 5}}, None),
        ("monthly", "payment_link", {"application_fee_amount": {"value": 5}}, "can't be set with a recurring price"),
    ],
)
def test_combinations_that_a_price_forbids_are_known_to_the_plan(business, stripe, kind, resource, fields, said):
    api = stripe_sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1
    customer = api.customers.create({"email": "a@example.com"}).id
    price: dict[str, Any] = {"product_data.name": "id", "currency": {"value": "usd"}, "unit_amount": {"value": 500}}
    price |= PRICE_ROWS[kind]
    if kind == "metered":
        counted: Any = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
        price["recurring.meter"] = {"value": api.billing.meters.create(counted).id}
    business.rows("plans", ("p1",), columns="id text")
    business.sync("plans", resource="price", key="id", fields=price)
    business.rows("things", ("t1", "p1", customer), columns="id text, plan text, person text")
    named = {"price": {"sync": "plans", "key": "plan"}}
    if resource == "subscription":
        mapped = {"customer": "person", "items": [{**named, **fields["items"][0]}]}
    else:
        mapped = {"line_items": [{**named, "quantity": {"value": 1}}], **fields}
    business.sync("things", resource=resource, key="id", fields=mapped)
    stripe.reset_requests()

    ran = business.cli("run")

    assert (ran.exit_code == 0) is (said is None), ran.text
    assert said is None or said in ran.text
    assert stripe.count(resource) == (1 if said is None else 0)
    assert all(line.status == 200 for line in stripe.writes())
