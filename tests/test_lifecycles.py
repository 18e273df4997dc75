"""Each kind of object is made, changed, replaced and removed as Stripe lets it be, and no other way."""

from __future__ import annotations

import json

import pytest

from dbt_stripe_sync.sandbox import Fault

PRODUCT = {"resource": "product", "key": "id", "fields": {"name": "name"}}
PRICE = {
    "resource": "price",
    "key": "id",
    "fields": {
        "product": {"sync": "products", "key": "product_id"},
        "currency": {"value": "usd"},
        "unit_amount": {"column": "amount", "as": "minor_units", "currency": "usd"},
        "recurring.interval": {"value": "month"},
        "lookup_key": "lookup",
        "nickname": "nickname",
    },
}


def run(business, *arguments):
    ran = business.cli(*(arguments or ("run", "--yes")))
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


def only(business, kind):
    (found,) = business.stripe.objects(kind)
    return found


@pytest.fixture
def catalogue(business):
    """A product with one monthly price."""
    business.rows("products", ("p1", "Desk"), columns="id text, name text")
    business.sync("products", **PRODUCT)
    prices(business, ("m", "p1", "10.00", "desk_monthly", None))
    return business


def prices(business, *rows, **meta):
    business.rows(
        "prices", *rows, columns="id text, product_id text, amount decimal(10, 2), lookup text, nickname text"
    )
    business.sync("prices", **PRICE, **meta)


@pytest.fixture
def subscribers(catalogue):
    """A customer with one subscription to one price."""
    catalogue.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    catalogue.sync("customers", resource="customer", key="id", fields={"email": "email"})
    subscription(catalogue, ("s1", "c1", "m", 2))
    return catalogue


def subscription(business, *rows, **meta):
    business.rows("subs", *rows, columns="id text, customer_id text, price_id text, seats int")
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer_id"},
            "items": [{"price": {"sync": "prices", "key": "price_id"}, "quantity": "seats"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
        },
        **meta,
    )


# ── prices ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_amount_makes_a_new_price_that_takes_the_lookup_key_over(catalogue):
    run(catalogue)
    old = only(catalogue, "price")
    prices(catalogue, ("m", "p1", "12.00", "desk_monthly", None))

    run(catalogue)

    by_id = {price["id"]: price for price in catalogue.stripe.objects("price")}
    assert len(by_id) == 2
    assert by_id[old["id"]]["active"] is False
    (new,) = [price for price in by_id.values() if price["id"] != old["id"]]
    assert (new["unit_amount"], new["lookup_key"], new["active"]) == (1200, "desk_monthly", True)
    catalogue.write_calls()
    run(catalogue)
    assert catalogue.write_calls() == []


def test_a_new_nickname_keeps_the_price(catalogue):
    run(catalogue)
    old = only(catalogue, "price")
    prices(catalogue, ("m", "p1", "10.00", "desk_monthly", "Monthly"))

    run(catalogue)

    assert (only(catalogue, "price")["id"], only(catalogue, "price")["nickname"]) == (old["id"], "Monthly")


def test_a_price_that_leaves_is_archived_and_comes_back_as_it_was(catalogue):
    prices(
        catalogue,
        ("m", "p1", "10.00", "desk_monthly", None),
        ("y", "p1", "99.00", "desk_y", None),
        on_removed="archive",
    )
    run(catalogue)
    yearly = next(price for price in catalogue.stripe.objects("price") if price["lookup_key"] == "desk_y")

    prices(catalogue, ("m", "p1", "10.00", "desk_monthly", None), on_removed="archive")
    run(catalogue)
    gone = next(price for price in catalogue.stripe.objects("price") if price["id"] == yearly["id"])
    prices(
        catalogue,
        ("m", "p1", "10.00", "desk_monthly", None),
        ("y", "p1", "99.00", "desk_y", None),
        on_removed="archive",
    )
    run(catalogue)
    back = next(price for price in catalogue.stripe.objects("price") if price["id"] == yearly["id"])

    assert (gone["active"], back["active"]) == (False, True)
    assert catalogue.stripe.count("price") == 2


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_quantity_changes_the_item_and_adds_none(subscribers):
    run(subscribers)
    (item,) = only(subscribers, "subscription")["items"]["data"]
    subscription(subscribers, ("s1", "c1", "m", 5))

    run(subscribers)

    (changed,) = only(subscribers, "subscription")["items"]["data"]
    assert (changed["id"], changed["quantity"]) == (item["id"], 5)


def test_every_update_of_a_subscription_says_again_how_to_charge_for_it(subscribers):
    fields = {**subscribers.models["subs"]["meta"]["stripe_sync"]["fields"], "proration_behavior": {"value": "none"}}
    subscribers.sync("subs", resource="subscription", key="id", fields=fields)
    run(subscribers)
    subscribers.rows("subs", ("s1", "c1", "m", 5), columns="id text, customer_id text, price_id text, seats int")
    subscribers.stripe.reset_requests()

    run(subscribers)

    (line,) = subscribers.stripe.writes()
    assert line.params["proration_behavior"] == "none"
    assert subscribers.stripe.count("invoice_item") == 0


def test_a_replaced_price_moves_the_subscription_without_a_second_item(subscribers):
    run(subscribers)
    prices(subscribers, ("m", "p1", "12.00", "desk_monthly", None))

    run(subscribers)

    (item,) = only(subscribers, "subscription")["items"]["data"]
    assert item["price"]["unit_amount"] == 1200


def test_a_subscription_that_leaves_is_canceled(subscribers):
    subscription(subscribers, ("s1", "c1", "m", 2), ("s2", "c1", "m", 1), on_removed="cancel")
    run(subscribers)

    subscription(subscribers, ("s1", "c1", "m", 2), on_removed="cancel")
    run(subscribers)

    assert sorted(sub["status"] for sub in subscribers.stripe.objects("subscription")) == ["active", "canceled"]


def test_one_that_was_canceled_by_hand_is_left_alone(subscribers):
    subscription(subscribers, ("s1", "c1", "m", 2), ("s2", "c1", "m", 1), on_removed="cancel")
    run(subscribers)
    second = next(sub for sub in subscribers.stripe.objects("subscription") if sub["items"]["data"][0]["quantity"] == 1)
    stripe_call(subscribers, "delete", f"/v1/subscriptions/{second['id']}")
    subscribers.write_calls()

    subscription(subscribers, ("s1", "c1", "m", 2), on_removed="cancel")
    run(subscribers)

    assert subscribers.write_calls() == []


def test_a_subscription_ends_with_its_period_and_goes_on_if_its_row_comes_back(subscribers):
    rows = [("s1", "c1", "m", 2), ("s2", "c1", "m", 1)]
    subscription(subscribers, *rows, on_removed="cancel_at_period_end")
    run(subscribers)

    subscription(subscribers, rows[0], on_removed="cancel_at_period_end")
    run(subscribers)
    ending = [sub["cancel_at_period_end"] for sub in subscribers.stripe.objects("subscription")]
    subscription(subscribers, *rows, on_removed="cancel_at_period_end")
    run(subscribers)
    going_on = [sub["cancel_at_period_end"] for sub in subscribers.stripe.objects("subscription")]

    assert (sorted(ending), going_on) == ([False, True], [False, False])


# ── invoices and what they are made of ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def billed(business):
    """A customer with two draft invoices."""
    business.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    return business


def invoices(business, *rows, **meta):
    business.rows("invoices", *rows, columns="id text, customer_id text, memo text")
    business.sync(
        "invoices",
        resource="invoice",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer_id"},
            "description": "memo",
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "auto_advance": {"value": False},
        },
        **meta,
    )


def stripe_call(business, method, path, **params):
    import stripe

    client = stripe.StripeClient(business.stripe.api_key, base_addresses={"api": business.stripe.url})
    return json.loads(client.raw_request(method, path, **params).body)


def test_a_draft_is_deleted_and_a_finalised_invoice_is_not(billed):
    invoices(billed, ("i1", "c1", "first"), ("i2", "c1", "second"), on_removed="delete")
    run(billed)
    first = next(i for i in billed.stripe.objects("invoice") if i["description"] == "first")
    stripe_call(billed, "post", f"/v1/invoices/{first['id']}/finalize")

    billed.rows("invoices", columns="id text, customer_id text, memo text")
    ran = billed.cli("plan")
    billed.table("invoices", "SELECT 'i3' AS id, 'c1' AS customer_id, 'third' AS memo")
    ran = run(billed)

    left = {i["description"]: i["status"] for i in billed.stripe.objects("invoice")}
    assert left["first"] != "draft"
    assert "second" not in left
    assert "can't be deleted" in ran.out + ran.err


def test_void_deletes_a_draft_and_voids_an_open_invoice(billed):
    invoices(billed, ("i1", "c1", "first"), ("i2", "c1", "second"), ("i3", "c1", "third"), on_removed="void")
    billed.rows("lines", ("l1", "c1", 500), columns="id text, customer_id text, cents int")
    billed.sync(
        "lines",
        resource="invoice_item",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer_id"},
            "amount": "cents",
            "currency": {"value": "usd"},
        },
    )
    run(billed)
    by_memo = {i["description"]: i["id"] for i in billed.stripe.objects("invoice")}
    item = billed.stripe.objects("invoiceitem") or billed.stripe.objects("invoice_item")
    assert item
    stripe_call(
        billed,
        "post",
        "/v1/invoiceitems",
        customer=item[0]["customer"],
        invoice=by_memo["first"],
        amount=700,
        currency="usd",
    )
    stripe_call(billed, "post", f"/v1/invoices/{by_memo['first']}/finalize")

    billed.table("invoices", "SELECT 'i3' AS id, 'c1' AS customer_id, 'third' AS memo")
    run(billed)

    left = {i["description"]: i["status"] for i in billed.stripe.objects("invoice")}
    assert left == {"first": "void", "third": "draft"}


def test_an_item_on_a_finalised_invoice_stays(billed):
    invoices(billed, ("i1", "c1", "first"))
    lines = {
        "resource": "invoice_item",
        "key": "id",
        "on_removed": "delete",
        "fields": {
            "customer": {"sync": "customers", "key": "customer_id"},
            "invoice": {"sync": "invoices", "key": "invoice_id"},
            "amount": "cents",
            "currency": {"value": "usd"},
        },
    }
    columns = "id text, customer_id text, invoice_id text, cents int"
    billed.rows("lines", ("l1", "c1", "i1", 500), ("l2", "c1", None, 700), ("l3", "c1", None, 900), columns=columns)
    billed.sync("lines", **lines)
    run(billed)
    stripe_call(billed, "post", f"/v1/invoices/{only(billed, 'invoice')['id']}/finalize")

    billed.rows("lines", ("l3", "c1", None, 900), columns=columns)
    ran = run(billed)

    assert sorted(item["amount"] for item in billed.stripe.objects("invoice_item")) == [500, 900]
    assert "the item is on a finalised invoice" in ran.out + ran.err


# ── discounts ────────────────────────────────────────────────────────────────────────────────────────────────────


def coupons(business, *rows, own_id):
    business.rows("coupons", *rows, columns="id text, percent decimal(5, 2), label text")
    fields = {"percent_off": "percent", "duration": {"value": "once"}, "name": "label"}
    business.sync("coupons", resource="coupon", key="id", fields={**fields, **({"id": "id"} if own_id else {})})


def test_a_coupon_without_an_id_of_ours_is_replaced(business):
    coupons(business, ("spring", 10, "Spring"), own_id=False)
    run(business)
    old = only(business, "coupon")
    coupons(business, ("spring", 20, "Spring"), own_id=False)

    run(business)

    new = only(business, "coupon")
    assert new["id"] != old["id"]
    assert new["percent_off"] == 20


def test_a_coupon_with_an_id_of_ours_can_not_be_replaced(business):
    coupons(business, ("spring", 10, "Spring"), ("autumn", 5, "Autumn"), own_id=True)
    run(business)
    coupons(business, ("spring", 20, "Spring"), ("autumn", 5, "Fall"), own_id=True)
    business.write_calls()

    ran = business.cli()

    assert ran.exit_code == 1
    assert "immutable-changed" in ran.out + ran.err
    assert business.write_calls() == ["POST /v1/coupons/autumn"]


# ── objects of a customer ────────────────────────────────────────────────────────────────────────────────────────


def tax_ids(business, *rows, **meta):
    business.rows("tax_ids", *rows, columns="id text, customer_id text, vat text")
    business.sync(
        "tax_ids",
        resource="customer.tax_id",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer_id"},
            "type": {"value": "eu_vat"},
            "value": "vat",
        },
        **meta,
    )


def test_a_nested_object_is_made_under_its_parent_replaced_and_deleted(billed):
    tax_ids(billed, ("t1", "c1", "DE111111111"), ("t2", "c1", "DE222222222"), on_removed="delete")
    run(billed)
    customer = only(billed, "customer")["id"]
    assert {found["customer"] for found in billed.stripe.objects("customer.tax_id")} == {customer}

    tax_ids(billed, ("t1", "c1", "DE333333333"), on_removed="delete")
    run(billed)

    assert [found["value"] for found in billed.stripe.objects("customer.tax_id")] == ["DE333333333"]
    billed.write_calls()
    run(billed)
    assert billed.write_calls() == []


def test_an_entry_of_a_customers_balance_is_written_once(billed):
    columns = "id text, customer_id text, cents int, note text"
    sync = {
        "resource": "customer.balance_transaction",
        "key": "id",
        "fields": {
            "customer": {"sync": "customers", "key": "customer_id"},
            "amount": "cents",
            "currency": {"value": "usd"},
            "description": "note",
        },
    }
    billed.rows("credits", ("b1", "c1", -500, "welcome"), columns=columns)
    billed.sync("credits", **sync)
    run(billed)
    billed.write_calls()

    run(billed)
    assert billed.write_calls() == []
    billed.rows("credits", ("b1", "c1", -900, "welcome"), columns=columns)
    ran = billed.cli()

    assert ran.exit_code == 1
    assert "an entry in a ledger is never changed" in ran.out + ran.err
    assert only(billed, "customer")["balance"] == -500


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_meter_event_is_sent_once_for_its_row(billed):
    billed.rows("meters", ("api", "Calls"), columns="id text, label text")
    billed.sync(
        "meters",
        resource="billing.meter",
        key="id",
        fields={"event_name": "id", "display_name": "label", "default_aggregation.formula": {"value": "sum"}},
    )
    run(billed)
    customer = only(billed, "customer")["id"]
    billed.rows("events", ("e1", customer, "3"), ("e2", customer, "4"), columns="id text, customer text, amount text")
    billed.sync(
        "events",
        resource="billing.meter_event",
        key="id",
        fields={
            "event_name": {"value": "api"},
            "payload": {"stripe_customer_id": "customer", "value": "amount"},
            "identifier": "id",
        },
    )
    billed.write_calls()

    run(billed)
    assert billed.write_calls() == ["POST /v1/billing/meter_events"] * 2
    run(billed)
    assert billed.write_calls() == []


# ── everything else in the catalogue ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("resource", "fields", "kind"),
    [
        ("tax_rate", {"display_name": "a", "percentage": "n", "inclusive": {"value": False}}, "tax_rate"),
        ("shipping_rate", {"display_name": "a", "fixed_amount": {"amount": "n", "currency": {"value": "usd"}}}, None),
        ("entitlements.feature", {"name": "a", "lookup_key": "id"}, None),
        ("radar.value_list", {"alias": "id", "name": "a"}, None),
        ("terminal.location", {"display_name": "a"}, None),
        ("billing_portal.configuration", {"name": "a", "features.invoice_history.enabled": {"value": True}}, None),
    ],
)
def test_any_resource_of_the_catalogue_can_be_synced(business, resource, fields, kind):
    business.rows("things", ("t1", "First", 5), ("t2", "Second", 7), columns="id text, a text, n int")
    business.sync("things", resource=resource, key="id", fields=fields)

    run(business)

    assert business.stripe.count(kind or resource) == 2
    business.write_calls()
    run(business)
    assert business.write_calls() == []


def test_a_nested_object_whose_answer_was_a_failure_is_found_under_its_parent(billed):
    run(billed)
    billed.rows("credits", ("b1", "c1", -500), columns="id text, customer_id text, cents int")
    billed.sync(
        "credits",
        resource="customer.balance_transaction",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer_id"},
            "amount": "cents",
            "currency": {"value": "usd"},
        },
    )
    # Stripe repeats a 500 for its key, so the key says nothing of what happened.
    path = "/balance_transactions$"
    billed.stripe.inject(Fault.status_code(500, after_effect=True, method="POST", path=path, count=None))

    first = billed.cli()
    billed.stripe.clear_faults()
    run(billed)

    assert first.exit_code == 1
    assert only(billed, "customer")["balance"] == -500
    assert billed.stripe.count("customer.balance_transaction") == 1


# ── what can't be changed ────────────────────────────────────────────────────────────────────────────────────────


def test_a_replaced_price_gives_its_tag_up_to_the_new_one(catalogue):
    run(catalogue)
    prices(catalogue, ("m", "p1", "12.00", "desk_monthly", None))
    run(catalogue)

    tagged = [price["active"] for price in catalogue.stripe.objects("price") if "dbt_stripe_sync" in price["metadata"]]

    assert tagged == [True]


def test_state_that_was_lost_after_a_replacement_finds_the_new_object(catalogue):
    run(catalogue)
    prices(catalogue, ("m", "p1", "12.00", "desk_monthly", None))
    run(catalogue)
    catalogue.state.unlink()
    catalogue.write_calls()

    run(catalogue)

    assert catalogue.write_calls() == []


def test_a_replacement_whose_answer_was_a_failure_is_not_taken_for_the_old_object(catalogue):
    run(catalogue)
    old = only(catalogue, "price")
    prices(catalogue, ("m", "p1", "12.00", "desk_monthly", None))
    catalogue.stripe.inject(Fault.status_code(500, method="POST", path="/v1/prices$", count=None))

    first = catalogue.cli()
    catalogue.stripe.clear_faults()
    run(catalogue)

    assert first.exit_code == 1
    by_amount = {price["unit_amount"]: price for price in catalogue.stripe.objects("price")}
    assert (by_amount[1000]["id"], by_amount[1000]["active"], by_amount[1200]["active"]) == (old["id"], False, True)


def test_a_subscription_moves_to_another_customer_only_if_that_is_asked_for(subscribers):
    rows = [("c1", "a@example.com"), ("c2", "b@example.com")]
    subscribers.rows("customers", *rows, columns="id text, email text")
    run(subscribers)
    subscription(subscribers, ("s1", "c2", "m", 2))
    subscribers.write_calls()

    refused = subscribers.cli()

    assert refused.exit_code == 1
    assert "a subscription in its place would start and bill anew" in " ".join((refused.out + refused.err).split())
    assert subscribers.write_calls() == []

    subscription(subscribers, ("s1", "c2", "m", 2), options={"replace": True})
    run(subscribers)

    statuses = {found["customer"]: found["status"] for found in subscribers.stripe.objects("subscription")}
    emails = {c["id"]: c["email"] for c in subscribers.stripe.objects("customer")}
    assert {emails[customer]: status for customer, status in statuses.items()} == {
        "a@example.com": "canceled",
        "b@example.com": "active",
    }


def items(business, *rows):
    business.rows("lines", *rows, columns="id text, customer_id text, invoice_id text, cents int, currency text")
    business.sync(
        "lines",
        resource="invoice_item",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer_id"},
            "invoice": {"sync": "invoices", "key": "invoice_id"},
            "amount": "cents",
            "currency": "currency",
        },
    )


def test_an_item_is_replaced_while_it_is_free_and_kept_once_it_is_billed(billed):
    invoices(billed, ("i1", "c1", "first"))
    items(billed, ("l1", "c1", None, 500, "usd"), ("l2", "c1", "i1", 700, "usd"))
    run(billed)
    stripe_call(billed, "post", f"/v1/invoices/{only(billed, 'invoice')['id']}/finalize")
    items(billed, ("l1", "c1", None, 500, "eur"), ("l2", "c1", "i1", 700, "eur"))

    ran = billed.cli()

    assert ran.exit_code == 1
    assert "the item is on a finalised invoice" in " ".join((ran.out + ran.err).split())
    assert {found["amount"]: found["currency"] for found in billed.stripe.objects("invoice_item")} == {
        500: "eur",
        700: "usd",
    }
