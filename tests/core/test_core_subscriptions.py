"""Subscriptions: items by id, trials, pauses, cancellations, collection, and replaced prices."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from core_shop import DAY
from core_table import CHARGED, RUNNING, SUBSCRIPTION

# A trial lasts at most two years: these are days within that time.
SOON = (int(time.time()) // DAY + 300) * DAY
LATER = SOON + 31 * DAY

BASE = {"ends": "NULL::timestamp"}


@pytest.fixture
def shop(shop_for):
    """A subscription that no time ends, not synced yet."""
    shop = shop_for(SUBSCRIPTION)
    shop.rows(**BASE)
    return shop


def map_also(shop, **fields):
    """Map more than the table does; two underscores are a dot."""
    more = {name.replace("__", "."): value for name, value in fields.items()}
    shop.sync(fields={**SUBSCRIPTION.fields, **more})


def test_items_are_added_changed_and_removed_by_their_ids(shop):
    item = {"price": {"sync": "tariffs", "key": "tariff"}, "quantity": "seats"}
    map_also(shop, items={"model": "seats", "on": "sub", "order_by": "tariff", "fields": item})
    columns = "sub text, tariff text, seats int"
    shop.business.rows("seats", ("k", "basic", 2), columns=columns)
    shop.run()
    (basic,) = shop.object()["items"]["data"]
    ids = shop.resolve({"basic": "@tariffs:basic", "large": "@tariffs:large"})

    shop.business.rows("seats", ("k", "basic", 2), ("k", "large", 1), columns=columns)
    shop.run()
    added = shop.sent()
    large = next(one for one in shop.object()["items"]["data"] if one["id"] != basic["id"])
    shop.business.rows("seats", ("k", "basic", 2), ("k", "large", 4), columns=columns)
    shop.run()
    changed = shop.sent()
    shop.business.rows("seats", ("k", "large", 4), columns=columns)
    shop.run()
    removed = shop.sent()

    first = {"id": basic["id"], "quantity": "2"}
    second = {"id": large["id"], "quantity": "4"}
    assert added == [{"items": [first, {"price": ids["large"], "quantity": "1"}]}]
    assert changed == [{"items": [first, second]}]
    assert removed == [{"items": [second, {"id": basic["id"], "deleted": "true"}]}]
    assert [(one["id"], one["quantity"]) for one in shop.object()["items"]["data"]] == [(large["id"], 4)]
    shop.run()
    assert shop.writes() == []


def test_a_replaced_price_moves_its_subscriptions_in_the_same_plan(shop):
    shop.sync()
    shop.run()
    (item,) = shop.object()["items"]["data"]
    shop.business.table("tariffs", "SELECT unnest(['basic', 'large']) AS id, unnest([1200, 2500]) AS cents")

    planned = [(change["key"], change["action"]) for change in shop.business.plan()]
    shop.run()

    assert planned == [("basic", "replace"), ("k", "update"), ("basic", "archive")]
    (moved,) = shop.object()["items"]["data"]
    assert (moved["id"], moved["quantity"], moved["price"]["unit_amount"]) == (item["id"], 2, 1200)
    shop.run()
    assert shop.writes() == []


# ── trials ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_of_days_starts_with_the_subscription_and_is_never_changed(shop):
    shop.rows(**BASE, trial="14")
    shop.sync()
    shop.run()
    made = shop.object()
    assert (made["status"], made["trial_end"] - made["created"]) == ("trialing", 14 * DAY)
    shop.rows(**BASE, trial="30")

    ran = shop.cli()

    assert ran.exit_code == 1
    assert "`trial_period_days` can't be changed on an existing subscription" in ran.text
    assert (shop.writes(), shop.object()) == ([], made)


def test_the_end_of_a_trial_moves_and_can_be_now(shop):
    map_also(shop, trial_end="until")
    shop.rows(**BASE, until=f"'{SOON}'")
    shop.run()
    first = shop.object()
    shop.rows(**BASE, until=f"'{LATER}'")
    shop.run()
    moved, later = shop.sent(), shop.object()
    shop.rows(**BASE, until="'now'")
    shop.run()
    ended, last = shop.sent(), shop.object()

    assert (moved, ended) == ([{"trial_end": str(LATER)}], [{"trial_end": "now"}])
    assert (first["status"], first["trial_end"]) == ("trialing", SOON)
    assert (later["id"], later["status"], later["trial_end"]) == (first["id"], "trialing", LATER)
    assert (last["id"], last["status"]) == (first["id"], "active")


def test_a_trial_end_can_be_a_timestamp_of_the_warehouse(shop):
    map_also(shop, trial_end="until")
    shop.rows(**BASE, until=f"TIMESTAMP '{datetime.fromtimestamp(SOON, UTC):%Y-%m-%d}'")
    shop.run()
    made = shop.object()
    shop.rows(**BASE, until="NULL::timestamp")

    ran = shop.cli()

    assert (made["status"], made["trial_end"]) == ("trialing", SOON)
    assert "`trial_end` is null now, and Stripe can't clear it" in ran.text
    assert shop.writes() == []


# ── pauses and ends ──────────────────────────────────────────────────────────────────────────────────────────────


def test_collection_is_paused_changed_and_resumed(shop):
    map_also(shop, pause_collection__behavior="pause", pause_collection__resumes_at="resumes")
    paused = {"pause": "'void'", "resumes": "NULL::timestamp"}
    shop.rows(**BASE, **paused)
    shop.run()
    made, at_first = shop.writes(), shop.object()
    shop.rows(**BASE, pause="'keep_as_draft'", resumes=f"TIMESTAMP '{datetime.fromtimestamp(SOON, UTC):%Y-%m-%d}'")
    shop.run()
    changed, then = shop.sent(), shop.object()
    shop.rows(**BASE, pause="NULL::text", resumes="NULL::timestamp")
    shop.run()
    resumed, last = shop.sent(), shop.object()

    # Creation takes no pause, so an update follows it.
    assert made[-2:] == [f"POST {SUBSCRIPTION.path}", f"POST {SUBSCRIPTION.path}/{last['id']}"]
    assert at_first["pause_collection"] == {"behavior": "void", "resumes_at": None}
    assert changed == [{"pause_collection": {"behavior": "keep_as_draft", "resumes_at": str(SOON)}}]
    assert then["pause_collection"] == {"behavior": "keep_as_draft", "resumes_at": SOON}
    assert resumed == [{"pause_collection": ""}]
    assert last["pause_collection"] is None
    shop.run()
    assert shop.writes() == []


def test_a_column_says_whether_a_subscription_ends_with_its_period(shop):
    map_also(shop, cancel_at_period_end="ending")
    shop.rows(**BASE, ending="false")
    shop.run()
    sent, shown = [], []
    for ending in ("true", "false"):
        shop.rows(**BASE, ending=ending)
        shop.run()
        sent += shop.sent()
        shown.append(shop.object()["cancel_at_period_end"])

    assert sent == [{"cancel_at_period_end": "true"}, {"cancel_at_period_end": "false"}]
    assert shown == [True, False]


def test_a_row_that_changes_after_its_subscription_was_canceled_by_hand_is_rejected(shop):
    shop.sync()
    shop.run()
    shop.call("delete", f"{SUBSCRIPTION.path}/@")
    shop.rows(**BASE, about="'Lamp'", seats="3")

    ran = shop.cli()

    assert ran.exit_code == 1
    assert (
        "can't be changed on an existing subscription: the subscription has ended (its status is `canceled`)"
        in ran.text
    )
    assert "[k]" in ran.text
    assert shop.writes() == []
    # What Stripe still takes of it is sent.
    shop.rows(**BASE, tier="'silver'")
    shop.run()
    assert shop.sent() == [{"metadata": {"tier": "silver"}}]


# ── how they charge ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("behavior", "pending", "invoices"), [("create_prorations", 2, 1), ("always_invoice", 2, 2), ("none", 0, 1)]
)
def test_every_update_repeats_how_to_prorate(shop, behavior, pending, invoices):
    map_also(shop, proration_behavior={"value": behavior})
    shop.run()
    (made,) = [params for params in shop.sent() if "items" in params]
    shop.business.stripe.advance(10 * DAY)
    shop.rows(**BASE, seats="6")
    shop.run()
    (changed,) = shop.sent()
    shop.rows(**BASE, seats="6", about="'Lamp'")
    shop.run()
    (told,) = shop.sent()

    assert made["proration_behavior"] == changed["proration_behavior"] == behavior
    assert told == {"proration_behavior": behavior, "description": "Lamp"}
    assert shop.business.stripe.count("invoice_item") == pending
    assert shop.business.stripe.count("invoice") == invoices
    shop.run()
    assert shop.writes() == []


@pytest.mark.parametrize("behavior", ["allow_incomplete", "default_incomplete"])
def test_a_failed_first_payment_leaves_the_subscription_incomplete_if_the_row_allows_it(shop, behavior):
    map_also(shop, default_payment_method={"value": "pm_card_chargeDeclined"})
    shop.rows(**BASE, **CHARGED, charging=f"'{behavior}'")

    shop.run()

    assert shop.sent()[-1]["payment_behavior"] == behavior
    assert shop.object()["status"] == "incomplete"


def test_a_first_payment_that_has_to_succeed_rejects_the_row_alone(shop):
    map_also(shop, default_payment_method="card")
    shop.rows(
        ("k", "other"),
        but={"card": "'pm_card_chargeDeclined'"},
        **{**BASE, **CHARGED, "charging": "'error_if_incomplete'", "card": "'pm_card_visa'"},
    )

    ran = shop.cli()

    assert ran.exit_code == 1
    assert "declined" in ran.text
    assert [body["status"] for body in shop.all()] == ["active"]


def test_a_subscription_switches_from_invoices_to_charges_and_back(shop):
    map_also(shop, days_until_due={"column": "days", "nulls": "ignore"})
    shop.run()
    first = shop.object()
    shop.rows(**BASE, **CHARGED)
    shop.run()
    charged, then = shop.sent(), shop.object()
    shop.rows(**BASE, days="14")
    shop.run()
    invoiced, last = shop.sent(), shop.object()

    assert (first["collection_method"], first["days_until_due"]) == ("send_invoice", 30)
    assert charged == [{"collection_method": "charge_automatically"}]
    assert (then["collection_method"], then["days_until_due"]) == ("charge_automatically", None)
    assert invoiced == [{"collection_method": "send_invoice", "days_until_due": "14"}]
    assert (last["id"], last["days_until_due"]) == (first["id"], 14)
    assert RUNNING.shows == {"status": last["status"]}
