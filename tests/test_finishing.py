"""Invoices are finalized once all their items exist, and only then; quotes can be accepted."""

from __future__ import annotations

import pytest
from business import by_hand

from dbt_stripe_sync.sandbox import Fault


@pytest.fixture
def billed(business):
    """A customer with an invoice of two items, to be finalized."""
    business.rows("people", (1, "Ann"), columns="id int, name text")
    business.rows("bills", ("B1", 1), columns="ref text, person int")
    business.rows(
        "lines", ("L1", "B1", 1, 500), ("L2", "B1", 1, 700), columns="ref text, bill text, person int, cents int"
    )
    business.sync("people", resource="customer", key="id", fields={"name": "name"})
    business.sync(
        "bills",
        resource="invoice",
        key="ref",
        options={"finalize": True},
        fields={
            "customer": {"sync": "people", "key": "person"},
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "auto_advance": {"value": False},
            "pending_invoice_items_behavior": {"value": "exclude"},
        },
    )
    business.sync(
        "lines",
        resource="invoice_item",
        key="ref",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "invoice": {"sync": "bills", "key": "bill"},
            "amount": "cents",
            "currency": {"value": "usd"},
        },
    )
    return business


def test_an_invoice_is_finalized_after_its_items(billed):
    ran = billed.cli()

    (invoice,) = billed.stripe.objects("invoice")
    assert ran.exit_code == 0, ran.text
    assert (invoice["status"], invoice["total"]) == ("open", 1200)


def test_an_invoice_is_finalized_once(billed):
    billed.cli()
    billed.write_calls()

    ran = billed.cli()

    assert ran.exit_code == 0, ran.text
    assert billed.write_calls() == []


def test_finalization_waits_while_an_item_is_rejected(billed):
    billed.table("lines", "SELECT ref, bill, person, CASE ref WHEN 'L2' THEN 'much' ELSE '500' END AS cents FROM lines")

    first = billed.cli()
    (draft,) = billed.stripe.objects("invoice")
    billed.table("lines", "SELECT ref, bill, person, CASE ref WHEN 'L2' THEN '700' ELSE '500' END AS cents FROM lines")
    second = billed.cli()

    (invoice,) = billed.stripe.objects("invoice")
    assert first.exit_code == 1
    assert draft["status"] == "draft"
    assert second.exit_code == 0, second.text
    assert (invoice["status"], invoice["total"]) == ("open", 1200)


def test_an_invoice_is_not_finalized_while_somebody_else_has_changed_its_item(billed):
    billed.table("lines", "SELECT ref, bill, person, CASE ref WHEN 'L2' THEN NULL ELSE cents END AS cents FROM lines")
    billed.cli()
    (item,) = billed.stripe.objects("invoice_item")
    by_hand(billed, f"invoiceitems/{item['id']}", amount=999)
    billed.table("lines", "SELECT ref, bill, person, coalesce(cents, 700) AS cents FROM lines")

    drifted = billed.cli("run", "--refresh")

    (draft,) = billed.stripe.objects("invoice")
    assert "error[drifted]: `amount` was changed in Stripe" in drifted.text
    assert (draft["status"], draft["total"]) == ("draft", 1699)
    by_hand(billed, f"invoiceitems/{item['id']}", amount=500)
    resolved = billed.cli("run", "--refresh")
    (invoice,) = billed.stripe.objects("invoice")
    assert resolved.exit_code == 0, resolved.text
    assert (invoice["status"], invoice["total"]) == ("open", 1200)


@pytest.fixture
def moving(billed):
    """Two drafts, and an item that moves from the first to the second one, in the plan that finalizes both."""
    billed.rows("bills", ("B1", 1), ("B2", 1), columns="ref text, person int")
    lines = [("L2", "B1", 1, None), ("L3", "B2", 1, None)]
    columns = "ref text, bill text, person int, cents int"
    billed.rows("lines", ("L1", "B1", 1, 100), *lines, columns=columns)
    billed.cli()
    billed.rows("lines", ("L1", "B2", 1, 100), ("L2", "B1", 1, 500), ("L3", "B2", 1, 700), columns=columns)
    return billed


def totals(business):
    return sorted((invoice["status"], invoice["total"]) for invoice in business.stripe.objects("invoice"))


def test_an_item_that_moves_to_another_invoice_is_billed_once(moving):
    ran = moving.cli()

    assert ran.exit_code == 0, ran.text
    assert totals(moving) == [("open", 500), ("open", 800)]


def test_an_invoice_is_not_finalized_while_an_item_that_left_it_is_still_there(moving):
    """Its removal is owed, and would be refused once the invoice is finalized."""
    moving.stripe.inject(Fault.forbidden(count=2, method="DELETE", path="^/v1/invoiceitems/"))

    first = moving.cli()
    second = moving.cli()

    assert "lines/L1 still owes a step" in first.text
    assert (first.exit_code, second.exit_code) == (1, 1)
    assert ("draft", 600) in totals(moving)
    third = moving.cli()
    assert third.exit_code == 0, third.text
    assert totals(moving) == [("open", 500), ("open", 800)]


@pytest.mark.parametrize("after_effect", [True, False])
def test_a_failure_while_an_invoice_is_finalized_is_resolved_from_its_status(billed, after_effect):
    billed.stripe.inject(Fault.status_code(500, after_effect=after_effect, method="POST", path="/finalize$"))
    first = billed.cli()
    billed.write_calls()

    second = billed.cli()

    (invoice,) = billed.stripe.objects("invoice")
    assert (first.exit_code, second.exit_code) == (1, 0), second.text
    assert (invoice["status"], len(billed.write_calls())) == ("open", 0 if after_effect else 1)
    assert billed.cli().exit_code == 0
    assert billed.write_calls() == []


def test_a_failure_while_an_invoice_is_voided_is_resolved_from_its_status(billed):
    billed.models["bills"]["meta"]["stripe_sync"]["on_removed"] = "void"
    billed.rows("bills", ("B1", 1), ("B2", 1), columns="ref text, person int")
    billed.cli()
    billed.rows("bills", ("B2", 1), columns="ref text, person int")
    billed.rows("lines", columns="ref text, bill text, person int, cents int")
    billed.stripe.inject(Fault.status_code(500, after_effect=True, method="POST", path="/void$"))
    billed.cli("run", "--yes")

    ran = billed.cli("run", "--yes")

    assert ran.exit_code == 0, ran.text
    assert "bills: of an earlier run, 1 written" in ran.text
    assert "B1" not in billed.cli("state", "list", "bills").out


def test_finalization_waits_while_its_items_are_not_selected(billed):
    billed.cli("run", "--select", "people bills")
    (draft,) = billed.stripe.objects("invoice")

    billed.cli()

    (invoice,) = billed.stripe.objects("invoice")
    assert draft["status"] == "draft"
    assert (invoice["status"], invoice["total"]) == ("open", 1200)


def test_an_invoice_finalized_by_hand_is_left_unchanged(billed):
    billed.cli("run", "--select", "people bills")
    billed.sync("bills", **{**billed.models["bills"]["meta"]["stripe_sync"], "options": {}})
    billed.cli()
    billed.sync("bills", **{**billed.models["bills"]["meta"]["stripe_sync"], "options": {"finalize": True}})

    first = billed.cli()
    second = billed.cli()

    assert first.exit_code == second.exit_code == 0, first.text
    assert [invoice["status"] for invoice in billed.stripe.objects("invoice")] == ["open"]


def test_a_quote_is_finalized_and_accepted(business):
    business.rows("people", (1, "Ann"), columns="id int, name text")
    business.rows("prices", ("basic", 1900), columns="code text, cents int")
    business.rows("offers", ("Q1", 1, "basic"), columns="ref text, person int, price text")
    business.sync("people", resource="customer", key="id", fields={"name": "name"})
    fields = {"currency": {"value": "usd"}, "unit_amount": "cents", "product_data.name": "code"}
    business.sync("prices", resource="price", key="code", fields={**fields, "recurring.interval": {"value": "month"}})
    business.sync(
        "offers",
        resource="quote",
        key="ref",
        options={"accept": True},
        fields={
            "customer": {"sync": "people", "key": "person"},
            "line_items": [{"price": {"sync": "prices", "key": "price"}, "quantity": {"value": 2}}],
            "collection_method": {"value": "send_invoice"},
            "invoice_settings.days_until_due": {"value": 30},
        },
    )

    ran = business.cli()
    again = business.cli()

    assert ran.exit_code == again.exit_code == 0, ran.text
    assert [quote["status"] for quote in business.stripe.objects("quote")] == ["accepted"]
    assert business.stripe.count("subscription") == 1


@pytest.fixture
def surplus_item(billed):
    """A draft of two items, of which one is to go before the invoice is finalized."""
    bills, lines = (billed.models[name]["meta"]["stripe_sync"] for name in ("bills", "lines"))
    billed.sync("bills", **{**bills, "options": {}})
    billed.sync("lines", **lines, on_removed="delete", limits={"max_removed": 1})
    assert billed.cli().exit_code == 0
    billed.sync("bills", **bills)
    billed.table("lines", "SELECT * FROM lines WHERE ref = 'L1'")
    return billed


def test_removed_items_leave_the_invoice_before_it_is_finalized(surplus_item):
    ran = surplus_item.cli()

    (invoice,) = surplus_item.stripe.objects("invoice")
    assert ran.exit_code == 0, ran.text
    assert (invoice["status"], invoice["total"]) == ("open", 500)


def test_finalization_waits_while_an_item_cannot_be_removed(surplus_item):
    surplus_item.stripe.inject(Fault.status_code(400, method="DELETE", count=1))

    first = surplus_item.cli()
    (draft,) = surplus_item.stripe.objects("invoice")
    second = surplus_item.cli()

    (invoice,) = surplus_item.stripe.objects("invoice")
    assert first.exit_code == 1
    assert (draft["status"], draft["total"]) == ("draft", 1200)
    assert second.exit_code == 0, second.text
    assert (invoice["status"], invoice["total"]) == ("open", 500)


def test_renaming_a_sync_does_not_affect_items_of_a_finalized_invoice(billed):
    billed.cli()
    billed.cli("state", "mv", "lines", "items")
    billed.sync("lines", **billed.models["lines"]["meta"]["stripe_sync"], name="items")
    billed.write_calls()

    first, again = billed.cli(), billed.cli()

    # Stripe lets none of them be changed anymore, so their tags have the old name for good.
    assert (first.exit_code, again.exit_code) == (0, 0), first.text
    assert billed.write_calls() == []
    billed.table("lines", "SELECT * REPLACE (cents + 1 AS cents) FROM lines")
    changed = billed.cli()
    assert "error[immutable-changed]: `amount` can't be changed on an existing invoice_item" in changed.text


def test_a_retry_finalizes_only_what_it_sees_completely(billed):
    def lines(*rows, note):
        billed.rows("lines", *rows, columns="ref text, bill text, person int, cents text")
        billed.rows("bills", ("B1", 1, "first"), ("B2", 1, note), columns="ref text, person int, note text")

    bills = billed.models["bills"]["meta"]["stripe_sync"]
    billed.sync("bills", **{**bills, "fields": {**bills["fields"], "description": "note"}})
    lines(("L1", "B1", 1, "much"), ("L2", "B2", 1, "much"), note="old")
    billed.stripe.inject(Fault.status_code(400, path="^/v1/invoices$", method="POST", count=1))
    assert billed.cli().exit_code == 1
    # Both items are mended; the first invoice has another one meanwhile, and the second one another text.
    lines(("L1", "B1", 1, "500"), ("L2", "B2", 1, "700"), ("L3", "B1", 1, "900"), note="new")

    retried = billed.cli("retry")
    statuses = {found["description"]: found["status"] for found in billed.stripe.objects("invoice")}
    ran = billed.cli()

    assert (retried.exit_code, ran.exit_code) == (0, 0), ran.text
    assert statuses["first"] == "draft"
    assert statuses.get("old", "draft") == "draft"
    found = {found["description"]: (found["status"], found["total"]) for found in billed.stripe.objects("invoice")}
    assert found == {"first": ("open", 1400), "new": ("open", 700)}


@pytest.fixture
def inserted(billed):
    """A draft with two items whose sync only inserts: a rejected third one keeps it from being finalized."""
    columns = "ref text, bill text, person int, cents text"
    billed.rows("lines", ("L1", "B1", 1, "500"), ("L2", "B1", 1, "700"), ("L3", "B1", 1, "much"), columns=columns)
    meta = billed.models["lines"]["meta"]["stripe_sync"]
    billed.sync("lines", **meta, mode="insert")
    billed.cli()
    return billed


def without_the_third(business, **cents):
    """The lines without the rejected one, with other amounts."""
    cases = " ".join(f"WHEN '{ref}' THEN '{amount}'" for ref, amount in cents.items())
    business.table("lines", f"SELECT * REPLACE (CASE ref {cases} ELSE cents END AS cents) FROM lines WHERE ref <> 'L3'")


def test_an_invoice_waits_for_an_item_that_changed_and_whose_sync_only_inserts(inserted):
    without_the_third(inserted, L2=900)

    waiting = inserted.cli()

    (draft,) = inserted.stripe.objects("invoice")
    assert "1 row: waits until its own row, and every row that refers to it, is sent" in waiting.text
    assert draft["status"] == "draft"
    without_the_third(inserted, L2=700)
    back = inserted.cli()
    assert back.exit_code == 0, back.text
    assert totals(inserted) == [("open", 1200)]


def test_a_changed_item_is_written_before_its_invoice_once_its_sync_may_update(inserted):
    without_the_third(inserted, L2=900)
    inserted.cli()
    inserted.sync("lines", **{**inserted.models["lines"]["meta"]["stripe_sync"], "mode": "upsert"})

    ran = inserted.cli()

    assert ran.exit_code == 0, ran.text
    assert totals(inserted) == [("open", 1400)]


def test_an_invoice_that_changed_and_whose_sync_only_inserts_is_not_finalized(inserted):
    without_the_third(inserted, L2=700)
    meta = inserted.models["bills"]["meta"]["stripe_sync"]
    terms = {"value": 60}
    inserted.sync("bills", **{**meta, "mode": "insert", "fields": {**meta["fields"], "days_until_due": terms}})

    waiting = inserted.cli()

    (draft,) = inserted.stripe.objects("invoice")
    assert "waits until its own row" in waiting.text
    assert draft["status"] == "draft"
