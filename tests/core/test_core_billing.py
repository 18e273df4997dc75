"""Invoices, their items and quotes: finalized on demand, and never changed once Stripe has closed them."""

from __future__ import annotations

import pytest
from core_shop import at
from core_table import INVOICE, INVOICE_ITEM, OPEN, PAID, QUOTE, UNCOLLECTIBLE, VOID, State

HOUR = 3600
WITH_ITEM = State(name="draft with an item", calls=OPEN.calls[:1])
CLOSED = [leaving.state for leaving in INVOICE_ITEM.leavings if leaving.note]


def reach(shop, state):
    """Bring the row's object into a state."""
    for method, path, params in state.calls:
        shop.call(method, path.format(path=shop.core.path), params)


def rejected(shop, names, reason):
    """Assert that the row is rejected for what it changes, and that nothing is sent."""
    ran = shop.cli()
    assert ran.exit_code == 1
    assert f"{names} can't be changed on an existing {shop.core.resource}: {reason}" in ran.text
    assert "immutable-changed" in ran.text
    assert "[k]" in ran.text
    assert "restore the old value, or give the row another key to create a new object" in ran.text
    assert shop.writes() == []


# ── invoices ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [OPEN, PAID, VOID, UNCOLLECTIBLE], ids=lambda state: state.name)
def test_a_finalized_invoice_accepts_metadata_and_rejects_anything_else(shop_for, state):
    shop = shop_for(INVOICE)
    shop.rows()
    shop.sync()
    shop.run()
    reach(shop, state)
    before = shop.object()

    shop.rows(memo="'Lamp'")
    rejected(shop, "`description`", f"the invoice is finalized (its status is `{state.name}`)")
    assert shop.object() == before
    shop.rows(tier="'silver'")
    shop.run()

    assert shop.sent() == [{"metadata": {"tier": "silver"}}]


def test_an_invoice_that_may_advance_is_finalized_by_stripe_in_an_hour(shop_for):
    shop = shop_for(INVOICE)
    shop.rows(("k", "other"), but={"advances": "true"})
    shop.sync()
    shop.run()
    reach(shop, WITH_ITEM)

    shop.business.stripe.advance(HOUR + 60)

    assert [shop.object(key)["status"] for key in ("k", "other")] == ["open", "draft"]
    shop.run()
    assert shop.writes() == []


def test_an_invoice_is_finalized_with_its_last_change_and_rejected_for_later_ones(shop_for):
    shop = shop_for(INVOICE)
    shop.rows()
    shop.sync(options={"finalize": False})
    shop.run()
    reach(shop, WITH_ITEM)
    made = shop.object()["id"]
    shop.rows(memo="'Lamp'")
    shop.sync(options={"finalize": True})

    shop.run()

    assert shop.writes() == [f"POST {INVOICE.path}/{made}", f"POST {INVOICE.path}/{made}/finalize"]
    assert (shop.object()["status"], shop.object()["description"]) == ("open", "Lamp")
    shop.rows(memo="'Chair'")
    rejected(shop, "`description`", "the invoice is finalized (its status is `open`)")


# ── invoice items ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"about": "'Lamp'"}, "`description`"),
        ({"amount": "12.50", "off": "false"}, "`amount`, `discountable`"),
        ({"tier": "'silver'"}, "`metadata`"),
        ({"tier": "NULL::text"}, "`metadata`"),
        ({"currency": "'eur'"}, "`currency`"),
    ],
    ids=["text", "amount", "metadata", "metadata cleared", "immutable"],
)
@pytest.mark.parametrize("state", CLOSED, ids=lambda state: state.name)
def test_an_item_on_a_finalized_invoice_is_never_changed(shop_for, state, columns, names):
    shop = shop_for(INVOICE_ITEM)
    shop.rows(**state.columns)
    shop.sync()
    shop.run()
    reach(shop, state)
    before = shop.object()
    shop.rows(**{**state.columns, **columns})

    rejected(shop, names, "the item is on a finalized invoice")

    assert shop.object() == before
    shop.rows(**state.columns)
    shop.run()
    assert shop.writes() == []


def test_an_item_is_changed_while_its_invoice_is_a_draft_and_the_invoice_follows(shop_for):
    shop = shop_for(INVOICE_ITEM)
    shop.rows(bill="'b1'")
    shop.sync()
    shop.run()
    shop.rows(bill="'b1'", amount="12.50")

    shop.run()

    assert shop.sent() == [{"amount": "1250"}]
    (bill,) = shop.business.stripe.objects("invoice")
    assert [line["amount"] for line in bill["lines"]["data"]] == [1250]


def test_a_quantity_and_a_unit_price_change_alone_and_the_amount_follows(shop_for):
    shop = shop_for(INVOICE_ITEM)
    fields = {path: value for path, value in INVOICE_ITEM.fields.items() if path != "amount"}
    shop.sync(fields={**fields, "quantity": "pieces", "unit_amount_decimal": "unit"})
    amounts, sent = [], []
    for pieces, unit in ((2, "150.5"), (4, "150.5"), (4, "200.25")):
        shop.rows(pieces=str(pieces), unit=unit)
        shop.run()
        sent.append(shop.sent()[-1])
        amounts.append(shop.object()["amount"])

    assert (sent[0]["quantity"], sent[0]["unit_amount_decimal"]) == ("2", "150.5")
    assert sent[1:] == [{"quantity": "4"}, {"unit_amount_decimal": "200.25"}]
    assert amounts == [301, 602, 801]


# ── quotes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finalized_quote_accepts_only_metadata(shop_for):
    shop = shop_for(QUOTE)
    shop.rows()
    shop.sync(options={"finalize": True})

    shop.run()

    quote = shop.object()
    assert shop.writes()[-2:] == [f"POST {QUOTE.path}", f"POST {QUOTE.path}/{quote['id']}/finalize"]
    assert quote["status"] == "open"
    shop.rows(head="'Lamp'", seats="3")
    rejected(shop, "`line_items`, `header`", "the quote is no longer a draft (its status is `open`)")
    shop.rows(tier="'silver'", until="TIMESTAMP '2040-02-01'")
    shop.run()
    assert shop.sent() == [{"expires_at": "2211667200", "metadata": {"tier": "silver"}}]


def test_an_accepted_quote_becomes_a_subscription_and_is_left_unchanged(shop_for):
    shop = shop_for(QUOTE)
    shop.rows()
    shop.sync(options={"accept": True})
    shop.run()
    quote = shop.object()
    (subscription,) = shop.business.stripe.objects("subscription")

    assert (quote["status"], quote["subscription"]) == ("accepted", subscription["id"])
    assert at(subscription, "items.data.0.quantity") == 2
    shop.run()
    assert shop.writes() == []
    shop.rows(seats="3")
    rejected(shop, "`line_items`", "the quote is no longer a draft (its status is `accepted`)")


def test_a_quote_that_was_canceled_by_hand_is_neither_finalized_nor_changed(shop_for):
    shop = shop_for(QUOTE)
    shop.rows()
    shop.sync()
    shop.run()
    shop.call("post", f"{QUOTE.path}/@/cancel")
    shop.sync(options={"finalize": True})

    shop.run()

    assert (shop.writes(), shop.object()["status"]) == ([], "canceled")
    shop.rows(head="'Lamp'")
    rejected(shop, "`header`", "the quote is no longer a draft (its status is `canceled`)")
