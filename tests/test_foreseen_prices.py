"""If Stripe would reject the prices that a row names, the plan rejects the row before anything is sent."""

from __future__ import annotations

import time
from typing import Any

import pytest
import stripe as stripe_sdk
from business import by_hand

DAY = 86_400
MONTHLY = {"interval": "month"}
# What names a price, with the kind that Stripe takes there.
NAMING = {
    "subscription": ({"customer": "cu", "items": [{"price": "price"}]}, True),
    "subscription_schedule": (
        {"customer": "cu", "start_date": {"value": "now"}, "phases": [{"items": [{"price": "price"}]}]},
        True,
    ),
    "invoice_item": ({"customer": "cu", "pricing.price": "price"}, False),
    "payment_link": ({"line_items": [{"price": "price", "quantity": {"value": 1}}]}, False),
    "quote": ({"customer": "cu", "line_items": [{"price": "price"}]}, False),
}
ARCHIVED = "names a price that is archived, and Stripe accepts only active ones"


@pytest.fixture
def api(stripe):
    return stripe_sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1


def new_price(api, *, recurring=False, currency="usd", **more):
    product = api.products.create({"name": "Desk"}).id
    period = {"recurring": MONTHLY} if recurring else {}
    return api.prices.create({"product": product, "currency": currency, "unit_amount": 900, **period, **more}).id


def expect_refused_unsent(business, *said):
    """The plan says it, a run sends nothing of it, and Stripe has refused nothing."""
    planned = business.cli("plan")
    before = len(business.stripe.writes())
    ran = business.cli("run", "--yes")
    for words in said:
        assert words in planned.text
    assert ran.exit_code == 1
    assert all(line.status == 200 for line in business.stripe.writes()[before:])
    return business.stripe.writes()[before:]


@pytest.mark.parametrize("resource", NAMING)
def test_a_plan_notices_a_price_archived_by_someone_else(business, stripe, api, resource):
    fields, recurring = NAMING[resource]
    customer = api.customers.create({"email": "a@example.com"}).id
    gone, good = new_price(api, recurring=recurring), new_price(api, recurring=recurring)
    api.prices.update(gone, {"active": False})
    business.rows("things", ("old", customer, gone), ("new", customer, good), columns="id text, cu text, price text")
    business.sync("things", resource=resource, key="id", fields=fields)

    expect_refused_unsent(business, ARCHIVED, "1 rejected")

    assert stripe.count(resource) == 1


def test_a_separate_item_cannot_have_an_archived_price(business, api):
    customer = api.customers.create({"email": "a@example.com"}).id
    sub = api.subscriptions.create({"customer": customer, "items": [{"price": new_price(api, recurring=True)}]}).id
    gone = new_price(api, recurring=True)
    api.prices.update(gone, {"active": False})
    business.rows("items", ("i1", sub, gone), columns="id text, sub text, price text")
    business.sync("items", resource="subscription_item", key="id", fields={"subscription": "sub", "price": "price"})

    assert not expect_refused_unsent(business, f"`price` {ARCHIVED}")


def test_a_plan_notices_a_price_that_it_archives_itself(business, stripe):
    business.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("plans", ("p1", True), ("p2", True), columns="id text, on_sale boolean")
    price = {"product_data.name": "id", "currency": {"value": "usd"}, "unit_amount": {"value": 500}}
    price |= {"recurring.interval": {"value": "month"}, "active": "on_sale"}
    business.sync("plans", resource="price", key="id", fields=price)
    assert business.cli("run").exit_code == 0
    business.rows("plans", ("p1", False), ("p2", True), ("p3", False), columns="id text, on_sale boolean")
    rows = [(f"s{number}", "c1", f"p{number}") for number in (1, 2, 3)]
    business.rows("subs", *rows, columns="id text, person text, plan text")
    customer, plan = {"sync": "people", "key": "person"}, {"sync": "plans", "key": "plan"}
    business.sync("subs", resource="subscription", key="id", fields={"customer": customer, "items": [{"price": plan}]})

    expect_refused_unsent(business, "names a price that this plan archives", "2 rejected")

    assert stripe.count("subscription") == 1


def test_an_object_that_already_has_an_archived_price_can_be_changed(business, stripe, api):
    customer, price = api.customers.create({"email": "a@example.com"}).id, new_price(api, recurring=True)
    business.rows("subs", ("s1", customer, price, 1), columns="id text, cu text, price text, seats int")
    items = [{"price": "price", "quantity": "seats"}]
    business.sync("subs", resource="subscription", key="id", fields={"customer": "cu", "items": items})
    assert business.cli("run").exit_code == 0
    api.prices.update(price, {"active": False})
    business.rows("subs", ("s1", customer, price, 7), columns="id text, cu text, price text, seats int")

    assert business.cli("run").exit_code == 0

    (item,) = stripe.objects("subscription_item")
    assert item["quantity"] == 7


def test_a_price_that_becomes_active_again_is_accepted(business, stripe, api):
    customer, price = api.customers.create({"email": "a@example.com"}).id, new_price(api, recurring=True)
    api.prices.update(price, {"active": False})
    business.rows("subs", ("s1", customer, price), columns="id text, cu text, price text")
    business.sync("subs", resource="subscription", key="id", fields={"customer": "cu", "items": [{"price": "price"}]})
    assert business.cli("run").exit_code == 1
    by_hand(business, f"prices/{price}", active="true")

    assert business.cli("run").exit_code == 0
    assert stripe.count("subscription") == 1


@pytest.mark.parametrize("options", [False, True], ids=["two currencies", "an option in common"])
@pytest.mark.parametrize("resource", ["subscription", "payment_link"])
def test_a_plan_notices_prices_without_a_common_currency(business, api, resource, options):
    recurring = resource == "subscription"
    customer = api.customers.create({"email": "a@example.com"}).id
    more = {"currency_options": {"usd": {"unit_amount": 800}}} if options else {}
    usd, eur = new_price(api, recurring=recurring), new_price(api, recurring=recurring, currency="eur", **more)
    business.rows("things", ("t1", customer, usd, eur), columns="id text, cu text, one text, two text")
    one = {"value": 1}
    items = [{"price": "one", "quantity": one}, {"price": "two", "quantity": one}]
    fields = {"customer": "cu", "items": items} if recurring else {"line_items": items}
    business.sync("things", resource=resource, key="id", fields=fields)

    if not options:
        assert not expect_refused_unsent(business, "has prices of two currencies, and Stripe accepts one")
        return
    said = "has prices of two currencies"
    assert said not in business.cli("plan").text


def test_a_price_of_another_currency_is_not_added_to_a_subscription(business, stripe, api):
    customer, usd = api.customers.create({"email": "a@example.com"}).id, new_price(api, recurring=True)
    business.rows("subs", ("s1", customer), columns="id text, cu text")
    business.rows("lines", ("s1", usd), columns="id text, price text")
    items = {"model": "lines", "on": "id", "fields": {"price": "price"}}
    business.sync("subs", resource="subscription", key="id", fields={"customer": "cu", "items": items})
    assert business.cli("run").exit_code == 0
    eur = new_price(api, recurring=True, currency="eur")
    business.rows("lines", ("s1", usd), ("s1", eur), columns="id text, price text")

    assert not expect_refused_unsent(business, "has prices of two currencies, and Stripe accepts one")

    assert stripe.count("subscription_item") == 1


@pytest.mark.parametrize("source", ["this plan", "an earlier run", "an id", "price_data"])
def test_a_plan_notices_a_billing_anchor_after_the_first_period(business, stripe, api, source):
    customer, product = api.customers.create({"email": "a@example.com"}).id, api.products.create({"name": "Desk"}).id
    item: dict[str, Any] = {"price": "price"}
    given = new_price(api, recurring=True) if source == "an id" else product
    if source in {"this plan", "an earlier run"}:
        business.rows("plans", (product,), columns="id text")
        price: dict[str, Any] = {"product": "id", "currency": {"value": "usd"}, "unit_amount": {"value": 500}}
        business.sync("plans", resource="price", key="id", fields={**price, "recurring.interval": {"value": "month"}})
        item = {"price": {"sync": "plans", "key": "price"}}
        if source == "an earlier run":
            assert business.cli("run").exit_code == 0
    if source == "price_data":
        data: dict[str, Any] = {"product": "price", "currency": {"value": "usd"}, "unit_amount": {"value": 500}}
        item = {"price_data": {**data, "recurring": {"interval": {"value": "month"}}}}
    now = int(time.time())
    rows = [("late", customer, given, now + 60 * DAY, 0), ("soon", customer, given, now + 20 * DAY, 0)]
    rows += [("after a trial", customer, given, now + 50 * DAY, 30)]
    business.rows("subs", *rows, columns="id text, cu text, price text, anchor bigint, trial int")
    fields = {"customer": "cu", "items": [item], "billing_cycle_anchor": "anchor", "trial_period_days": "trial"}
    business.sync("subs", resource="subscription", key="id", fields=fields)

    expect_refused_unsent(business, "`billing_cycle_anchor` is after the first period of its price", "1 rejected")

    assert stripe.count("subscription") == 2


def test_a_quote_without_a_customer_is_not_created_if_it_is_to_be_finalized(business, stripe, api):
    customer, price = api.customers.create({"email": "a@example.com"}).id, new_price(api)
    business.rows("quotes", ("q1", None, price), ("q2", customer, price), columns="id text, cu text, price text")
    fields = {"customer": "cu", "line_items": [{"price": "price"}]}
    business.sync("quotes", resource="quote", key="id", fields=fields, options={"finalize": True})

    expect_refused_unsent(business, "`customer` is needed before `finalize`", "1 rejected")

    assert [quote["status"] for quote in stripe.objects("quote")] == ["open"]


def test_a_quote_that_was_created_without_a_customer_is_not_finalized_until_it_has_one(business, stripe, api):
    customer, price = api.customers.create({"email": "a@example.com"}).id, new_price(api)
    business.rows("quotes", ("q1", None, price), columns="id text, cu text, price text")
    fields = {"customer": "cu", "line_items": [{"price": "price"}]}
    business.sync("quotes", resource="quote", key="id", fields=fields)
    assert business.cli("run").exit_code == 0
    business.sync("quotes", resource="quote", key="id", fields=fields, options={"finalize": True})

    assert not expect_refused_unsent(business, "`customer` is needed before `finalize`")

    (quote,) = stripe.objects("quote")
    by_hand(business, f"quotes/{quote['id']}", customer=customer)
    assert business.cli("run", "--yes").exit_code == 0
    assert stripe.objects("quote")[0]["status"] == "open"


def test_a_key_that_may_not_read_prices_leaves_the_check_to_stripe(business, stripe, api):
    from dbt_stripe_sync.sandbox import Fault

    customer, price = api.customers.create({"email": "a@example.com"}).id, new_price(api, recurring=True)
    business.rows("subs", ("s1", customer, price), columns="id text, cu text, price text")
    business.sync("subs", resource="subscription", key="id", fields={"customer": "cu", "items": [{"price": "price"}]})
    stripe.inject(Fault.forbidden(method="GET", path="^/v1/prices", count=None))

    assert business.cli("run").exit_code == 0
    assert stripe.count("subscription") == 1


def test_reading_prices_does_not_count_toward_max_reads(business, stripe, api):
    customer = api.customers.create({"email": "a@example.com"}).id
    rows = [(f"s{number}", customer, new_price(api, recurring=True)) for number in range(4)]
    business.rows("subs", *rows, columns="id text, cu text, price text")
    fields = {"customer": "cu", "items": [{"price": "price"}]}
    business.sync("subs", resource="subscription", key="id", fields=fields, limits={"max_reads": 2})

    assert business.cli("run").exit_code == 0
    assert stripe.count("subscription") == 4
