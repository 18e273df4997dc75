"""No dead ends between a row and its objects: following the hint leads to a run that succeeds and leaves nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from business import by_hand
from test_ways_back import check_that_nothing_is_left

from dbt_stripe_sync.sandbox import Fault

USD = {"value": "usd"}
MONTHLY = {"value": "month"}


def fails(business, code, *command):
    """What a command says, where some rows were left out for the reason that is named."""
    ran = business.cli(*(command or ("run", "--yes")))
    assert (ran.exit_code, f"[{code}]" in ran.text, "hint:" in ran.text) == (1, True, True), ran.text
    return ran


def change(business, model, **meta):
    """Set a sync's own words."""
    business.sync(model, **business.models[model]["meta"]["stripe_sync"] | meta)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

VALUES = {
    "not-a-boolean": ("product", {"name": "id", "active": "value"}, "text", "maybe", "true"),
    "not-a-number": (
        "tax_rate",
        {"display_name": "id", "inclusive": {"value": True}, "percentage": "value"},
        "text",
        "lots",
        "5",
    ),
    "not-a-time": (
        "coupon",
        {
            "percent_off": {"value": 5},
            "duration": {"value": "once"},
            "redeem_by": {"column": "value", "as": "unix_seconds"},
        },
        "text",
        "soon",
        (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    ),
    "not-an-integer": (
        "coupon",
        {"percent_off": {"value": 5}, "duration": {"value": "once"}, "max_redemptions": "value"},
        "text",
        "some",
        "7",
    ),
    "inexact-amount": (
        "price",
        {
            "product_data.name": "id",
            "currency": USD,
            "unit_amount": {"column": "value", "as": "minor_units", "currency": "usd"},
        },
        "double",
        12345678901234567.0,
        15.5,
    ),
    "not-text": ("product", {"name": "value"}, "double", float("nan"), 5.0),
    "template-too-large": (
        "product",
        {"name": "id", "description": {"template": "[% for n in range(value) %][[ n ]][% endfor %]"}},
        "int",
        90_000,
        5,
    ),
}


@pytest.mark.parametrize("code", VALUES)
def test_a_corrected_value_is_sent(business, code):
    resource, fields, kind, bad, good = VALUES[code]
    business.rows("things", ("a", bad), columns=f"id text, value {kind}")
    business.sync("things", resource=resource, key="id", fields=fields)
    fails(business, code)

    business.rows("things", ("a", good), columns=f"id text, value {kind}")

    check_that_nothing_is_left(business)


def test_an_event_that_is_too_old_is_left_out_of_the_model(metered):
    def events(*moments):
        metered.rows("events", *[(f"e{at}", at, "c1") for at in moments], columns="id text, moment bigint, who text")

    now = int(time.time())
    events(now - 100 * 86_400, now)
    metered.sync(
        "events",
        resource="billing.meter_event",
        key="id",
        fields={
            "event_name": {"value": "api"},
            "payload.stripe_customer_id": {"sync": "customers", "key": "who"},
            "payload.value": {"value": "1"},
            "timestamp": "moment",
        },
    )
    fails(metered, "time-out-of-window")

    events(now)

    check_that_nothing_is_left(metered)


# ── references ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def extras(customers):
    """Three customers, and an invoice item of one of them."""
    customers.rows("extras", ("x", 3, "c@example.com"), columns="id text, who int, address text")
    customers.sync("extras", resource="invoice_item", key="id", fields=ITEM | {"customer": OF_SYNC})
    return customers


ITEM = {"amount": {"value": 700}, "currency": USD}
OF_SYNC = {"sync": "customers", "key": "who"}
BY_EMAIL = {"lookup": "customer", "by": "email", "column": "address"}


def test_a_missing_row_is_added_to_the_other_model(extras):
    extras.table("customers", "SELECT * FROM customers WHERE id < 3")
    fails(extras, "reference-not-found")

    extras.rows("customers", (1, "a@example.com", "Ann"), (3, "c@example.com", "Cem"), columns=PEOPLE)

    check_that_nothing_is_left(extras)


PEOPLE = "id int, email text, name text"


def test_an_ambiguous_look_up_is_fixed_with_a_unique_field(extras):
    for _ in range(2):
        by_hand(extras, "customers", email="c@example.com")
    change(extras, "extras", fields=ITEM | {"customer": BY_EMAIL})
    fails(extras, "reference-ambiguous", "run", "--select", "extras")

    change(extras, "extras", fields=ITEM | {"customer": OF_SYNC})

    check_that_nothing_is_left(extras)


# ── objects that others have changed ─────────────────────────────────────────────────────────────────────────────


def ann(business):
    return next(c["id"] for c in business.stripe.objects("customer") if c["email"].startswith("a"))


def undo(business):
    by_hand(business, f"customers/{ann(business)}", name="Ann")


@pytest.mark.parametrize(
    "way_out",
    [undo, lambda b: change(b, "customers", on_drift="overwrite"), lambda b: change(b, "customers", on_drift="keep")],
    ids=["undo", "overwrite", "keep"],
)
def test_drift_is_resolved_by_following_a_hint(customers, way_out):
    customers.cli()
    by_hand(customers, f"customers/{ann(customers)}", name="Anna")
    fails(customers, "drifted", "run", "--refresh")

    way_out(customers)

    check_that_nothing_is_left(customers)


@pytest.mark.parametrize("word", ["recreate", "forget"])
def test_a_deleted_object_is_resolved_by_either_on_deleted_setting(customers, word):
    customers.cli()
    by_hand(customers, f"customers/{ann(customers)}", method="DELETE")
    fails(customers, "object-deleted", "run", "--refresh")

    change(customers, "customers", on_deleted=word)

    check_that_nothing_is_left(customers)


def test_objects_are_read_back_once_the_key_may_read_them(customers):
    customers.table("customers", "SELECT * FROM customers WHERE id = 1")
    customers.cli()
    customers.stripe.inject(Fault.forbidden(method="GET", path="^/v1/customers/", count=None))
    fails(customers, "not-read-back", "run", "--refresh")

    customers.stripe.clear_faults()

    check_that_nothing_is_left(customers, "--refresh")


def test_a_higher_max_reads_lets_a_refresh_succeed(customers):
    customers.cli()
    change(customers, "customers", limits={"max_reads": 0})
    fails(customers, "max-reads", "run", "--refresh")

    change(customers, "customers", limits={"max_reads": 100})

    check_that_nothing_is_left(customers, "--refresh")


@pytest.mark.parametrize("code", ["max-removed", "confirmation-required"])
def test_confirmed_removals_are_sent(customers, code):
    change(customers, "customers", on_removed="delete", limits={"max_removed": 1} if code == "max-removed" else {})
    customers.cli()
    customers.table("customers", "SELECT * FROM customers WHERE id = 1")
    ran = customers.cli()
    assert (ran.exit_code != 0, f"error[{code}]" in ran.text) == (True, True), ran.text
    assert customers.stripe.count("customer") == 3

    change(customers, "customers", limits={"max_removed": 2})

    check_that_nothing_is_left(customers)
    assert customers.stripe.count("customer") == 1


# ── objects that hold each other ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sold(business):
    """A product, a price of it, two customers and a subscription of each."""
    business.rows("products", ("p",), columns="id text")
    business.sync("products", resource="product", key="id", fields={"name": "id"})
    business.rows("prices", ("m", "p", 1000, "usd"), columns=PRICES)
    business.sync(
        "prices",
        resource="price",
        key="id",
        fields={
            "product": {"sync": "products", "key": "product"},
            "currency": "currency",
            "unit_amount": "cents",
            "recurring.interval": MONTHLY,
        },
    )
    business.rows("people", ("ann",), ("bo",), columns="id text")
    business.sync("people", resource="customer", key="id", fields={"name": "id"}, on_removed="delete")
    business.rows("subs", ("s-ann", "ann", "m"), ("s-bo", "bo", "m"), columns=SUBS)
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": [{"price": {"sync": "prices", "key": "price"}}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 14},
        },
    )
    assert business.cli().exit_code == 0
    return business


PRICES = "id text, product text, cents int, currency text"
SUBS = "id text, person text, price text"


def subscriptions(business, *people):
    business.rows("subs", *[(f"s-{name}", name, "m") for name in people], columns=SUBS)


def test_a_default_price_that_nobody_synced_is_moved(sold):
    product = by_hand(sold, "products", name="By hand")["id"]
    price = by_hand(sold, "prices", product=product, currency="usd", unit_amount=900, **{"metadata[row]": "own"})["id"]
    by_hand(sold, f"products/{product}", default_price=price)
    sold.rows("own", ("own", product, 900), columns="id text, product text, cents int")
    sold.sync(
        "own",
        resource="price",
        key="id",
        match=["metadata.row"],
        fields={"product": "product", "currency": USD, "unit_amount": "cents", "metadata.row": "id"},
    )
    assert sold.cli().exit_code == 0
    sold.rows("own", ("own", product, 950), columns="id text, product text, cents int")
    assert "move_holders: true" in fails(sold, "held-by-another-object").text

    change(sold, "own", options={"move_holders": True})

    check_that_nothing_is_left(sold)


@pytest.mark.parametrize("way_out", ["put back", "replace"])
def test_an_immutable_change_succeeds_once_reverted_or_replaced(sold, way_out):
    sold.rows("subs", ("s-ann", "bo", "m"), ("s-bo", "bo", "m"), columns=SUBS)
    assert "replace: true" in fails(sold, "immutable-changed").text

    if way_out == "put back":
        subscriptions(sold, "ann", "bo")
    else:
        change(sold, "subs", options={"replace": True})

    check_that_nothing_is_left(sold)


def test_a_price_in_another_currency_gets_a_row_of_its_own(sold):
    sold.rows("prices", ("m", "p", 1000, "eur"), columns=PRICES)
    ran = fails(sold, "dependents-cannot-follow")
    assert "[dependency-withheld]" in ran.text

    sold.rows("prices", ("m", "p", 1000, "usd"), ("m_eur", "p", 1000, "eur"), columns=PRICES)

    check_that_nothing_is_left(sold)


@pytest.mark.parametrize("way_out", ["end", "ignore"])
def test_a_customer_with_a_subscription_is_kept_or_removed_with_it(sold, way_out):
    sold.rows("people", ("bo",), columns="id text")
    subscriptions(sold, "bo")
    ran = fails(sold, "dependent-stays")
    assert "let its `on_removed` end the subscription" in ran.text

    if way_out == "end":
        change(sold, "subs", on_removed="cancel")
    else:
        change(sold, "people", on_removed="ignore")

    check_that_nothing_is_left(sold, "--yes")


@pytest.mark.parametrize("way_out", ["end", "ignore"])
def test_a_customer_with_a_foreign_subscription_is_kept_or_waits_for_it(sold, way_out):
    bo = next(c["id"] for c in sold.stripe.objects("customer") if c["name"] == "bo")
    (price,) = sold.stripe.objects("price")
    extra = by_hand(
        sold,
        "subscriptions",
        customer=bo,
        collection_method="send_invoice",
        days_until_due=3,
        **{"items[0][price]": price["id"]},
    )["id"]
    change(sold, "subs", on_removed="cancel")
    sold.rows("people", ("ann",), columns="id text")
    subscriptions(sold, "ann")
    fails(sold, "ends-with-it")

    if way_out == "end":
        by_hand(sold, f"subscriptions/{extra}", method="DELETE")
    else:
        change(sold, "people", on_removed="ignore")

    check_that_nothing_is_left(sold, "--yes")


def test_a_removal_succeeds_once_the_key_may_read_the_object(sold):
    change(sold, "subs", on_removed="cancel")
    subscriptions(sold, "ann")
    sold.stripe.inject(Fault.forbidden(method="GET", path="^/v1/subscriptions/", count=None))
    fails(sold, "lookup-failed")

    sold.stripe.clear_faults()

    check_that_nothing_is_left(sold, "--yes")


@pytest.mark.parametrize("way_out", ["owned", "removed"])
def test_foreign_items_are_removed_by_hand_or_by_the_sync(sold, way_out):
    for name in ("HALF", "THIRD"):
        by_hand(sold, "coupons", id=name, percent_off=30, duration="forever")
    fields = sold.models["subs"]["meta"]["stripe_sync"]["fields"]
    change(sold, "subs", fields=fields | {"discounts": [{"coupon": {"value": "HALF"}}]})
    first = sold.stripe.objects("subscription")[0]["id"]
    by_hand(sold, f"subscriptions/{first}", **{"discounts[0][coupon]": "THIRD"})
    fails(sold, "foreign-items")

    if way_out == "owned":
        change(sold, "subs", items_owned="all")
    else:
        by_hand(sold, f"subscriptions/{first}", discounts="")

    check_that_nothing_is_left(sold)


# ── values that only one object has ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def codes(business):
    by_hand(business, "coupons", id="HALF", percent_off=50, duration="once")
    business.rows("codes", ("a", "SPRING"), ("b", "SUMMER"), columns="id text, code text")
    business.sync(
        "codes",
        resource="promotion_code",
        key="id",
        fields={"promotion": {"value": {"type": "coupon", "coupon": "HALF"}}, "code": "code"},
    )
    assert business.cli().exit_code == 0
    return business


def test_a_unique_value_is_resolved_by_choosing_another(codes):
    codes.rows("codes", ("a", "SPRING"), ("b", "SUMMER"), ("c", "SPRING"), columns="id text, code text")
    fails(codes, "value-taken")

    codes.rows("codes", ("a", "SPRING"), ("b", "SUMMER"), ("c", "AUTUMN"), columns="id text, code text")

    check_that_nothing_is_left(codes)
