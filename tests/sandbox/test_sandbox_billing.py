"""Subscriptions, schedules, invoices, quotes and usage: their states, and what each state allows."""

from __future__ import annotations

import pytest
import stripe

DAY = 86_400
MONTHLY = {"interval": "month"}


def refused(call, *args):
    with pytest.raises(stripe.InvalidRequestError) as error:
        call(*args)
    return error.value


@pytest.fixture
def customer(api):
    return api.customers.create({"email": "a@example.com"}).id


@pytest.fixture
def price(api):
    def make(amount, interval="month"):
        recurring = {"recurring": {"interval": interval}} if interval else {}
        params = {"currency": "usd", "unit_amount": amount, "product_data": {"name": f"P{amount}"}}
        return api.prices.create({**params, **recurring}).id

    return make


@pytest.fixture
def subscribe(api, customer, price):
    def make(**params):
        return api.subscriptions.create({"customer": customer, "items": [{"price": price(1000)}], **params})

    return make


def items_of(subscription):
    return [(i["price"]["unit_amount"], i["quantity"]) for i in subscription.to_dict()["items"]["data"]]


def first_item(subscription):
    return subscription.to_dict()["items"]["data"][0]["id"]


# ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_subscription_starts_with_a_paid_invoice(api, subscribe):
    made = subscribe()
    invoice = api.invoices.retrieve(made.latest_invoice)
    assert made.status == "active"
    assert (invoice.status, invoice.billing_reason, invoice.total) == ("paid", "subscription_create", 1000)


@pytest.mark.parametrize(
    ("params", "status", "invoice_status", "total"),
    [
        ({"trial_period_days": 7}, "trialing", "paid", 0),
        ({"collection_method": "send_invoice", "days_until_due": 30}, "active", "draft", 1000),
        ({"payment_behavior": "default_incomplete"}, "incomplete", "open", 1000),
        ({"default_payment_method": "pm_card_chargeDeclined"}, "incomplete", "open", 1000),
    ],
)
def test_the_first_status_depends_on_trial_collection_and_payment(
    api, subscribe, params, status, invoice_status, total
):
    made = subscribe(**params)
    invoice = api.invoices.retrieve(made.latest_invoice)
    assert (made.status, invoice.status, invoice.total) == (status, invoice_status, total)


def test_paying_the_first_invoice_activates(api, subscribe):
    made = subscribe(payment_behavior="default_incomplete")
    api.invoices.pay(made.latest_invoice)
    assert api.subscriptions.retrieve(made.id).status == "active"


def test_a_declined_card_is_an_error_only_if_requested(subscribe, sandbox):
    with pytest.raises(stripe.CardError):
        subscribe(default_payment_method="pm_card_chargeDeclined", payment_behavior="error_if_incomplete")
    assert sandbox.count("subscription") == 0


def test_items_are_matched_by_id_and_an_item_without_one_is_added(api, subscribe, price):
    made = subscribe()
    changed = api.subscriptions.update(
        made.id, {"items": [{"id": first_item(made), "quantity": 3}, {"price": price(500), "quantity": 2}]}
    )
    assert items_of(changed) == [(1000, 3), (500, 2)]
    only = api.subscriptions.update(made.id, {"items": [{"id": first_item(made), "deleted": True}]})
    assert items_of(only) == [(500, 2)]
    assert (
        "at least one"
        in refused(
            api.subscriptions.update, made.id, {"items": [{"id": first_item(only), "deleted": True}]}
        ).user_message
    )


def test_the_same_price_twice_is_rejected(api, subscribe):
    made = subscribe()
    price = made.to_dict()["items"]["data"][0]["price"]["id"]
    assert "same price" in refused(api.subscriptions.update, made.id, {"items": [{"price": price}]}).user_message


@pytest.mark.parametrize(("behavior", "amounts"), [("create_prorations", [-1000, 3000]), ("none", [])])
def test_a_change_at_the_start_of_a_period_is_prorated(api, subscribe, customer, behavior, amounts):
    made = subscribe()
    change = {"items": [{"id": first_item(made), "quantity": 3}], "proration_behavior": behavior}
    api.subscriptions.update(made.id, change)
    pending = api.invoice_items.list({"customer": customer, "pending": True}).data
    assert [item.amount for item in reversed(pending)] == amounts


def test_always_invoice_bills_the_difference_at_once(api, subscribe, clock):
    made = subscribe()
    start, end = (made.to_dict()["items"]["data"][0][f"current_period_{edge}"] for edge in ("start", "end"))
    clock.seconds += (end - start) / 2
    change = {"items": [{"id": first_item(made), "quantity": 3}], "proration_behavior": "always_invoice"}
    invoice = api.invoices.retrieve(api.subscriptions.update(made.id, change).latest_invoice)
    assert (invoice.billing_reason, invoice.status, invoice.total) == ("subscription_update", "paid", 1000)


def test_cancellation_at_the_period_end_can_be_undone(api, subscribe):
    made = subscribe()
    ending = api.subscriptions.update(made.id, {"cancel_at_period_end": True})
    assert ending.cancel_at == ending.to_dict()["items"]["data"][0]["current_period_end"]
    assert ending.canceled_at is not None
    kept = api.subscriptions.update(made.id, {"cancel_at_period_end": False})
    assert (kept.cancel_at, kept.canceled_at, kept.status) == (None, None, "active")


def test_a_canceled_subscription_has_ended(api, subscribe, customer):
    made = subscribe()
    assert api.subscriptions.cancel(made.id).status == "canceled"
    assert refused(api.subscriptions.cancel, made.id).http_status == 404
    assert api.subscriptions.update(made.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"
    assert refused(api.subscriptions.update, made.id, {"description": "x"}).http_status == 400
    assert api.subscriptions.list({"customer": customer}).data == []
    assert len(api.subscriptions.list({"customer": customer, "status": "all"}).data) == 1


def test_trials_end_periods_renew_and_cancellations_happen_on_time(api, subscribe, sandbox):
    trial = subscribe(trial_period_days=7)
    ending = subscribe(cancel_at_period_end=True)
    unpaid = subscribe(payment_behavior="default_incomplete")

    sandbox.advance(40 * DAY)

    renewed = api.subscriptions.retrieve(trial.id)
    invoices = api.invoices.list({"subscription": trial.id}).data
    assert renewed.status == "active"
    assert [i.total for i in invoices] == [1000, 1000, 0]
    assert {i.status for i in invoices} == {"paid"}
    assert api.subscriptions.retrieve(ending.id).status == "canceled"
    assert api.subscriptions.retrieve(unpaid.id).status == "incomplete_expired"


def test_deleting_a_customer_cancels_its_subscriptions(api, subscribe, customer):
    made = subscribe()
    api.customers.delete(customer)
    assert api.subscriptions.retrieve(made.id).status == "canceled"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"items": []}, "items"),
        ({"collection_method": "send_invoice"}, "days_until_due"),
        ({"trial_end": 1}, "future"),
        ({"customer": "cus_none"}, "No such customer"),
        ({"discounts": [{"coupon": "NONE"}]}, "No such coupon"),
    ],
)
def test_an_invalid_subscription_is_rejected(subscribe, sandbox, params, message):
    with pytest.raises(stripe.InvalidRequestError, match=message):
        subscribe(**params)
    assert sandbox.count("subscription") == 0


def test_archived_and_one_time_prices_cannot_be_subscribed_to(api, subscribe, price):
    old = price(5)
    api.prices.update(old, {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        subscribe(items=[{"price": old}])
    with pytest.raises(stripe.InvalidRequestError, match="type=one_time"):
        subscribe(items=[{"price": price(5, interval=None)}])


def test_a_test_clock_moves_only_its_customers(api, price, sandbox):
    clock = api.test_helpers.test_clocks.create({"frozen_time": 1_700_000_000})
    frozen = api.customers.create({"test_clock": clock.id})
    made = api.subscriptions.create({"customer": frozen.id, "items": [{"price": price(100)}]})
    assert made.start_date == 1_700_000_000

    sandbox.advance(40 * DAY)
    assert len(api.invoices.list({"subscription": made.id}).data) == 1
    api.test_helpers.test_clocks.advance(clock.id, {"frozen_time": 1_700_000_000 + 40 * DAY})
    assert len(api.invoices.list({"subscription": made.id}).data) == 2


# ── schedules ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_starts_its_subscription_and_moves_it_through_its_phases(api, customer, price, sandbox):
    phases = [
        {"items": [{"price": price(100), "quantity": 2}], "duration": {"interval": "month"}},
        {"items": [{"price": price(300)}], "duration": {"interval": "month"}},
    ]
    made = api.subscription_schedules.create({"customer": customer, "start_date": "now", "phases": phases})
    assert made.status == "active"
    assert items_of(api.subscriptions.retrieve(made.subscription)) == [(100, 2)]

    sandbox.advance(32 * DAY)
    assert items_of(api.subscriptions.retrieve(made.subscription)) == [(300, 1)]
    sandbox.advance(32 * DAY)
    released = api.subscription_schedules.retrieve(made.id)
    assert (released.status, released.released_subscription) == ("released", made.subscription)
    assert refused(api.subscription_schedules.cancel, made.id).http_status == 400


def test_canceling_a_schedule_cancels_its_subscription(api, customer, price):
    phases = [{"items": [{"price": price(100)}]}]
    made = api.subscription_schedules.create({"customer": customer, "start_date": "now", "phases": phases})
    assert api.subscription_schedules.cancel(made.id).status == "canceled"
    assert api.subscriptions.retrieve(made.subscription).status == "canceled"


# ── invoices ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def invoice(api, customer):
    made = api.invoices.create({"customer": customer}).id
    api.invoice_items.create({"customer": customer, "invoice": made, "amount": 700, "currency": "usd"})
    return made


def test_a_draft_invoice_is_opened_with_a_number_and_then_paid(api, invoice):
    draft = api.invoices.retrieve(invoice)
    assert (draft.status, draft.number, draft.total) == ("draft", None, 700)
    opened = api.invoices.finalize_invoice(invoice)
    assert opened.status == "open"
    assert opened.number.endswith("-0001")
    paid = api.invoices.pay(invoice)
    assert (paid.status, paid.amount_paid, paid.amount_remaining) == ("paid", 700, 0)


ACTIONS = ["finalize_invoice", "pay", "void_invoice", "mark_uncollectible", "delete"]
REACH = {
    "draft": [],
    "open": ["finalize_invoice"],
    "paid": ["pay"],
    "void": ["finalize_invoice", "void_invoice"],
    "uncollectible": ["finalize_invoice", "mark_uncollectible"],
}
ALLOWED = {
    "draft": {"finalize_invoice", "pay", "delete"},
    "open": {"pay", "void_invoice", "mark_uncollectible"},
    "paid": set(),
    "void": set(),
    "uncollectible": {"pay", "void_invoice"},
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("status", REACH)
def test_each_status_allows_its_own_actions(api, invoice, status, action):
    for step in REACH[status]:
        getattr(api.invoices, step)(invoice)
    act = getattr(api.invoices, action)
    if action in ALLOWED[status]:
        act(invoice)
    else:
        refused(act, invoice)


def test_pending_items_are_included_on_request_and_frozen_once_finalized(api, customer):
    item = api.invoice_items.create({"customer": customer, "amount": 700, "currency": "usd"})
    assert api.invoices.create({"customer": customer}).total == 0
    drawn = api.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include"})
    assert drawn.total == 700
    api.invoice_items.update(item.id, {"amount": 800})
    assert api.invoices.retrieve(drawn.id).total == 800

    api.invoices.finalize_invoice(drawn.id)

    assert refused(api.invoice_items.update, item.id, {"amount": 1}).code == "invoice_not_editable"
    assert refused(api.invoice_items.delete, item.id).code == "invoice_not_editable"
    assert refused(api.invoices.update, drawn.id, {"description": "x"}).code == "invoice_not_editable"
    assert api.invoices.update(drawn.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"


def test_a_deleted_draft_releases_its_items(api, customer, invoice):
    api.invoices.delete(invoice)
    assert [i.amount for i in api.invoice_items.list({"customer": customer, "pending": True}).data] == [700]


def test_discounts_come_before_taxes_and_the_balance_last(api, customer):
    api.customers.update(customer, {"balance": -500})
    api.coupons.create({"id": "HALF", "percent_off": 50})
    rate = api.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False}).id
    made = api.invoices.create(
        {"customer": customer, "discounts": [{"coupon": "HALF"}], "default_tax_rates": [rate]}
    ).id
    api.invoice_items.create({"customer": customer, "invoice": made, "amount": 2000, "currency": "usd"})
    opened = api.invoices.finalize_invoice(made)
    assert (opened.subtotal, opened.total, opened.amount_due, opened.ending_balance) == (2000, 1200, 700, 0)
    assert api.customers.retrieve(customer).balance == 0


def test_a_credit_note_reduces_the_amount_due_of_an_open_invoice(api, invoice):
    api.invoices.finalize_invoice(invoice)
    note = api.credit_notes.create({"invoice": invoice, "amount": 200})
    assert (note.type, api.invoices.retrieve(invoice).amount_due) == ("pre_payment", 500)
    api.credit_notes.void_credit_note(note.id)
    assert api.invoices.retrieve(invoice).amount_due == 700
    assert "exceeds" in refused(api.credit_notes.create, {"invoice": invoice, "amount": 701}).user_message
    api.credit_notes.create({"invoice": invoice, "amount": 700})
    assert api.invoices.retrieve(invoice).status == "paid"


def test_an_automatic_draft_is_finalized_and_charged_after_an_hour(api, customer, sandbox):
    made = api.invoices.create({"customer": customer, "auto_advance": True}).id
    api.invoice_items.create({"customer": customer, "invoice": made, "amount": 5, "currency": "usd"})
    sandbox.advance(3600)
    assert api.invoices.retrieve(made).status == "paid"


def test_a_preview_computes_an_invoice_without_storing_it(api, customer, price, subscribe, sandbox):
    running = subscribe()
    before = {kind: sandbox.count(kind) for kind in ("invoice", "subscription", "invoice_item", "subscription_item")}
    changed = {"items": [{"id": first_item(running), "quantity": 3}], "proration_behavior": "none"}
    following = api.invoices.create_preview({"subscription": running.id, "subscription_details": changed})
    first = api.invoices.create_preview(
        {"customer": customer, "subscription_details": {"items": [{"price": price(50), "quantity": 2}]}}
    )

    assert (following.total, following.status) == (3000, "draft")
    assert (first.total, first.amount_due) == (100, 100)
    assert before == {kind: sandbox.count(kind) for kind in before}
    assert items_of(api.subscriptions.retrieve(running.id)) == [(1000, 1)]


# ── quotes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_quote_is_drafted_opened_and_accepted_into_a_subscription(api, customer, price):
    made = api.quotes.create({"customer": customer, "line_items": [{"price": price(100), "quantity": 2}]})
    assert (made.status, made.amount_total) == ("draft", 200)
    assert refused(api.quotes.accept, made.id).http_status == 400
    assert api.quotes.finalize_quote(made.id).number.startswith("QT-")
    assert refused(api.quotes.update, made.id, {"description": "x"}).param == "description"
    accepted = api.quotes.accept(made.id)
    assert items_of(api.subscriptions.retrieve(accepted.subscription)) == [(100, 2)]
    assert refused(api.quotes.cancel, made.id).http_status == 400


def test_a_quote_for_one_time_prices_becomes_an_invoice(api, customer, price):
    made = api.quotes.create({"customer": customer, "line_items": [{"price": price(100, interval=None)}]})
    api.quotes.finalize_quote(made.id)
    assert api.invoices.retrieve(api.quotes.accept(made.id).invoice).total == 100


def test_an_open_quote_expires(api, customer, price, sandbox):
    made = api.quotes.create({"customer": customer, "line_items": [{"price": price(100)}]})
    api.quotes.finalize_quote(made.id)
    sandbox.advance(31 * DAY)
    assert api.quotes.retrieve(made.id).status == "canceled"


# ── usage and the rest ───────────────────────────────────────────────────────────────────────────────────────────


def test_meter_events_are_unique_for_a_day_and_at_most_35_days_old(api, clock, sandbox):
    meter = api.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    event = {"event_name": "calls", "identifier": "e1", "payload": {"stripe_customer_id": "cus_1", "value": "2"}}
    send = api.billing.meter_events.create
    send(event)
    assert refused(send, event).code == "resource_already_exists"
    clock.seconds += DAY
    send(event)
    late = {**event, "identifier": "e2", "timestamp": int(clock.seconds) - 35 * DAY - 1}
    assert refused(send, late).code == "timestamp_too_far_in_past"
    assert refused(send, {**event, "identifier": "e3", "payload": {"stripe_customer_id": "c", "value": "x"}}).code
    assert sandbox.count("billing.meter_event") == 2, "Stripe has forgotten the identifier, so the event counts again"
    api.billing.meters.deactivate(meter.id)
    assert refused(send, {**event, "identifier": "e4"}).code == "no_meter"


def test_an_event_name_belongs_to_one_active_meter(api):
    params = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    meter = api.billing.meters.create(params)
    assert refused(api.billing.meters.create, params).code == "resource_already_exists"
    api.billing.meters.deactivate(meter.id)
    api.billing.meters.create(params)
    assert refused(api.billing.meters.reactivate, meter.id).code == "resource_already_exists"


def test_a_feature_is_attached_to_a_product_once(api):
    feature = api.entitlements.features.create({"name": "F", "lookup_key": "f"}).id
    product = api.products.create({"name": "P"}).id
    attached = api.products.features.create(product, {"entitlement_feature": feature})
    assert attached.entitlement_feature.lookup_key == "f"
    refused(api.products.features.create, product, {"entitlement_feature": feature})
    api.products.features.delete(product, attached.id)
    assert api.products.features.list(product).data == []


def test_a_credit_grant_can_be_voided_once(api, customer):
    grant = api.billing.credit_grants.create(
        {
            "customer": customer,
            "category": "paid",
            "amount": {"type": "monetary", "monetary": {"currency": "usd", "value": 100}},
            "applicability_config": {"scope": {"price_type": "metered"}},
        }
    )
    assert api.billing.credit_grants.void_grant(grant.id).voided_at
    refused(api.billing.credit_grants.void_grant, grant.id)


def test_a_payment_link_accepts_new_quantities_and_can_be_archived(api, price):
    link = api.payment_links.create({"line_items": [{"price": price(100), "quantity": 1}]})
    (item,) = api.payment_links.line_items.list(link.id).data
    api.payment_links.update(link.id, {"line_items": [{"id": item.id, "quantity": 4}], "active": False})
    assert api.payment_links.line_items.list(link.id).data[0].quantity == 4
    assert api.payment_links.retrieve(link.id).active is False


def test_a_resource_without_rules_of_its_own_can_be_created_changed_and_listed(api):
    made = api.webhook_endpoints.create({"url": "https://example.com", "enabled_events": ["*"]})
    api.webhook_endpoints.update(made.id, {"url": "https://example.org"})
    assert [w.url for w in api.webhook_endpoints.list().data] == ["https://example.org"]
    assert api.webhook_endpoints.delete(made.id).deleted
    assert refused(api.webhook_endpoints.retrieve, made.id).http_status == 404
