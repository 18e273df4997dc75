"""A row of each core resource creates one object, and afterwards sends only its changes."""

from __future__ import annotations

import pytest
from core_shop import as_form, at
from core_table import OFF, TABLE

from dbt_stripe_sync.model.tag import TAG

EACH = pytest.mark.parametrize("core", TABLE, ids=lambda core: core.resource)


def each(part, name):
    """A case for each entry of a part of the table."""
    cases = [(core, entry) for core in TABLE for entry in getattr(core, part)]
    ids = [f"{core.resource}-{getattr(entry, name)}" for core, entry in cases]
    return pytest.mark.parametrize(("core", "case"), cases, ids=ids)


def shows(shop, body, expected):
    """Assert what an object shows."""
    assert {path: at(body, path) for path in expected} == shop.resolve(expected)


@EACH
def test_a_row_becomes_one_object_with_exactly_its_parameters_and_tag(shop_for, core):
    shop = shop_for(core)
    shop.rows()
    shop.sync()

    shop.run()

    (sent,) = [line.params for line in shop.business.stripe.writes() if line.params.get("metadata", {}).get("ref")]
    tagged = {**core.creates, "metadata": {**core.creates["metadata"], TAG: "shop/things/k"}}
    assert sent == shop.resolve(as_form(tagged))
    assert len(shop.all()) == 1


@EACH
def test_unchanged_rows_send_nothing_even_with_full_refresh(shop_for, core):
    shop = shop_for(core)
    shop.rows()
    shop.sync()
    shop.run()

    shop.run()
    again = shop.writes()
    shop.run("run", "--full-refresh")

    assert again == shop.writes() == []


@each("changes", "kind")
def test_only_what_changed_is_sent(shop_for, core, case):
    shop = shop_for(core)
    shop.rows()
    shop.sync()
    shop.run()
    made = shop.object()["id"]
    expected = shop.resolve(as_form(case.sends))
    shop.rows(**case.columns)

    shop.run()

    assert (shop.writes(), shop.sent()) == ([f"POST {core.path}/{made}"], [expected])
    shows(shop, shop.object(), case.shows)
    shop.run()
    assert shop.writes() == []


@each("clears", "path")
def test_a_null_clears_the_field_if_stripe_can_and_rejects_the_row_otherwise(shop_for, core, case):
    shop = shop_for(core)
    shop.rows()
    shop.sync()
    shop.run()
    before = shop.object()
    shop.rows(**{case.column: f"CASE WHEN false THEN {core.columns[case.column]} END"})

    ran = shop.cli()

    if case.sends is None:
        assert ran.exit_code == 1
        assert f"`{case.path}` is null now, and Stripe can't clear it" in ran.text
        assert "add `nulls: ignore` to the field to leave it unchanged" in ran.text
        assert (shop.writes(), shop.object()) == ([], before)
        return
    assert ran.exit_code == 0, ran.text
    assert shop.sent() == [as_form(case.sends)]
    shows(shop, shop.object(), case.shows)
    shop.run()
    assert shop.writes() == []


@EACH
def test_a_field_that_was_never_set_is_never_cleared(shop_for, core):
    shop = shop_for(core)
    theirs = core.theirs
    empty = {theirs.column: "NULL::text"}
    shop.rows(**empty)
    shop.sync()
    shop.run()
    shop.call("post", f"{core.path}/@", theirs.params)
    shop.rows(**{**empty, "tier": "'silver'"})

    shop.run()
    sent = shop.sent()
    shop.run("run", "--full-refresh")

    assert sent == [{"metadata": {"tier": "silver"}}]
    assert shop.writes() == []
    shows(shop, shop.object(), theirs.shows)


@EACH
def test_an_immutable_change_rejects_its_row_or_replaces_its_object(shop_for, core):
    shop = shop_for(core)
    case = core.immutable
    shop.rows(("k", "other"), but=case.before)
    shop.sync()
    shop.run()
    old, other = shop.object(), shop.object("other")
    shop.rows(("k", "other"), but={**case.before, **case.columns})

    ran = shop.cli()

    if case.reason is not None:
        assert ran.exit_code == 1
        assert f"`{case.field}` can't be changed on an existing {core.resource}: {case.reason}" in ran.text
        assert f"things.meta.stripe_sync.fields.{case.field}" in ran.text
        assert "[k]" in ran.text
        assert "restore the old value, or give the row another key to create a new object" in ran.text
        assert ("`options: {replace: true}` replaces it" in ran.text) is (case.replaced is not OFF)
        assert (shop.writes(), shop.object()) == ([], old)
        if case.replaced is OFF:
            return
        shop.sync(options={"replace": True})
        ran = shop.cli()
    assert ran.exit_code == 0, ran.text
    new = shop.object()
    assert new["id"] != old["id"]
    shows(shop, new, case.shows)
    if case.replaced is None:
        assert shop.find(old["id"]) is None
    else:
        shows(shop, shop.find(old["id"]), case.replaced)
    assert shop.object("other") == other
    shop.run()
    assert shop.writes() == []


@pytest.mark.parametrize("core", [core for core in TABLE if core.immutable.replaced is OFF], ids=lambda c: c.resource)
def test_no_sync_can_replace_a_customer_or_a_product(shop_for, core):
    shop = shop_for(core)
    shop.rows()
    shop.sync(options={"replace": True})

    ran = shop.cli()

    assert ran.exit_code == 2
    assert "replace" in ran.text
    assert shop.writes() == []
