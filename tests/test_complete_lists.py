"""Objects that a plain list omits are found: ended, archived, and those of test clocks."""

from __future__ import annotations

import pytest
import stripe as sdk

from dbt_stripe_sync.stripe_api.catalog import lifecycle_of


@pytest.fixture
def api(stripe):
    return sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1


@pytest.fixture
def price(api):
    product = api.products.create({"name": "Gold"}).id
    recurring = {"interval": "month"}
    return api.prices.create({"product": product, "currency": "usd", "unit_amount": 1000, "recurring": recurring}).id


@pytest.mark.parametrize(
    ("resource", "lists"),
    [
        ("subscription", ({"status": "all"},)),
        ("tax.registration", ({"status": "all"},)),
        ("price", ({"active": True}, {"active": False})),
        ("product", ({"active": True}, {"active": False})),
        ("promotion_code", ({"active": True}, {"active": False})),
        ("payment_link", ({"active": True}, {"active": False})),
        ("entitlements.feature", ({"archived": False}, {"archived": True})),
        ("customer", ({},)),
        ("invoice", ({},)),
    ],
)
@pytest.mark.telling
def test_the_list_operation_says_what_hides_nothing(resource, lists):
    assert lifecycle_of(resource).listed_with == lists


@pytest.mark.telling
def test_the_resources_of_test_clocks_are_known():
    found = {name for name in ("customer", "subscription", "quote", "invoice", "price") if clocked(name)}
    assert found == {"customer", "subscription", "quote"}


def clocked(name):
    return lifecycle_of(name).hides_test_clocks


def subscribed(business, price):
    business.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    business.rows("subs", ("s1", "c1", price), columns="id text, person text, price text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    fields = {"customer": {"sync": "people", "key": "person"}, "items": [{"price": "price"}]}
    business.sync("subs", resource="subscription", key="id", fields=fields)
    assert business.cli().exit_code == 0


@pytest.mark.telling
@pytest.mark.parametrize("rebuild", [True, False], ids=["rebuilt", "found by its tag"])
def test_an_ended_subscription_of_a_lost_state_is_not_created_again(business, api, price, rebuild):
    subscribed(business, price)
    (made,) = business.stripe.objects("subscription")
    api.subscriptions.cancel(made["id"])
    business.state.unlink()

    if rebuild:
        assert "subs 1" in business.cli("state", "rebuild").text
    assert business.cli().exit_code == 0

    assert [found["status"] for found in business.stripe.objects("subscription")] == ["canceled"]


def test_an_ended_subscription_missing_from_the_state_reports_a_stale_state(business, api, price):
    subscribed(business, price)
    old = business.state.read_bytes()
    business.rows("subs", ("s1", "c1", price), ("s2", "c1", price), columns="id text, person text, price text")
    assert business.cli().exit_code == 0
    newest = max(business.stripe.objects("subscription"), key=lambda found: found["metadata"]["dbt_stripe_sync"])
    api.subscriptions.cancel(newest["id"])
    business.state.write_bytes(old)

    ran = business.cli()

    assert ran.exit_code == 2
    assert "state-behind" in ran.text
    assert business.stripe.count("subscription") == 2


def test_a_customer_of_a_test_clock_is_found_again(business, api):
    clock = api.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000}).id
    business.rows("people", ("c1", "a@example.com", clock), columns="id text, email text, clock text")
    business.sync("people", resource="customer", key="id", fields={"email": "email", "test_clock": "clock"})
    assert business.cli().exit_code == 0
    business.state.unlink()
    business.stripe.reset_requests()

    assert "people 1" in business.cli("state", "rebuild").text
    assert business.cli().exit_code == 0

    assert business.stripe.count("customer") == 1


def test_a_look_up_prefers_an_active_object_to_an_archived_one(business, api):
    product = api.products.create({"name": "Gold"}).id
    for active in (True, False):
        made = api.prices.create({"product": product, "currency": "usd", "unit_amount": 5, "metadata": {"plan": "x"}})
        api.prices.update(made.id, {"active": active})
    business.rows("links", ("l1", "x"), columns="id text, plan text")
    lookup = {"lookup": "price", "by": "metadata.plan", "column": "plan"}
    items = [{"price": lookup, "quantity": {"value": 1}}]
    business.sync("links", resource="payment_link", key="id", fields={"line_items": items})

    assert business.cli().exit_code == 0
    assert business.stripe.count("payment_link") == 1
