"""The next run resolves what an earlier run left open, however old it is, and never creates an object blindly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from business import by_hand
from fault_table import CREATION

from dbt_stripe_sync.sandbox import Fault

# Stripe forgets a key after 24 hours; we stop using it an hour before.
AGES = {"an hour": timedelta(hours=1), "22 hours": timedelta(hours=22)}
OLD_AGES = {
    "23 hours and a half": timedelta(hours=23.5),
    "25 hours": timedelta(hours=25),
    "40 days": timedelta(days=40),
}


def keys_of(lines):
    return {line.idempotency_key for line in lines}


def pass_time(shop, age):
    shop.clock.move(age)
    shop.stripe.advance(age.total_seconds())


def leave_open(shop, path, *, acts, method="POST"):
    """A run whose calls to a path are all cut, after Stripe has acted or before."""
    shop.stripe.inject(Fault.cut(after_effect=acts, count=None, method=method, path=path))
    ran = shop.run()
    assert ran.exit_code == 1, ran.text
    shop.stripe.clear_faults()


def run_successfully(shop):
    shop.stripe.reset_requests()
    ran = shop.run()
    assert ran.exit_code == 0, ran.text
    return ran


# ── young and old ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("age", AGES.values(), ids=AGES)
def test_a_recent_intent_is_settled_under_its_own_key(shop, age, acts):
    leave_open(shop, CREATION["path"], acts=acts)
    used = keys_of(shop.creations())
    pass_time(shop, age)

    run_successfully(shop)

    assert keys_of(shop.creations()) == used
    assert all(line.replayed is acts for line in shop.creations())
    shop.check_nothing_is_left_open()


@pytest.mark.parametrize("age", OLD_AGES.values(), ids=OLD_AGES)
def test_an_old_intent_that_was_carried_out_is_found_by_its_tag(shop, age):
    leave_open(shop, CREATION["path"], acts=True)
    pass_time(shop, age)

    run_successfully(shop)

    assert shop.creations() == []
    shop.check_nothing_is_left_open()


@pytest.mark.parametrize("age", OLD_AGES.values(), ids=OLD_AGES)
def test_an_old_intent_that_was_not_carried_out_gets_a_new_key(shop, age):
    leave_open(shop, CREATION["path"], acts=False)
    used = keys_of(shop.creations())
    pass_time(shop, age)

    run_successfully(shop)

    assert len(shop.creations()) == 3
    assert not keys_of(shop.creations()) & used
    shop.check_nothing_is_left_open()


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_a_key_with_a_saved_500_is_never_sent_again(shop, acts):
    shop.stripe.inject(Fault.status_code(500, after_effect=acts, count=None, **CREATION))
    shop.run()
    used = keys_of(shop.creations())
    shop.stripe.clear_faults()

    run_successfully(shop)

    assert len(shop.creations()) == (0 if acts else 3)
    assert not keys_of(shop.creations()) & used
    shop.check_nothing_is_left_open()


def test_a_list_that_cannot_be_read_is_not_mistaken_for_an_empty_one(shop):
    leave_open(shop, CREATION["path"], acts=True)
    pass_time(shop, timedelta(days=2))
    shop.stripe.inject(Fault.status_code(503, count=None, method="GET", path="^/v1/customers"))
    shop.stripe.reset_requests()

    ran = shop.run()

    assert ran.exit_code == 1
    assert "Stripe could not be asked whether it was made" in ran.text
    assert (shop.creations(), shop.open_intents()) == ([], 3)
    shop.stripe.clear_faults()
    run_successfully(shop)
    shop.check_nothing_is_left_open()


def test_a_row_that_changed_meanwhile_is_settled_first_and_then_updated(shop):
    leave_open(shop, CREATION["path"], acts=True)
    shop.business.table("customers", "SELECT id, email, name || '!' AS name FROM customers")

    run_successfully(shop)

    assert sorted(found["name"] for found in shop.stripe.objects("customer")) == ["Ann!", "Bob!", "Cem!"]
    shop.check_nothing_is_left_open()


def test_a_row_that_was_deleted_meanwhile_is_settled_and_then_removed(shop):
    sync = shop.business.models["customers"]["meta"]["stripe_sync"]
    shop.business.sync("customers", **sync, on_removed="delete", limits={"max_removed": "100%"})
    leave_open(shop, CREATION["path"], acts=True)
    shop.business.table("customers", "SELECT * FROM customers WHERE id < 3")

    run_successfully(shop)

    assert shop.stripe.count("customer") == len(shop.records()) == 2


# ── updates and removals ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=3)], ids=["young", "old"])
def test_an_open_update_is_sent_again_and_is_done_once(shop, age, acts):
    shop.run()
    shop.business.table("customers", "SELECT id, email, name || '!' AS name FROM customers")
    leave_open(shop, "^/v1/customers/", acts=acts)
    pass_time(shop, age)

    run_successfully(shop)

    assert sorted(found["name"] for found in shop.stripe.objects("customer")) == ["Ann!", "Bob!", "Cem!"]
    shop.check_nothing_is_left_open()


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=3)], ids=["young", "old"])
def test_an_open_removal_is_completed(shop, age, acts):
    sync = shop.business.models["customers"]["meta"]["stripe_sync"]
    shop.business.sync("customers", **sync, on_removed="delete", limits={"max_removed": "100%"})
    shop.run()
    shop.business.table("customers", "SELECT * FROM customers WHERE id < 3")
    leave_open(shop, "^/v1/customers/", acts=acts, method="DELETE")
    pass_time(shop, age)

    run_successfully(shop)

    assert shop.stripe.count("customer") == len(shop.records()) == 2
    assert shop.open_intents() == 0


# ── replacements ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def priced(shop):
    """One price of one product, written, whose amount has changed since."""
    business = shop.business
    business.models.clear()
    business.rows("products", ("p1", "Desk"), columns="id text, name text")
    business.sync("products", resource="product", key="id", fields={"name": "name"})
    business.rows("prices", ("m", "p1", 1000), columns="id text, product text, cents int")
    fields = {
        "product": {"sync": "products", "key": "product"},
        "currency": {"value": "usd"},
        "unit_amount": "cents",
        "lookup_key": "id",
    }
    business.sync("prices", resource="price", key="id", fields=fields)
    assert shop.run().exit_code == 0
    business.rows("prices", ("m", "p1", 1200), columns="id text, product text, cents int")
    return shop


def check_replaced(shop):
    prices = sorted(
        (price["unit_amount"], price["active"], price["lookup_key"]) for price in shop.stripe.objects("price")
    )
    assert prices == [(1000, False, None), (1200, True, "m")]
    assert shop.open_intents() == 0
    shop.stripe.reset_requests()
    assert shop.run().exit_code == 0
    assert shop.stripe.writes() == []


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=3)], ids=["young", "old"])
@pytest.mark.parametrize("path", ["^/v1/prices$", "^/v1/prices/"], ids=["the new one", "the end of the old one"])
def test_a_half_finished_replacement_is_completed(priced, path, age, acts):
    leave_open(priced, path, acts=acts)
    pass_time(priced, age)

    run_successfully(priced)

    check_replaced(priced)


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=3)], ids=["young", "old"])
def test_an_interrupted_deletion_of_a_replaced_object_is_completed(shop, age, acts):
    business = shop.business
    business.models.clear()
    fields = {"percent_off": "percent", "duration": {"value": "once"}}
    business.rows("coupons", ("spring", 10), columns="id text, percent int")
    business.sync("coupons", resource="coupon", key="id", fields=fields)
    assert shop.run().exit_code == 0
    business.rows("coupons", ("spring", 20), columns="id text, percent int")
    leave_open(shop, "^/v1/coupons/", acts=acts, method="DELETE")
    pass_time(shop, age)

    run_successfully(shop)

    (coupon,) = shop.stripe.objects("coupon")
    assert coupon["percent_off"] == 20
    assert shop.open_intents() == 0


# ── objects that ended carry the tag too ─────────────────────────────────────────────────────────────────────────


def test_an_ended_object_is_not_mistaken_for_that_of_an_open_creation(shop):
    business = shop.business
    columns = "id text, customer int, memo text"
    business.rows("quotes", ("q1", 1, "one"), ("q2", 1, "two"), columns=columns)
    fields = {"customer": {"sync": "customers", "key": "customer"}, "description": "memo"}
    limits = {"max_removed": "100%"}
    business.sync("quotes", resource="quote", key="id", fields=fields, on_removed="cancel", limits=limits)
    assert shop.run().exit_code == 0
    business.rows("quotes", ("q2", 1, "two"), columns=columns)
    assert shop.run().exit_code == 0
    business.rows("quotes", ("q1", 1, "one"), ("q2", 1, "two"), columns=columns)
    leave_open(shop, "^/v1/quotes$", acts=False)
    pass_time(shop, timedelta(days=2))

    run_successfully(shop)

    quotes = sorted((found["description"], found["status"]) for found in shop.stripe.objects("quote"))
    assert quotes == [("one", "canceled"), ("one", "draft"), ("two", "draft")]


# ── objects without a tag ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def taxed(shop):
    """A customer with two tax ids, which have no metadata."""
    assert shop.run().exit_code == 0
    shop.business.rows(
        "vat", ("v1", 1, "DE123456789"), ("v2", 1, "DE987654321"), columns="id text, customer int, no text"
    )
    fields = {"customer": {"sync": "customers", "key": "customer"}, "type": {"value": "eu_vat"}, "value": "no"}
    shop.business.sync("vat", resource="customer.tax_id", key="id", mode="insert", fields=fields)
    return shop


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_an_object_without_a_tag_is_found_by_its_parameters(taxed, acts):
    leave_open(taxed, "/tax_ids$", acts=acts)
    pass_time(taxed, timedelta(days=2))

    run_successfully(taxed)

    numbers = sorted(found["value"] for found in taxed.stripe.objects("customer.tax_id"))
    assert numbers == ["DE123456789", "DE987654321"]
    assert taxed.open_intents() == 0


@pytest.fixture
def metered(shop):
    """A customer with one usage event, which Stripe does not list."""
    assert shop.run().exit_code == 0
    shop.business.rows("meters", ("calls",), columns="id text")
    meter = {"event_name": "id", "display_name": "id", "default_aggregation.formula": {"value": "sum"}}
    shop.business.sync("meters", resource="billing.meter", key="id", fields=meter)
    shop.business.rows("usage", ("u1", 1, 5), columns="id text, customer int, n int")
    event = {
        "event_name": {"value": "calls"},
        "identifier": "id",
        "payload.stripe_customer_id": {"sync": "customers", "key": "customer"},
        "payload.value": "n",
    }
    shop.business.sync("usage", resource="billing.meter_event", key="id", mode="insert", after="meters", fields=event)
    return shop


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("status", [500, 503])
def test_an_event_counts_once_whatever_happens_to_its_answer(metered, status, acts):
    metered.stripe.inject(Fault.status_code(status, after_effect=acts, count=None, path="^/v1/billing/meter_events$"))
    metered.run()
    metered.stripe.clear_faults()

    run_successfully(metered)

    assert metered.stripe.count("billing.meter_event") == 1
    assert metered.open_intents() == 0


@pytest.mark.parametrize("timed", [True, False], ids=["with a time", "without"])
@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_an_event_that_stripe_no_longer_deduplicates_is_settled_by_what_its_meter_has_counted(metered, acts, timed):
    if timed:
        happened = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
        metered.business.rows("usage", ("u1", 1, 5, happened), columns="id text, customer int, n int, done timestamptz")
        metered.business.models["usage"]["meta"]["stripe_sync"]["fields"]["timestamp"] = "done"
        metered.business.write_manifest()
    leave_open(metered, "^/v1/billing/meter_events$", acts=acts)
    pass_time(metered, timedelta(days=2))
    metered.stripe.reset_requests()

    run_successfully(metered)

    assert len(metered.stripe.writes()) == (0 if acts else 1)
    assert metered.stripe.count("billing.meter_event") == 1
    assert metered.open_intents() == 0
    run_successfully(metered)
    assert metered.stripe.count("billing.meter_event") == 1


def test_events_of_one_minute_are_settled_together(metered):
    happened = (datetime.now(UTC) - timedelta(hours=3)).replace(second=0)
    rows = [(f"u{n}", 1, n, (happened + timedelta(seconds=n)).isoformat()) for n in (1, 2, 3)]
    metered.business.models["usage"]["meta"]["stripe_sync"]["fields"]["timestamp"] = "done"
    columns = "id text, customer int, n int, done timestamptz"
    metered.business.rows("usage", *rows[:1], columns=columns)
    run_successfully(metered)
    metered.business.rows("usage", *rows, columns=columns)
    leave_open(metered, "^/v1/billing/meter_events$", acts=True)
    pass_time(metered, timedelta(days=2))

    run_successfully(metered)

    assert metered.stripe.writes() == []
    assert metered.stripe.count("billing.meter_event") == 3
    assert metered.open_intents() == 0


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_an_event_that_shares_its_time_with_others_stays_unknown_until_a_person_decides(metered, acts):
    leave_open(metered, "^/v1/billing/meter_events$", acts=acts)
    customer = next(
        c["id"] for c in metered.stripe.objects("customer") if c["metadata"]["dbt_stripe_sync"][-2:] == "/1"
    )
    hand = {"event_name": "calls", "payload[stripe_customer_id]": customer, "payload[value]": "7"}
    by_hand(metered.business, "billing/meter_events", identifier="by hand", **hand)
    pass_time(metered, timedelta(days=2))
    metered.stripe.reset_requests()

    ran = metered.run()

    assert ran.exit_code == 1
    assert f"the meter `calls` has counted {12 if acts else 7} (sum) for {customer}; 0 of it is recorded" in ran.text
    assert "5 is unresolved" in ran.text
    assert "state forget usage KEY" in ran.text
    assert metered.stripe.writes() == []
    assert metered.open_intents() == 1
    forgotten = metered.run("state", "forget", "usage", "u1")
    assert forgotten.exit_code == 0, forgotten.text
    run_successfully(metered)
    assert metered.open_intents() == 0
    assert len(metered.stripe.writes()) == 1


def test_a_second_attempt_does_not_extend_stripes_deduplication_window(metered):
    for acts in (True, False):
        # Stripe keeps such an answer under its key, so the event is tried again under another.
        metered.stripe.inject(Fault.status_code(500, after_effect=acts, path="^/v1/billing/meter_events$"))
        metered.run()
        pass_time(metered, timedelta(hours=20))
    metered.stripe.reset_requests()

    run_successfully(metered)

    assert metered.stripe.writes() == []
    assert metered.stripe.count("billing.meter_event") == 1


def test_a_sync_with_open_changes_is_not_renamed(shop):
    shop.run()
    shop.business.table("customers", "SELECT id, email, name || '!' AS name FROM customers")
    leave_open(shop, "^/v1/customers/", acts=True)

    refused = shop.run("state", "mv", "customers", "people")

    assert refused.exit_code == 2
    assert "error[sync-undecided]" in refused.text
    run_successfully(shop)
    assert shop.run("state", "mv", "customers", "people").exit_code == 0


# ── updates whose second attempt is rejected ─────────────────────────────────────────────────────────────────────


def test_a_row_that_changes_back_is_sent_although_the_update_in_between_has_no_known_answer(business):
    """The record must have what the update did, or the old value would look unchanged."""
    business.sync("products", resource="product", key="id", fields={"name": "name"})
    business.rows("products", ("a", "Lamp"), columns="id text, name text")
    assert business.cli("run").exit_code == 0
    business.rows("products", ("a", "Desk"), columns="id text, name text")
    business.stripe.inject(Fault.status_code(500, after_effect=True, method="POST", path="^/v1/products/"))
    assert business.cli("run").exit_code == 1
    business.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/products/"))
    business.cli("run")
    business.stripe.clear_faults()
    business.rows("products", ("a", "Lamp"), columns="id text, name text")

    assert business.cli("run").exit_code == 0

    assert [product["name"] for product in business.stripe.objects("product")] == ["Lamp"]


def test_a_row_whose_object_a_cut_call_deleted_gets_a_new_one_although_the_second_deletion_is_rejected(shop):
    """A 403 doesn't say that the object still exists. The row changes back, and would otherwise look unchanged."""
    business = shop.business
    business.models.clear()
    fields = {"id": "id", "percent_off": "percent", "duration": {"value": "once"}}
    business.sync("coupons", resource="coupon", key="id", fields=fields)
    business.rows("coupons", ("spring", 10), columns="id text, percent int")
    run_successfully(shop)
    business.rows("coupons", ("spring", 20), columns="id text, percent int")
    leave_open(shop, "^/v1/coupons/", acts=True, method="DELETE")
    business.rows("coupons", ("spring", 10), columns="id text, percent int")
    pass_time(shop, timedelta(days=3))
    shop.stripe.inject(Fault.forbidden(count=None, method="DELETE", path="^/v1/coupons/"))
    assert shop.run().exit_code == 1
    shop.stripe.clear_faults()

    run_successfully(shop)

    (coupon,) = shop.stripe.objects("coupon")
    assert coupon["percent_off"] == 10
