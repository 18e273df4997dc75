"""Objects that refer to a replaced price follow it, or the plan says what stays; immutable parts count at any depth."""

from __future__ import annotations

import pytest

USD = {"value": "usd"}
MONTHLY = {"value": "month"}


@pytest.fixture
def sold(shop):
    """A product with a monthly price, both ours."""
    shop.rows("products", ("p1", "Gold"), columns="id text, name text")
    shop.sync("products", resource="product", fields={"name": "name"})
    shop.rows("prices", ("gold", "p1", 1000), columns="id text, product text, cents int")
    shop.sync(
        "prices",
        resource="price",
        fields={"product": {"sync": "products", "key": "product"}, "currency": USD, "unit_amount": "cents"},
    )
    return shop


def raise_the_price(shop):
    shop.rows("prices", ("gold", "p1", 1200), columns="id text, product text, cents int")


def link(shop, *, replace):
    shop.rows("links", ("l1", "gold"), columns="id text, price text")
    shop.sync(
        "links",
        resource="payment_link",
        fields={"line_items": [{"price": {"sync": "prices", "key": "price"}, "quantity": {"value": 1}}]},
        options={"replace": True} if replace else {},
    )


def test_a_payment_link_that_may_be_replaced_follows_its_price(sold):
    link(sold, replace=True)
    sold.succeeds()
    raise_the_price(sold)

    sold.succeeds()

    (alive,) = sold.living("payment_link")
    items = sold.hand.v1.payment_links.line_items.list(alive["id"]).data
    assert [item.price.unit_amount for item in items] == [1200]
    assert [p["unit_amount"] for p in sold.living("price")] == [1200]
    sold.check_settled()


def test_a_price_keeps_the_followers_that_a_limit_leaves_for_later(sold):
    link(sold, replace=True)
    sold.succeeds()
    raise_the_price(sold)

    ran = sold.run("run", "--yes", "--limit", "1")

    assert "left for later by --limit" in ran.out
    assert sorted(p["unit_amount"] for p in sold.living("price")) == [1000, 1200]
    assert sold.owed() == 1
    sold.succeeds()
    assert [p["unit_amount"] for p in sold.living("price")] == [1200]
    sold.check_settled()


def test_a_price_keeps_the_followers_whose_sync_is_held_back(sold):
    link(sold, replace=True)
    sold.succeeds()
    sold.business.models["links"]["meta"]["stripe_sync"]["limits"] = {"max_changes": 0}
    raise_the_price(sold)

    ran = sold.fails()

    assert "error[max-changes]" in ran.text
    assert "held back: row [l1] of `links` refers to it and can't be sent" in ran.text
    assert sorted(p["unit_amount"] for p in sold.living("price")) == [1000, 1200]
    sold.business.models["links"]["meta"]["stripe_sync"].pop("limits")
    sold.business.write_manifest()
    sold.succeeds()
    assert [p["unit_amount"] for p in sold.living("price")] == [1200]
    sold.check_settled()


def test_prices_whose_sync_is_held_back_end_no_object(sold):
    link(sold, replace=True)
    sold.succeeds()
    sold.business.models["prices"]["meta"]["stripe_sync"]["limits"] = {"max_changes": 0}
    raise_the_price(sold)
    sold.writes()

    ran = sold.fails()

    assert "error[max-changes]" in ran.text
    assert (sold.writes(), sold.owed()) == ([], 0)


def test_rows_of_objects_that_a_limit_leaves_for_later_are_left_for_later_too(sold):
    link(sold, replace=True)

    ran = sold.run("run", "--limit", "1")

    assert (ran.exit_code, sold.writes()) == (0, ["POST /v1/products"]), ran.text
    assert "reference-not-found" not in ran.text
    sold.succeeds()
    sold.check_settled()


def test_a_payment_link_that_may_not_be_replaced_keeps_the_old_price_and_the_plan_says_so(sold):
    link(sold, replace=False)
    sold.succeeds()
    raise_the_price(sold)

    planned = sold.run("plan")
    ran = sold.run()
    again = sold.run()

    assert "line_items" in planned.out
    assert "replaced" in planned.out
    assert ran.exit_code == again.exit_code
    assert len(sold.living("payment_link")) == 1
    # The old price can still be bought through the link, so it says that it is kept, or it is archived by rule.
    assert 1200 in [p["unit_amount"] for p in sold.living("price")]


def test_the_quantity_of_a_payment_link_is_changed_on_it(shop):
    product = shop.hand.v1.products.create({"name": "X"}).id
    price = shop.hand.v1.prices.create({"product": product, "currency": "usd", "unit_amount": 1000}).id
    shop.rows("links", ("l1", price, 1), columns="id text, price text, q int")
    shop.sync(
        "links",
        resource="payment_link",
        fields={"line_items": [{"price": "price", "quantity": "q"}]},
        options={"replace": True},
    )
    shop.succeeds()
    shop.rows("links", ("l1", price, 2), columns="id text, price text, q int")

    shop.succeeds()

    alive = shop.only("payment_link")
    items = shop.hand.v1.payment_links.line_items.list(alive["id"]).data
    assert [item.quantity for item in items] == [2]
    shop.check_settled()


def test_a_draft_quote_follows_its_price(sold):
    sold.rows("people", ("c1", "a@example.com"), columns="id text, email text")
    sold.sync("people", resource="customer", fields={"email": "email"})
    sold.rows("quotes", ("q1", "c1", "gold"), columns="id text, person text, price text")
    sold.sync(
        "quotes",
        resource="quote",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "line_items": [{"price": {"sync": "prices", "key": "price"}, "quantity": {"value": 1}}],
        },
    )
    sold.succeeds()
    raise_the_price(sold)

    sold.succeeds()

    (quote,) = sold.living("quote")
    items = sold.hand.v1.quotes.line_items.list(quote["id"]).data
    assert [item.price.unit_amount for item in items] == [1200]
    sold.check_settled()


def test_the_amount_of_a_shipping_rate_creates_a_new_one(shop):
    """The case `n_shipping`: the amount is part of a hash that an update takes in other parts only."""
    shop.rows("ship", ("std", "Standard", 500), columns="id text, name text, cents int")
    shop.sync(
        "ship",
        resource="shipping_rate",
        fields={
            "display_name": "name",
            "type": {"value": "fixed_amount"},
            "fixed_amount.amount": "cents",
            "fixed_amount.currency": USD,
        },
    )
    shop.succeeds()
    shop.rows("ship", ("std", "Standard", 700), columns="id text, name text, cents int")

    shop.succeeds()

    assert [(r["fixed_amount"]["amount"], r["active"]) for r in shop.objects("shipping_rate")] == [
        (500, False),
        (700, True),
    ]
    shop.check_settled()


def test_the_restrictions_of_a_promotion_code_create_a_new_one(shop):
    shop.hand.v1.coupons.create({"id": "HALF", "percent_off": 50, "duration": "once"})
    shop.rows("codes", ("a", 1000), columns="id text, least int")
    shop.sync(
        "codes",
        resource="promotion_code",
        fields={
            "promotion": {"value": {"type": "coupon", "coupon": "HALF"}},
            "code": {"value": "SPRING"},
            "restrictions.minimum_amount": "least",
            "restrictions.minimum_amount_currency": USD,
        },
    )
    shop.succeeds()
    shop.rows("codes", ("a", 2000), columns="id text, least int")

    shop.succeeds()

    alive = shop.only("promotion_code")
    assert (alive["code"], alive["restrictions"]["minimum_amount"]) == ("SPRING", 2000)
    shop.check_settled()


def test_the_tax_behavior_of_a_price_is_set_once_and_then_creates_a_new_one(shop):
    fields = {"currency": USD, "unit_amount": "cents", "product_data.name": "id", "tax_behavior": "tax"}
    shop.sync("prices", resource="price", fields=fields)
    for tax in (None, "exclusive", "inclusive"):
        shop.rows("prices", ("m", 1000, tax), columns="id text, cents int, tax text")
        shop.succeeds()

    assert [(p["tax_behavior"], p["active"]) for p in shop.objects("price")] == [
        ("exclusive", False),
        ("inclusive", True),
    ]
    shop.check_settled()


def test_a_price_that_created_its_product_stays_with_it_when_it_is_replaced(shop):
    """The case `revert`: not one more product each time."""
    shop.sync(
        "prices",
        resource="price",
        fields={"currency": USD, "unit_amount": "cents", "product_data.name": "id", "lookup_key": "id"},
        on_removed="archive",
    )
    for cents in (100, 200, 100):
        shop.rows("prices", ("a", cents), ("zz", 1), columns="id text, cents int")
        shop.succeeds()

    assert len(shop.objects("product")) == 2
    assert sorted(p["unit_amount"] for p in shop.living("price")) == [1, 100]
    shop.check_settled()


def test_a_product_that_is_deleted_with_its_prices_gone_says_why_stripe_keeps_it(shop):
    """The case `prodarch`: Stripe deletes no product that ever had a price."""
    shop.sync(
        "prod",
        resource="product",
        fields={"id": "id", "name": "name"},
        on_removed="delete",
        limits={"max_removed": "100%"},
    )
    shop.sync(
        "prc",
        resource="price",
        fields={"product": {"sync": "prod", "key": "sku"}, "currency": USD, "unit_amount": "cents"},
        on_removed="archive",
    )
    shop.rows("prod", ("p1", "P1"), ("p2", "P2"), columns="id text, name text")
    shop.rows("prc", ("p1m", "p1", 100), ("p2m", "p2", 100), columns="id text, sku text, cents int")
    shop.succeeds()
    shop.rows("prod", ("p2", "P2"), columns="id text, name text")
    shop.rows("prc", ("p2m", "p2", 100), columns="id text, sku text, cents int")

    ran = shop.fails()

    assert [p["product"] for p in shop.living("price")] == ["p2"]
    assert "p1" in ran.text
    assert "price" in ran.text
    assert "Traceback" not in ran.text


def test_a_customer_is_not_deleted_under_a_subscription_whose_row_stays(shop):
    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    ).id
    shop.rows("people", ("c1", "a@example.com"), ("c2", "b@example.com"), columns="id text, email text")
    shop.sync(
        "people",
        resource="customer",
        fields={"email": "email"},
        on_removed="delete",
        limits={"max_removed": "100%"},
    )
    shop.rows("subs", ("s1", "c1", price), columns="id text, person text, price text")
    shop.sync(
        "subs",
        resource="subscription",
        fields={"customer": {"sync": "people", "key": "person"}, "items": [{"price": "price"}]},
    )
    shop.succeeds()
    shop.rows("people", ("c2", "b@example.com"), columns="id text, email text")

    shop.fails()

    assert len(shop.living("subscription")) == 1
    assert shop.stripe.count("customer") == 2
