"""An ended object is noticed: its row gets no second one unless its sync asks for it."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.sandbox import Fault


@pytest.fixture
def subscribed(shop):
    """Two customers with a subscription each, of which the first one has churned by the portal."""
    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    ).id
    shop.rows("people", ("c1", "a@example.com"), ("c2", "b@example.com"), columns="id text, email text")
    shop.sync("people", resource="customer", fields={"email": "email"})
    shop.rows("subs", ("s1", "c1", price), ("s2", "c2", price), columns="id text, person text, price text")
    shop.sync(
        "subs",
        resource="subscription",
        fields={"customer": {"sync": "people", "key": "person"}, "items": [{"price": "price"}]},
    )
    shop.succeeds()
    (first, _) = shop.objects("subscription")
    shop.hand.v1.subscriptions.cancel(first["id"])
    shop.writes()
    return shop


def statuses(shop):
    return [s["status"] for s in shop.objects("subscription")]


def test_an_ended_subscription_stays_ended(subscribed):
    subscribed.succeeds()

    assert statuses(subscribed) == ["canceled", "active"]
    subscribed.check_settled()


def test_replacing_a_price_does_not_affect_ended_subscriptions(subscribed):
    subscribed.rows("prices", ("m", 500), columns="id text, cents int")
    subscribed.sync(
        "prices",
        resource="price",
        fields={
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "product_data.name": "id",
            "recurring.interval": {"value": "month"},
        },
    )
    subscribed.rows("more", ("s3", "c1", "m"), ("s4", "c2", "m"), columns="id text, person text, price text")
    subscribed.sync(
        "more",
        resource="subscription",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": [{"price": {"sync": "prices", "key": "price"}}],
        },
    )
    subscribed.succeeds()
    ended = next(s for s in subscribed.objects("subscription") if s["metadata"]["dbt_stripe_sync"].endswith("s3"))
    subscribed.hand.v1.subscriptions.cancel(ended["id"])
    subscribed.rows("prices", ("m", 600), columns="id text, cents int")

    subscribed.succeeds()

    (alive,) = (s for s in subscribed.living("subscription") if s["metadata"]["dbt_stripe_sync"].endswith("s4"))
    assert [i["price"]["unit_amount"] for i in alive["items"]["data"]] == [600]
    assert len(subscribed.objects("subscription")) == 4
    subscribed.check_settled()


def test_an_ended_subscription_is_recognized_after_a_rebuild(subscribed):
    subscribed.business.state.unlink()

    subscribed.succeeds("state", "rebuild")
    subscribed.succeeds()

    assert statuses(subscribed) == ["canceled", "active"]
    assert subscribed.writes() == []
    subscribed.check_settled()


def test_an_ended_subscription_is_recognized_by_the_first_run_without_a_state(subscribed):
    subscribed.business.state.unlink()

    subscribed.succeeds()

    assert statuses(subscribed) == ["canceled", "active"]
    assert subscribed.writes() == []
    subscribed.check_settled()


def test_a_forgotten_ended_subscription_is_recognized(subscribed):
    subscribed.succeeds("state", "forget", "subs", "s1")

    subscribed.succeeds()

    assert statuses(subscribed) == ["canceled", "active"]
    subscribed.check_settled()


def test_with_restart_an_ended_subscription_is_created_again_exactly_once(subscribed):
    subscribed.business.models["subs"]["meta"]["stripe_sync"]["when_ended"] = "restart"
    subscribed.business.write_manifest()
    subscribed.succeeds()
    subscribed.business.state.unlink()

    subscribed.succeeds()
    subscribed.succeeds()

    assert sorted(statuses(subscribed)) == ["active", "active", "canceled"]
    subscribed.check_settled()


def test_a_row_that_names_an_ended_subscription_by_its_id_adopts_it(shop):
    """The case `a3`: a model of subscriptions that exist, one of which has ended."""
    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    ).id
    customer = shop.hand.v1.customers.create({"email": "a@example.com"}).id
    live, old = (
        shop.hand.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]}).id for _ in range(2)
    )
    shop.hand.v1.subscriptions.cancel(old)
    shop.rows("subs", (live, customer, price), (old, customer, price), columns="id text, person text, price text")
    shop.sync(
        "subs",
        resource="subscription",
        match=["id"],
        fields={"customer": "person", "items": [{"price": "price"}]},
    )

    shop.succeeds()

    assert sorted(s["id"] for s in shop.objects("subscription")) == sorted([live, old])
    shop.check_settled()


@pytest.mark.parametrize("loss", ["rebuild", "first run", "forget"])
def test_customers_of_a_test_clock_and_their_subscriptions_are_found_again(shop, loss):
    clock = shop.hand.v1.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000}).id
    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    ).id
    shop.rows("people", ("c1", clock), ("c2", None), columns="id text, clock text")
    shop.sync("people", resource="customer", fields={"test_clock": "clock", "metadata.n": "id"})
    shop.rows("subs", ("s1", "c1", price), ("s2", "c2", price), columns="id text, person text, price text")
    shop.sync(
        "subs",
        resource="subscription",
        fields={"customer": {"sync": "people", "key": "person"}, "items": [{"price": "price"}]},
    )
    shop.succeeds()
    shop.writes()
    if loss == "forget":
        shop.succeeds("state", "forget", "subs", "--all")
        shop.succeeds("state", "forget", "people", "--all")
    else:
        shop.business.state.unlink()
    if loss == "rebuild":
        shop.succeeds("state", "rebuild")

    shop.succeeds()

    assert (shop.stripe.count("customer"), shop.stripe.count("subscription")) == (2, 2)
    assert shop.writes() == []
    shop.check_settled()


@pytest.mark.parametrize("loss", ["rebuild", "first run"])
def test_archived_prices_and_canceled_quotes_are_found_again(shop, loss):
    shop.rows("prices", ("m", 1000), ("n", 7), columns="id text, cents int")
    shop.sync(
        "prices",
        resource="price",
        fields={"currency": {"value": "usd"}, "unit_amount": "cents", "product_data.name": "id"},
    )
    shop.succeeds()
    gone = next(p for p in shop.objects("price") if p["unit_amount"] == 1000)
    shop.hand.v1.prices.update(gone["id"], {"active": False})
    shop.business.state.unlink()
    if loss == "rebuild":
        shop.succeeds("state", "rebuild")

    shop.succeeds()

    assert shop.stripe.count("price") == 2
    shop.check_settled()


@pytest.mark.parametrize("recover", [["state", "rebuild"], []], ids=["rebuild", "first run"])
def test_a_quote_that_was_canceled_when_its_row_left_is_not_named_as_in_use(shop, recover):
    shop.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    shop.sync("people", resource="customer", fields={"email": "email"})
    fields = {"customer": {"sync": "people", "key": "person"}, "header": "id"}
    shop.sync("quotes", resource="quote", fields=fields, on_removed="cancel", limits={"max_removed": "100%"})
    for rows in ([("q1", "c1"), ("q2", "c1")], [("q1", "c1")], [("q1", "c1"), ("q2", "c1")]):
        shop.rows("quotes", *rows, columns="id text, person text")
        shop.succeeds()
    shop.business.state.unlink()

    ran = shop.succeeds(*recover)

    assert "in use" not in ran.text
    assert sorted(quote["status"] for quote in shop.objects("quote")) == ["canceled", "draft", "draft"]
    shop.check_settled()


def test_after_a_rebuild_a_customer_stays_until_its_subscription_has_moved_to_another_one(subscribed):
    """Without the references in the record, the customer was deleted first, which ended the subscription at once."""
    known = subscribed.business.models
    for model, meta in (("people", {"on_removed": "delete"}), ("subs", {"options": {"replace": True}})):
        sync = known[model]["meta"]["stripe_sync"]
        subscribed.business.sync(model, **{**sync, **meta, "limits": {"max_removed": "100%"}})
    (living,) = subscribed.living("subscription")
    price = living["items"]["data"][0]["price"]["id"]
    subscribed.business.state.unlink()
    subscribed.succeeds("state", "rebuild")
    subscribed.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    subscribed.rows("subs", ("s2", "c1", price), columns="id text, person text, price text")
    subscribed.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/subscriptions$"))

    subscribed.fails()

    assert [s["id"] for s in subscribed.living("subscription")] == [living["id"]]
    subscribed.stripe.clear_faults()
    subscribed.succeeds()
    subscribed.succeeds()
    (moved,) = subscribed.living("subscription")
    (customer,) = subscribed.living("customer")
    assert moved["customer"] == customer["id"]
