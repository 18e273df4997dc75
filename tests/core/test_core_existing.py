"""Rows of each core resource and objects that Stripe already has: which are found, adopted, left alone and created."""

from __future__ import annotations

import pytest
from core_shop import as_form, at
from core_table import INVOICE, INVOICE_ITEM, OPEN, QUOTE, TABLE

from dbt_stripe_sync.model.tag import TAG

EACH = pytest.mark.parametrize("core", TABLE, ids=lambda core: core.resource)
WAYS = [(core, way) for core in TABLE for way in core.ways]


def with_parents(shop):
    """What rows refer to is in Stripe before somebody makes an object by hand."""
    if shop.core.parents:
        shop.run()
    return shop


@pytest.mark.parametrize(("core", "way"), WAYS, ids=[f"{core.resource}-{way}" for core, way in WAYS])
def test_each_kind_of_match_finds_the_object_and_sends_only_differences(shop_for, core, way):
    shop = with_parents(shop_for(core))
    made = shop.make(**core.text.sends)
    # An id is given by Stripe, so it is no field: it is the row's key.
    key = "named" if way == "id" else "id"
    shop.rows(named=f"'{made['id']}'")
    shop.sync(key=key, match=[way])

    plan = shop.cli("plan").text
    (change,) = shop.business.plan()
    shop.run()

    assert (change["action"], change["stripe_id"], change["found_by"]) == ("adopt", made["id"], way)
    assert f"found by {way}" in plan
    ours = {TAG: f"shop/things/{made['id'] if way == 'id' else 'k'}"}
    (differs,) = core.text.sends
    expected = {name: core.creates[name] for name in (differs, *core.unseen)} | {"metadata": ours}
    assert (shop.writes(), shop.sent()) == ([f"POST {core.path}/{made['id']}"], [as_form(expected)])
    assert len(shop.all()) == 1
    shop.run()
    assert shop.writes() == []


def test_a_quote_is_found_by_the_number_that_stripe_gave_it(shop_for):
    shop = with_parents(shop_for(QUOTE))
    made = shop.call("post", f"{QUOTE.path}/{shop.make()['id']}/finalize")
    shop.rows(number=f"'{made['number']}'")
    shop.sync(key="number", match=["number"])

    (change,) = shop.business.plan()
    shop.run()

    assert (change["action"], change["stripe_id"], change["found_by"]) == ("adopt", made["id"], "number")
    assert shop.sent() == [{"metadata": {TAG: f"shop/things/{made['number']}"}}]
    assert len(shop.all()) == 1


def test_a_finalized_invoice_is_adopted_unchanged(shop_for):
    shop = with_parents(shop_for(INVOICE))
    made = shop.make()
    shop.rows()
    shop.sync(match=["metadata.ref"])
    shop.call("post", "/v1/invoiceitems", {**OPEN.calls[0][2], "invoice": made["id"]})
    shop.call("post", f"{INVOICE.path}/{made['id']}/finalize")

    shop.run()

    # Stripe does not show `days_until_due`, and takes it of drafts alone.
    assert shop.sent() == [{"metadata": {TAG: "shop/things/k"}}]
    shop.run()
    assert shop.writes() == []


def test_an_item_on_a_finalized_invoice_is_adopted_without_a_call(shop_for):
    shop = with_parents(shop_for(INVOICE_ITEM))
    made = shop.make(invoice=shop.resolve("@bills:b1"))
    shop.call("post", "/v1/invoices/@bills:b1/finalize")
    shop.rows(bill="'b1'")
    shop.sync(match=["metadata.ref"])

    shop.run()
    first = shop.writes()
    shop.run()

    assert first == shop.writes() == []
    assert [item["id"] for item in shop.all()] == [made["id"]]
    assert made["id"] in shop.cli("state", "show", "things", "k").out


@EACH
def test_an_ambiguous_match_is_rejected_with_the_ids_until_the_sync_chooses(shop_for, core):
    shop = with_parents(shop_for(core))
    made = []
    for _ in range(3):
        # A lookup key or a number belongs to one object.
        made.append(shop.make(without=("lookup_key", "number"))["id"])
        shop.business.stripe.advance(60)
    shop.rows()
    shop.sync(match=["metadata.ref"])

    ran = shop.cli()

    assert ran.exit_code == 1
    assert "3 existing objects match by `metadata.ref`" in ran.text
    assert all(found in ran.text for found in made)
    assert "set `on_ambiguous: newest` or `oldest`, or match by something unique" in ran.text
    assert shop.writes() == []
    for choice, found in (("newest", made[2]), ("oldest", made[0])):
        shop.sync(match=["metadata.ref"], on_ambiguous=choice)
        assert [change["stripe_id"] for change in shop.business.plan()] == [found]
    shop.run()
    assert shop.object()["id"] == made[0]
    assert len(shop.all()) == 3


@EACH
@pytest.mark.parametrize("mode", ["insert", "update", "upsert"])
def test_the_mode_determines_which_rows_are_written(shop_for, core, mode):
    shop = with_parents(shop_for(core))
    made = shop.make(**core.text.sends)
    shop.rows(("k", "new"))
    shop.sync(match=["metadata.ref"], mode=mode)

    ran = shop.run()

    changes, creates = f"POST {core.path}/{made['id']}", f"POST {core.path}"
    expected = {"insert": [creates], "update": [changes], "upsert": [changes, creates]}[mode]
    assert sorted(shop.writes()) == sorted(expected)
    note = {
        "insert": "the object exists already, found by metadata.ref, and the sync's mode is `insert`",
        "update": "no object of this row was found, and the sync's mode is `update`",
        "upsert": "",
    }[mode]
    assert note in ran.text

    shop.rows(("k", "new"), **core.changes[0].columns)
    ran = shop.run()

    written = 0 if mode == "insert" else len(expected)
    assert len(shop.writes()) == written
    (text,) = core.text.sends
    assert at(shop.find(made["id"]), text) == core.text.sends[text]
    if mode == "insert":
        assert "the row has changed since it was written, and the sync's mode is `insert`" in ran.text
