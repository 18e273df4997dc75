"""Only what a sync wrote is removed: items that somebody else added to a subscription stay, and removals are shown."""

from __future__ import annotations

import json

import pytest

MONTHLY = {"value": "month"}


@pytest.fixture
def subscribed(shop):
    """A subscription of ours with an add-on that support has put there."""
    shop.rows("people", ("c1", "Ann"), columns="id text, name text")
    shop.sync("people", resource="customer", fields={"name": "name"})
    shop.sync(
        "prices",
        resource="price",
        fields={
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "recurring.interval": MONTHLY,
            "product_data.name": "id",
        },
    )
    shop.sync(
        "subs",
        resource="subscription",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": {
                "model": "lines",
                "on": "sub",
                "fields": {"price": {"sync": "prices", "key": "price"}, "quantity": "seats"},
            },
            "metadata.note": "note",
            "proration_behavior": {"value": "none"},
        },
        options={"replace": True},
        on_removed="cancel",
    )
    write(shop, [("m", 1000), ("n", 500)], [("m", 1), ("n", 1)])
    shop.succeeds()
    product = shop.hand.v1.products.create({"name": "Priority support"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
    ).id
    shop.hand.v1.subscription_items.create({"subscription": shop.only("subscription")["id"], "price": price})
    shop.writes()
    return shop


def write(shop, prices, lines, note="a"):
    shop.rows("prices", *prices, columns="id text, cents int")
    shop.rows("subs", ("s1", "c1", note), columns="id text, person text, note text")
    shop.rows("lines", *(("s1", *line) for line in lines), columns="sub text, price text, seats int")


def items(shop):
    """The amount and quantity of each item."""
    return sorted((i["price"]["unit_amount"], i["quantity"]) for i in shop.only("subscription")["items"]["data"])


def addon(shop):
    return next(i for i in shop.only("subscription")["items"]["data"] if i["price"]["unit_amount"] == 300)


@pytest.mark.parametrize(
    ("prices", "lines", "after"),
    [
        ([("m", 1200), ("n", 500)], [("m", 1), ("n", 1)], [(300, 1), (500, 1), (1200, 1)]),
        ([("m", 1000), ("n", 500)], [("m", 3), ("n", 1)], [(300, 1), (500, 1), (1000, 3)]),
        ([("m", 1000), ("n", 500)], [("m", 1)], [(300, 1), (1000, 1)]),
        ([("m", 1000), ("n", 500), ("o", 7)], [("m", 1), ("o", 2)], [(7, 2), (300, 1), (1000, 1)]),
        ([("m", 1200), ("n", 550)], [("m", 2), ("n", 2)], [(300, 1), (550, 2), (1200, 2)]),
    ],
    ids=["its price is replaced", "a quantity", "an item of ours leaves", "one takes another's place", "everything"],
)
def test_an_item_that_someone_else_added_stays(subscribed, prices, lines, after):
    theirs = addon(subscribed)
    write(subscribed, prices, lines)

    subscribed.succeeds()

    assert items(subscribed) == after
    assert addon(subscribed) == theirs
    subscribed.check_settled()


def test_a_change_of_something_else_sends_no_items(subscribed):
    write(subscribed, [("m", 1000), ("n", 500)], [("m", 1), ("n", 1)], note="b")

    subscribed.succeeds()

    assert items(subscribed) == [(300, 1), (500, 1), (1000, 1)]


def test_with_items_owned_all_someone_elses_item_is_removed_and_the_plan_shows_it(subscribed):
    theirs = addon(subscribed)
    subscribed.business.models["subs"]["meta"]["stripe_sync"]["items_owned"] = "all"
    write(subscribed, [("m", 1200), ("n", 500)], [("m", 1), ("n", 1)])

    planned = subscribed.run("plan", "--show-values")
    markdown = subscribed.run("plan", "--show-values", "--format", "markdown")
    subscribed.succeeds()

    assert items(subscribed) == [(500, 1), (1200, 1)]
    assert theirs["id"] in planned.out
    assert theirs["id"] in markdown.out
    subscribed.check_settled()


def test_a_removed_item_of_the_row_is_shown(subscribed):
    ours = next(i for i in subscribed.only("subscription")["items"]["data"] if i["price"]["unit_amount"] == 500)
    write(subscribed, [("m", 1000), ("n", 500)], [("m", 1)])

    planned = subscribed.run("plan", "--show-values")
    markdown = subscribed.run("plan", "--show-values", "--format", "markdown")

    assert ours["id"] in planned.out
    assert ours["id"] in markdown.out


def test_an_item_stays_after_the_state_was_lost_and_rebuilt(subscribed):
    theirs = addon(subscribed)
    subscribed.business.state.unlink()
    subscribed.succeeds("state", "rebuild")
    write(subscribed, [("m", 1200), ("n", 500)], [("m", 1), ("n", 1)])

    subscribed.succeeds()

    assert items(subscribed) == [(300, 1), (500, 1), (1200, 1)]
    assert addon(subscribed)["id"] == theirs["id"]
    subscribed.check_settled()


def test_an_item_stays_when_its_subscription_is_adopted(subscribed):
    theirs = addon(subscribed)
    subscribed.succeeds("state", "forget", "subs", "--all")
    write(subscribed, [("m", 1000), ("n", 500)], [("m", 4), ("n", 1)])

    subscribed.succeeds()

    assert items(subscribed) == [(300, 1), (500, 1), (1000, 4)]
    assert addon(subscribed)["id"] == theirs["id"]
    subscribed.check_settled()


def test_an_item_that_someone_removed_returns_with_the_next_change_of_items(subscribed):
    ours = next(i for i in subscribed.only("subscription")["items"]["data"] if i["price"]["unit_amount"] == 500)
    subscribed.hand.v1.subscription_items.delete(ours["id"])
    write(subscribed, [("m", 1000), ("n", 500)], [("m", 2), ("n", 1)])

    subscribed.succeeds()

    assert items(subscribed) == [(300, 1), (500, 1), (1000, 2)]


def test_values_that_are_not_stored_do_not_hide_whose_an_item_is(subscribed):
    subscribed.business.models["subs"]["meta"]["stripe_sync"]["store_values"] = False
    write(subscribed, [("m", 1000), ("n", 500)], [("m", 2), ("n", 1)])
    subscribed.succeeds()
    write(subscribed, [("m", 1000), ("n", 500)], [("m", 2)])

    subscribed.succeeds()

    assert items(subscribed) == [(300, 1), (1000, 2)]
    subscribed.check_settled()


def test_a_phase_that_someone_else_added_to_a_schedule_is_kept(shop):
    shop.rows("people", ("c1", "Ann"), columns="id text, name text")
    shop.sync("people", resource="customer", fields={"name": "name"})
    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 300, "recurring": {"interval": "month"}}
    ).id
    shop.sync(
        "plans",
        resource="subscription_schedule",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "start_date": {"value": "now"},
            "phases": {"column": "phases", "as": "json"},
        },
    )
    phase = {"items": [{"price": price, "quantity": 1}], "duration": {"interval": "month", "interval_count": 1}}
    one = json.dumps([phase])
    shop.rows("plans", ("p1", "c1", one), columns="id text, person text, phases text")
    shop.succeeds()
    (schedule,) = shop.objects("subscription_schedule")
    first = schedule["phases"][0]
    mine = {
        "items": [{"price": price, "quantity": 1}],
        "start_date": first["start_date"],
        "end_date": first["end_date"],
    }
    added = {"items": [{"price": price, "quantity": 9}], "duration": {"interval": "month", "interval_count": 1}}
    shop.hand.v1.subscription_schedules.update(schedule["id"], {"phases": [mine, added]})
    shop.writes()
    shop.rows(
        "plans",
        ("p1", "c1", one.replace('"quantity": 1', '"quantity": 2')),
        columns="id text, person text, phases text",
    )

    ran = shop.fails()

    (after,) = shop.objects("subscription_schedule")
    assert [p["items"][0]["quantity"] for p in after["phases"]] == [1, 9]
    assert "foreign-items" in ran.text
    assert shop.writes() == []
