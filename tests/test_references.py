"""References to objects of other syncs and to existing objects in Stripe: found in bulk, asked once, never guessed."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from dbt_stripe_sync.sandbox import Fault, FaultKind, Sandbox

INVOICE: dict[str, Any] = {"resource": "invoice", "key": "id", "fields": {"metadata.note": "note"}}
COLUMNS = "id text, who text, note text"


def run(business):
    ran = business.cli()
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


def by_hand(business):
    return stripe.StripeClient(Sandbox.api_key, base_addresses={"api": business.stripe.url}).v1


def person(business, email, **metadata):
    return by_hand(business).customers.create({"email": email, "metadata": metadata})["id"]


def invoices(business, *rows, **customer):
    """Invoices of whoever the column `who` names."""
    business.rows("invoices", *rows, columns=COLUMNS)
    business.sync("invoices", **{**INVOICE, "fields": {**INVOICE["fields"], "customer": customer or "who"}})


def reads(business, path=""):
    return [line for line in business.stripe.requests() if line.method == "GET" and path in line.path]


def whose(business):
    return {invoice["metadata"]["note"]: invoice["customer"] for invoice in business.stripe.objects("invoice")}


# ── to other syncs ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_composite_key_refers_to_the_row_with_the_same_values(business):
    columns = "region text, number int, email text"
    business.rows("people", ("eu", 1, "a@example.com"), ("us", 1, "b@example.com"), columns=columns)
    business.sync("people", resource="customer", key=["region", "number"], fields={"email": "email"})
    business.rows("invoices", ("i1", 1, "us"), ("i2", 1, "eu"), columns="id text, person int, country text")
    business.sync(
        "invoices",
        resource="invoice",
        key="id",
        fields={"customer": {"sync": "people", "key": ["country", "person"]}, "metadata.note": "id"},
    )

    run(business)
    business.write_calls()
    run(business)

    emails = {customer["id"]: customer["email"] for customer in business.stripe.objects("customer")}
    assert {note: emails[customer] for note, customer in whose(business).items()} == {
        "i1": "b@example.com",
        "i2": "a@example.com",
    }
    assert business.write_calls() == []


def test_a_key_means_the_same_as_a_number_and_as_text(business):
    business.rows("people", (1, "a@example.com"), columns="id bigint, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    invoices(business, ("i1", "1", "n"), sync="people", key="who")

    run(business)

    assert list(whose(business).values()) == [business.stripe.objects("customer")[0]["id"]]


def test_a_reference_to_no_row_rejects_its_row_alone_and_names_the_column(customers):
    invoices(customers, ("i1", "1", "good"), ("i2", "secret-9", "bad"), sync="customers", key="who")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert "`customer` refers to `customers`, which has no object for the value of column `who`" in ran.text
    assert "[i2]" in ran.text
    assert "secret-9" not in ran.text
    assert set(whose(customers)) == {"good"}


def test_a_row_that_refers_to_a_rejected_row_waits_for_it(customers):
    long = "CASE id WHEN 2 THEN repeat('x', 600) ELSE name END AS name"
    customers.table("customers", f"SELECT * REPLACE ({long}) FROM customers")
    customers.sync("customers", resource="customer", key="id", fields={"email": "email", "metadata.note": "name"})
    invoices(customers, ("i1", "1", "one"), ("i2", "2", "two"), sync="customers", key="who")

    first = customers.cli()
    customers.table("customers", "SELECT * REPLACE ('ok' AS name) FROM customers")
    run(customers)

    assert first.exit_code == 1
    assert set(whose(customers)) == {"one", "two"}


def test_a_row_that_refers_to_an_object_rejected_by_stripe_is_skipped(customers):
    customers.stripe.inject(Fault(kind=FaultKind.STATUS, method="POST", path="/v1/customers", status=402, count=3))
    invoices(customers, ("i1", "1", "one"), sync="customers", key="who")

    first = customers.cli()
    skipped = customers.stripe.count("invoice")
    run(customers)

    assert (first.exit_code, skipped) == (1, 0)
    assert set(whose(customers)) == {"one"}


def test_a_child_row_can_refer_to_other_rows(business):
    business.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    business.sync("plans", resource="product", key="code", fields={"name": "name"})
    business.rows("links", ("l1",), columns="id text")
    business.rows("lines", ("l1", "solo", 100), ("l1", "team", 200), columns="link text, plan text, cents int")
    price_data = {"currency": {"value": "usd"}, "unit_amount": "cents", "product": {"sync": "plans", "key": "plan"}}
    lines = {"model": "lines", "on": "link", "fields": {"quantity": {"value": 1}, "price_data": price_data}}
    business.sync("links", resource="payment_link", key="id", fields={"line_items": lines})

    run(business)

    products = {product["id"]: product["name"] for product in business.stripe.objects("product")}
    prices = {price["unit_amount"]: products[price["product"]] for price in business.stripe.objects("price")}
    assert prices == {100: "Solo", 200: "Team"}


def test_a_child_row_that_refers_to_nothing_rejects_its_parent_with_the_path(business):
    business.rows("plans", ("solo", "Solo"), columns="code text, name text")
    business.sync("plans", resource="product", key="code", fields={"name": "name"})
    business.rows("links", ("l1",), ("l2",), columns="id text")
    business.rows("lines", ("l1", "solo"), ("l2", "solo"), ("l2", "zz-top"), columns="link text, plan text")
    product = {"sync": "plans", "key": "plan"}
    price_data = {"currency": {"value": "usd"}, "unit_amount": {"value": 5}, "product": product}
    lines = {"model": "lines", "on": "link", "fields": {"quantity": {"value": 1}, "price_data": price_data}}
    business.sync("links", resource="payment_link", key="id", fields={"line_items": lines})

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`line_items.1.price_data.product` refers to `plans`, which has no object for" in ran.text
    assert "zz-top" not in ran.text
    assert business.stripe.count("payment_link") == 1


# ── look-ups ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("by", "value"), [("email", "a@example.com"), ("metadata.crm", "crm-1"), ("id", None)])
def test_a_customer_is_looked_up(business, by, value):
    wanted = person(business, "a@example.com", crm="crm-1")
    person(business, "b@example.com", crm="crm-2")
    invoices(business, ("i1", value or wanted, "n"), lookup="customer", by=by, column="who")

    run(business)

    assert whose(business) == {"n": wanted}


def test_a_price_is_looked_up_by_its_lookup_key(business):
    client = by_hand(business)
    product = client.products.create({"name": "Desk"})["id"]
    made = {
        name: client.prices.create({"product": product, "currency": "usd", "unit_amount": 5, "lookup_key": name})["id"]
        for name in ("basic", "extra")
    }
    business.rows("links", ("l1", "extra"), columns="id text, price text")
    item = {"price": {"lookup": "price", "by": "lookup_key", "column": "price"}, "quantity": {"value": 1}}
    business.sync("links", resource="payment_link", key="id", fields={"line_items": [item]})

    run(business)

    (line,) = [line for line in business.stripe.writes() if line.path == "/v1/payment_links"]
    assert line.params["line_items"][0]["price"] == made["extra"]


def test_a_look_up_that_finds_nothing_rejects_its_row_alone(business):
    found = person(business, "a@example.com")
    rows = [("i1", "a@example.com", "n"), ("i2", "no@example.com", "m")]
    invoices(business, *rows, lookup="customer", by="email", column="who")

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`customer` finds no customer for the value of column `who`" in ran.text
    assert "no@example.com" not in ran.text
    assert whose(business) == {"n": found}


def test_an_ambiguous_look_up_names_both_objects_but_not_the_value(business):
    two = sorted([person(business, "a@example.com"), person(business, "a@example.com")])
    invoices(business, ("i1", "a@example.com", "n"), lookup="customer", by="email", column="who")

    ran = business.cli()

    assert ran.exit_code == 1
    assert f"matches several objects by the value of column `who`: {', '.join(two)}" in ran.text
    assert "a@example.com" not in ran.text
    assert business.stripe.count("invoice") == 0


def test_a_look_up_by_a_value_that_its_plan_moves_waits_for_the_next_run(business):
    columns = "id int, email text"
    business.rows("people", (1, "ann@example.com"), (2, "bob@example.com"), columns=columns)
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    run(business)
    ann, bob = sorted(business.stripe.objects("customer"), key=lambda customer: customer["email"])
    business.rows("people", (1, "bob@example.com"), (2, "ann@example.com"), columns=columns)
    rows = [("i1", "ann@example.com", "one"), ("i2", "carl@example.com", "two")]
    carl = person(business, "carl@example.com")
    invoices(business, *rows, lookup="customer", by="email", column="who")

    first = business.cli()

    assert f"it looks up {ann['id']} by `email`, which this plan changes" in " ".join(first.text.split())
    assert whose(business) == {"two": carl}
    run(business)
    assert whose(business) == {"one": bob["id"], "two": carl}


def test_a_look_up_of_an_object_that_its_plan_replaces_waits_for_the_next_run(business):
    columns = "code text, cents int"
    product = by_hand(business).products.create({"name": "Desk"})["id"]
    fields = {"product": {"value": product}, "currency": {"value": "usd"}, "unit_amount": "cents", "lookup_key": "code"}
    business.rows("prices", ("basic", 500), columns=columns)
    business.sync("prices", resource="price", key="code", fields=fields)
    run(business)
    business.rows("prices", ("basic", 900), columns=columns)
    business.rows("links", ("l1", "basic"), columns="id text, price text")
    item = {"price": {"lookup": "price", "by": "lookup_key", "column": "price"}, "quantity": {"value": 1}}
    business.sync("links", resource="payment_link", key="id", fields={"line_items": [item]})

    assert "by `lookup_key`, which this plan changes" in " ".join(business.cli().text.split())
    run(business)

    (line,) = [line for line in business.stripe.writes() if line.path == "/v1/payment_links"]
    (new,) = [price for price in business.stripe.objects("price") if price["active"]]
    assert line.params["line_items"][0]["price"] == new["id"]


@pytest.mark.parametrize("strangers", [0, 120], ids=["listed", "searched"])
def test_an_address_that_differs_only_in_case_is_ambiguous_and_names_the_customer(business, strangers):
    found = person(business, "Ann@Example.com")
    for number in range(strangers):
        person(business, f"{number}@example.com")
    business.stripe.advance(120)
    invoices(business, ("i1", " ann@example.com ", "one"), lookup="customer", by="email", column="who")

    ran = business.cli()

    assert ran.exit_code == 1
    assert f"except for case or blanks, this one matches: {found}" in ran.text
    assert "set `match_email: ignore_case` on the sync to refer to it" in ran.text
    assert business.stripe.count("invoice") == 0


def test_a_look_up_that_ignores_case_prefers_an_exact_match(business):
    ann, bob = person(business, "Ann@Example.com"), person(business, "bob@example.com")
    person(business, "BOB@example.com")
    rows = [("i1", "ann@example.com", "one"), ("i2", "bob@example.com", "two")]
    invoices(business, *rows, lookup="customer", by="email", column="who")
    business.models["invoices"]["meta"]["stripe_sync"]["match_email"] = "ignore_case"
    business.write_manifest()

    run(business)

    assert whose(business) == {"one": ann, "two": bob}


def test_a_look_up_that_ignores_case_names_all_matches_if_ambiguous(business):
    both = sorted([person(business, "Ann@Example.com"), person(business, "ANN@example.com")])
    invoices(business, ("i1", "ann@example.com", "one"), lookup="customer", by="email", column="who")
    business.models["invoices"]["meta"]["stripe_sync"]["match_email"] = "ignore_case"
    business.write_manifest()

    ran = business.cli()

    assert ran.exit_code == 1
    assert f"matches several objects by the value of column `who`: {', '.join(both)}" in ran.text


def test_a_null_is_not_looked_up(business):
    business.rows("links", ("s1", None), columns="id text, who text")
    business.sync(
        "links",
        resource="invoice_item",
        key="id",
        fields={
            "customer": {"lookup": "customer", "by": "email", "column": "who"},
            "amount": {"value": 5},
            "currency": {"value": "usd"},
        },
    )

    ran = business.cli()

    assert ran.exit_code == 1
    assert "Traceback" not in ran.text
    assert reads(business, "/v1/customers") == []


def test_many_values_are_looked_up_in_a_list_and_few_one_by_one(business):
    people = {f"p{n}@example.com": person(business, f"p{n}@example.com") for n in range(250)}
    business.stripe.reset_requests()
    rows = [(f"i{n}", f"p{n}@example.com", f"n{n}") for n in range(40)]
    invoices(business, *rows, lookup="customer", by="email", column="who")
    plan = business.cli("plan")
    listed = reads(business, "/v1/customers")
    business.stripe.reset_requests()
    invoices(business, ("i1", "p7@example.com", "n7"), lookup="customer", by="email", column="who")
    short = business.cli("plan")

    assert "customer by email: compared with all existing objects (3 pages listed)" in plan.text
    assert len(listed) == 3
    assert "customer by email: looked up 1 value one by one, cheaper than listing everything" in short.text
    assert len(reads(business, "/v1/customers")) <= 2
    run(business)
    assert whose(business) == {"n7": people["p7@example.com"]}


def test_a_value_is_looked_up_once_in_a_run(business):
    person(business, "a@example.com")
    for name in ("first", "second"):
        business.rows(name, *[(f"{name}{n}", "a@example.com", "n") for n in range(5)], columns=COLUMNS)
        customer = {"lookup": "customer", "by": "email", "column": "who"}
        business.sync(name, **{**INVOICE, "fields": {**INVOICE["fields"], "customer": customer}})
    business.stripe.reset_requests()

    business.cli("plan")

    assert len(reads(business, "/v1/customers")) == 1


def test_a_failed_look_up_is_not_mistaken_for_one_that_found_nothing(business):
    for n in range(150):
        person(business, f"p{n}@example.com")
    invoices(business, ("i1", "p3@example.com", "n"), lookup="customer", by="email", column="who")
    business.stripe.inject(
        Fault(kind=FaultKind.STATUS, method="GET", path="/v1/customers", skip=1, status=400, count=1)
    )

    ran = business.cli()
    made = business.stripe.count("invoice")
    run(business)

    assert ran.exit_code == 1
    assert "`customer` was not found: Stripe didn't answer for column `who`" in ran.text
    assert made == 0
    assert len(whose(business)) == 1


def test_a_deleted_customer_is_no_longer_found(business):
    gone = person(business, "a@example.com")
    by_hand(business).customers.delete(gone)
    invoices(business, ("i1", gone, "n"), lookup="customer", by="id", column="who")

    ran = business.cli()

    assert ran.exit_code == 1
    assert "finds no customer for the value of column `who`" in ran.text


def test_a_row_whose_look_up_finds_another_object_counts_as_changed(business):
    client = by_hand(business)
    business.rows("codes", ("c1", "SPRING"), columns="id text, coupon text")
    client.coupons.create({"id": "c20", "percent_off": 20, "duration": "once", "name": "SPRING"})
    business.sync(
        "codes",
        resource="promotion_code",
        key="id",
        fields={
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"lookup": "coupon", "by": "name", "column": "coupon"},
        },
    )
    run(business)
    client.coupons.delete("c20")
    client.coupons.create({"id": "c30", "percent_off": 30, "duration": "once", "name": "SPRING"})

    actions = [change["action"] for change in business.plan()]

    assert actions == ["replace", "archive"]


def test_a_plain_column_holds_stripe_ids(business):
    who = person(business, "a@example.com")
    invoices(business, ("i1", who, "n"))

    run(business)

    assert whose(business) == {"n": who}


def test_a_look_up_by_an_unsupported_field_is_a_config_error(business):
    invoices(business, ("i1", "Ann", "n"), lookup="customer", by="name", column="who")

    ran = business.cli()

    assert ran.exit_code == 2
    assert "error[match-not-possible]: a customer can't be matched by `name`" in ran.text
