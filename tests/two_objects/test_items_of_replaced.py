"""Items with their own sync, on a subscription that is replaced: each ends up with an item in Stripe."""

from __future__ import annotations

import json

import pytest

from dbt_stripe_sync.sandbox import Fault


@pytest.fixture
def with_items(shop):
    """A subscription with an item of another sync. `move` lets it be another person's, which Stripe can't change."""
    product = shop.hand.v1.products.create({"name": "Desk"}).id

    def price(amount):
        return shop.hand.v1.prices.create(
            {"product": product, "currency": "usd", "unit_amount": amount, "recurring": {"interval": "month"}}
        ).id

    base, extra, other = price(1000), price(200), price(300)

    def move(person, seats=1):
        shop.rows("subs", ("s1", person, base), columns="id text, person text, price text")
        shop.rows("items", ("i1", "s1", extra, seats), columns="id text, sub text, price text, seats int")

    shop.rows("people", ("ann", "a@example.com"), ("bo", "b@example.com"), columns="id text, email text")
    shop.sync("people", resource="customer", fields={"email": "email"})
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
    shop.sync(
        "items",
        resource="subscription_item",
        fields={"subscription": {"sync": "subs", "key": "sub"}, "price": "price", "quantity": "seats"},
    )
    shop.move, shop.extra, shop.other = move, extra, other
    return shop


def with_meta(shop, **more):
    meta = shop.business.models["subs"]["meta"]["stripe_sync"]
    shop.business.sync("subs", **meta, **more)


def living_items(shop):
    """The items of the subscription that is in use, as Stripe has them."""
    (living,) = shop.living("subscription")
    return {
        i["price"]["id"]: i["quantity"]
        for i in shop.hand.v1.subscription_items.list({"subscription": living["id"]}).data
    }


def seats_of_extra(shop):
    return living_items(shop).get(shop.extra)


@pytest.mark.parametrize("seats", [1, 3])
def test_an_item_follows_a_subscription_that_is_replaced(with_items, seats):
    with_meta(with_items, options={"replace": True})
    with_items.move("ann")
    with_items.succeeds()
    with_items.move("bo", seats=seats)

    planned = json.loads(with_items.run("plan", "--output", "json").out)
    with_items.succeeds()

    (item,) = [change for change in planned["changes"] if change["sync"] == "items"]
    assert item["reason"].endswith("was replaced")
    assert seats_of_extra(with_items) == seats
    with_items.check_settled()


def test_an_item_follows_a_subscription_that_is_restarted(with_items):
    with_meta(with_items, when_ended="restart")
    with_items.move("ann")
    with_items.succeeds()
    with_items.hand.v1.subscriptions.cancel(with_items.only("subscription")["id"])

    with_items.succeeds("run", "--refresh", "--yes")

    assert seats_of_extra(with_items) == 1
    with_items.check_settled()


@pytest.mark.parametrize("how", ["replaced", "restarted"])
def test_a_refused_item_follows_in_a_later_run(with_items, how):
    with_meta(with_items, options={"replace": True}, when_ended="restart")
    with_items.move("ann")
    with_items.succeeds()
    if how == "restarted":
        with_items.hand.v1.subscriptions.cancel(with_items.only("subscription")["id"])
    else:
        with_items.move("bo")
    refused = Fault.forbidden(method="POST", path="^/v1/subscription_items$")
    with_items.stripe.inject(refused)
    with_items.fails("run", "--refresh", "--yes")
    with_items.stripe.clear_faults()

    with_items.succeeds()

    assert seats_of_extra(with_items) == 1
    with_items.check_settled()


def test_an_item_of_a_subscription_that_stays_does_not_move_to_another(with_items):
    with_items.move("ann")
    base = with_items.business.table
    base("subs", "SELECT * FROM subs UNION ALL SELECT 's2', person, price FROM subs")
    with_items.succeeds()
    base("items", "SELECT * REPLACE ('s2' AS sub) FROM items")

    ran = with_items.fails()

    assert "error[immutable-changed]" in ran.text
    assert len(with_items.objects("subscription_item")) == 3


def test_an_item_removed_with_its_replaced_subscription_is_deleted(with_items):
    with_meta(with_items, options={"replace": True})
    meta = with_items.business.models["items"]["meta"]["stripe_sync"]
    with_items.business.sync("items", **meta, on_removed="delete")
    with_items.move("ann")
    with_items.business.table(
        "items", f"SELECT * FROM items UNION ALL SELECT 'i2', sub, '{with_items.other}', 1 FROM items"
    )
    with_items.succeeds()
    with_items.move("bo")

    with_items.succeeds()

    assert seats_of_extra(with_items) == 1
    assert len(living_items(with_items)) == 2
    with_items.check_settled()


def test_a_feature_follows_a_product_that_was_deleted_and_created_again(shop):
    shop.rows("products", ("p", "Desk"), columns="id text, name text")
    shop.sync("products", resource="product", fields={"name": "name"}, on_deleted="recreate")
    feature = shop.hand.v1.entitlements.features.create({"name": "Export", "lookup_key": "export"}).id
    shop.rows("features", ("f", "p", feature), columns="id text, product text, feature text")
    shop.sync(
        "features",
        resource="product.feature",
        fields={"product": {"sync": "products", "key": "product"}, "entitlement_feature": "feature"},
    )
    shop.succeeds()
    former = shop.only("product")["id"]
    (attached,) = shop.hand.v1.products.features.list(former).data
    shop.hand.v1.products.features.delete(former, attached.id)
    shop.hand.v1.products.delete(former)

    shop.rows("products", ("p", "Big desk"), columns="id text, name text")
    shop.run()
    shop.succeeds()

    (again,) = shop.hand.v1.products.features.list(shop.only("product")["id"]).data
    assert again.entitlement_feature.id == feature
    shop.check_settled()
