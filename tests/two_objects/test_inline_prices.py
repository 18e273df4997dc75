"""Items whose price is described in the row (`price_data`), from which Stripe makes a new price with each call."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.sandbox import Fault

USD = {"value": "usd"}
MONTHLY = {"value": "month"}
INLINE = {
    "price_data.currency": USD,
    "price_data.product": {"sync": "products", "key": "product"},
    "price_data.unit_amount": "cents",
    "price_data.recurring.interval": MONTHLY,
    "quantity": "quantity",
}
LINES = "subscription text, product text, cents int, quantity int"


@pytest.fixture
def billed(shop):
    """A subscription with an item for each row of `lines`."""
    shop.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    shop.sync("customers", resource="customer", fields={"email": "email"})
    shop.rows("products", ("desk",), ("lamp",), columns="id text")
    shop.sync("products", resource="product", fields={"name": "id"})
    shop.rows("subs", ("s1", "c1"), columns="id text, customer text")
    fields = {
        "customer": {"sync": "customers", "key": "customer"},
        "collection_method": {"value": "send_invoice"},
        "days_until_due": {"value": 30},
        "items": {"model": "lines", "on": "subscription", "fields": INLINE},
    }
    shop.sync("subs", resource="subscription", fields=fields)
    return shop


def write(shop, *lines):
    shop.rows("lines", *(("s1", *line) for line in lines), columns=LINES)


def items(shop):
    """What the subscription bills: an amount and a quantity for each item."""
    return sorted((i["price"]["unit_amount"], i["quantity"]) for i in shop.only("subscription")["items"]["data"])


def ids(shop):
    return {i["id"] for i in shop.only("subscription")["items"]["data"]}


@pytest.mark.parametrize(
    "after",
    [
        pytest.param([("desk", 1000, 2)], id="a quantity"),
        pytest.param([("desk", 1500, 1)], id="an amount"),
        pytest.param([("lamp", 1000, 1)], id="a product"),
    ],
)
@pytest.mark.parametrize("is_stored", [True, False])
def test_a_changed_line_changes_its_item_and_adds_none(billed, after, is_stored):
    billed.business.set(store_values=is_stored)
    write(billed, ("desk", 1000, 1))
    billed.succeeds()
    before = ids(billed)
    write(billed, *after)

    billed.succeeds()

    assert (items(billed), ids(billed)) == ([line[1:] for line in after], before)
    billed.check_settled()


def test_lines_come_and_go(billed):
    write(billed, ("desk", 1000, 1))
    billed.succeeds()
    write(billed, ("desk", 1000, 1), ("lamp", 200, 3), ("desk", 1000, 5))

    billed.succeeds()

    assert items(billed) == [(200, 3), (1000, 1), (1000, 5)]
    write(billed, ("lamp", 200, 4))
    billed.succeeds()
    assert items(billed) == [(200, 4)]
    billed.check_settled()


def test_an_item_that_somebody_added_stays(billed):
    write(billed, ("desk", 1000, 1))
    billed.succeeds()
    product = billed.objects("product")[1]["id"]
    inline = {"currency": "usd", "product": product, "unit_amount": 77, "recurring": {"interval": "month"}}
    sub = billed.only("subscription")["id"]
    billed.hand.v1.subscription_items.create({"subscription": sub, "price_data": inline, "quantity": 1})
    write(billed, ("desk", 1100, 1))

    billed.succeeds()

    assert items(billed) == [(77, 1), (1100, 1)]


def test_a_refresh_finds_what_others_have_changed_in_an_item(billed):
    write(billed, ("desk", 1000, 1), ("desk", 1000, 5), ("lamp", 200, 3))
    billed.succeeds()
    assert "drifted" not in billed.succeeds("run", "--refresh").text
    lamp = next(i for i in billed.only("subscription")["items"]["data"] if i["price"]["unit_amount"] == 200)
    billed.hand.v1.subscription_items.update(lamp["id"], {"quantity": 9})

    ran = billed.fails("run", "--refresh")

    assert "error[drifted]: `items` was changed in Stripe" in ran.text
    assert items(billed) == [(200, 9), (1000, 1), (1000, 5)]


@pytest.mark.parametrize("after_effect", [True, False])
def test_an_item_whose_addition_has_no_known_outcome_is_not_added_twice(billed, after_effect):
    write(billed, ("desk", 1000, 1))
    billed.succeeds()
    write(billed, ("desk", 1000, 1), ("lamp", 200, 3))
    billed.stripe.inject(Fault.status_code(500, after_effect=after_effect, method="POST", path="^/v1/subscriptions/"))
    billed.fails()

    billed.succeeds()

    assert items(billed) == [(200, 3), (1000, 1)]
    billed.check_settled()


def fee(shop, cents, days=30):
    """Bill a fee with the subscription's next invoice. Stripe adds one with each update that has it."""
    fields = shop.business.models["subs"]["meta"]["stripe_sync"]["fields"]
    inline = {"currency": USD, "product": {"sync": "products", "key": "product"}, "unit_amount": "cents"}
    fields |= {"add_invoice_items": [{"price_data": inline}], "days_until_due": "days"}
    shop.rows(
        "subs", ("s1", "c1", "desk", cents, days), columns="id text, customer text, product text, cents int, days int"
    )


def fees(shop):
    """The fees that were sent. The local Stripe doesn't bill them."""
    sent = [line.params.get("add_invoice_items", ()) for line in shop.stripe.writes()]
    return [int(item["price_data"]["unit_amount"]) for items in sent for item in items]


def test_a_fee_whose_update_has_no_known_outcome_is_billed_once(billed):
    """The other parameters of the update show that it was made."""
    write(billed, ("desk", 1000, 1))
    billed.succeeds()
    fee(billed, 500, days=20)
    billed.stripe.inject(Fault.status_code(500, after_effect=True, method="POST", path="^/v1/subscriptions/"))
    billed.fails()

    billed.succeeds()

    assert fees(billed) == [500]


def test_a_fee_that_nothing_shows_is_left_to_a_person(billed):
    write(billed, ("desk", 1000, 1))
    billed.succeeds()
    fee(billed, 500)
    billed.stripe.inject(Fault.status_code(500, after_effect=True, method="POST", path="^/v1/subscriptions/"))
    billed.fails()

    ran = billed.fails()

    assert "doesn't show whether the change was made, and making it twice could bill twice" in ran.text
    assert fees(billed) == [500]
    billed.succeeds("state", "forget", "subs", "s1")
    billed.succeeds()
    assert fees(billed) == [500]


def test_the_quantity_of_a_payment_links_inline_price_changes(shop):
    product = shop.hand.v1.products.create({"name": "Desk"}).id
    fields = {
        "line_items": [
            {
                "price_data": {"currency": USD, "product": {"value": product}, "unit_amount": {"value": 1000}},
                "quantity": "quantity",
            }
        ]
    }
    shop.sync("links", resource="payment_link", fields=fields)
    shop.rows("links", ("l1", 1), columns="id text, quantity int")
    shop.succeeds()
    shop.rows("links", ("l1", 2), columns="id text, quantity int")

    shop.succeeds()

    (link,) = shop.objects("payment_link")
    (line,) = shop.hand.v1.payment_links.line_items.list(link["id"]).data
    assert line.quantity == 2
