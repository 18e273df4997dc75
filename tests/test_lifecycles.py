"""Objects outside the core table are created, changed, replaced and removed as Stripe allows; tags and failures."""

from __future__ import annotations

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
def catalog(business):
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
def billed(business):
    """A customer."""
    business.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    return business


# ── discounts ────────────────────────────────────────────────────────────────────────────────────────────────────


def coupons(business, *rows, own_id):
    business.rows("coupons", *rows, columns="id text, percent decimal(5, 2), label text")
    fields = {"percent_off": "percent", "duration": {"value": "once"}, "name": "label"}
    business.sync("coupons", resource="coupon", key="id", fields={**fields, **({"id": "id"} if own_id else {})})


def test_a_coupon_without_a_mapped_id_is_replaced(business):
    coupons(business, ("spring", 10, "Spring"), own_id=False)
    run(business)
    old = only(business, "coupon")
    coupons(business, ("spring", 20, "Spring"), own_id=False)

    run(business)

    new = only(business, "coupon")
    assert new["id"] != old["id"]
    assert new["percent_off"] == 20


def test_a_coupon_with_a_mapped_id_is_deleted_before_the_new_one_gets_its_id(business):
    coupons(business, ("spring", 10, "Spring"), ("autumn", 5, "Autumn"), own_id=True)
    run(business)
    coupons(business, ("spring", 20, "Spring"), ("autumn", 5, "Fall"), own_id=True)
    business.write_calls()

    run(business)

    assert business.write_calls() == ["POST /v1/coupons/autumn", "DELETE /v1/coupons/spring", "POST /v1/coupons"]
    percents = {found["id"]: found["percent_off"] for found in business.stripe.objects("coupon")}
    assert percents == {"spring": 20, "autumn": 5}


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


def test_a_nested_object_is_created_under_its_parent_replaced_and_deleted(billed):
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


def test_a_customer_balance_transaction_is_created_once(billed):
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
    assert "an entry in a ledger can't be changed" in ran.out + ran.err
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


# ── everything else in the catalog ─────────────────────────────────────────────────────────────────────────────


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
def test_any_resource_of_the_catalog_can_be_synced(business, resource, fields, kind):
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


def test_a_replaced_price_passes_its_tag_to_the_new_one(catalog):
    run(catalog)
    prices(catalog, ("m", "p1", "12.00", "desk_monthly", None))
    run(catalog)

    tagged = [price["active"] for price in catalog.stripe.objects("price") if "dbt_stripe_sync" in price["metadata"]]

    assert tagged == [True]


def test_a_state_lost_after_a_replacement_finds_the_new_object(catalog):
    run(catalog)
    prices(catalog, ("m", "p1", "12.00", "desk_monthly", None))
    run(catalog)
    catalog.state.unlink()
    catalog.write_calls()

    run(catalog)

    assert catalog.write_calls() == []


def test_a_replacement_whose_answer_was_a_failure_is_not_mistaken_for_the_old_object(catalog):
    run(catalog)
    old = only(catalog, "price")
    prices(catalog, ("m", "p1", "12.00", "desk_monthly", None))
    catalog.stripe.inject(Fault.status_code(500, method="POST", path="/v1/prices$", count=None))

    first = catalog.cli()
    catalog.stripe.clear_faults()
    run(catalog)

    assert first.exit_code == 1
    by_amount = {price["unit_amount"]: price for price in catalog.stripe.objects("price")}
    assert (by_amount[1000]["id"], by_amount[1000]["active"], by_amount[1200]["active"]) == (old["id"], False, True)
