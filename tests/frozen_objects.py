"""Objects in each status that fixes something of them, and what an update can't change of them then."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.stripe_api.rules.statuses import FROZEN

DAY = 86_400
MONTH = {"interval": "month"}


def make_in_status(api, sandbox, resource, status):
    """The id of a new object in a status, as Stripe's own operations lead to it."""
    product = api.products.create({"name": "Desk"}).id
    price = api.prices.create({"product": product, "currency": "usd", "unit_amount": 1000, "recurring": MONTH}).id
    customer = api.customers.create({"email": "a@example.com"}).id
    made = MAKERS[resource](status)(api, customer, price, sandbox)
    (field, expand), *_ = {(rule.fixed.status_field, rule.fixed.expand) for rule in FROZEN[resource]}
    shown = getattr(api, f"{resource}s").retrieve(made, {"expand": [*expand]})
    assert object_value(shown.to_dict(), field) == status
    return made


def _subscription(status):
    def make(api, customer, price, sandbox):
        params = {"customer": customer, "items": [{"price": price}], "payment_behavior": "default_incomplete"}
        made = api.subscriptions.create(
            params if status.startswith("incomplete") else {**params, "payment_behavior": None}
        )
        if status == "incomplete_expired":
            sandbox.advance(DAY)
        elif status == "canceled":
            api.subscriptions.cancel(made.id)
        return made.id

    return make


def _invoice(status):
    def make(api, customer, _price, _sandbox):
        invoice = api.invoices.create({"customer": customer}).id
        api.invoice_items.create({"customer": customer, "invoice": invoice, "amount": 500, "currency": "usd"})
        api.invoices.finalize_invoice(invoice)
        steps = {"paid": api.invoices.pay, "void": api.invoices.void_invoice}
        steps["uncollectible"] = api.invoices.mark_uncollectible
        if status in steps:
            steps[status](invoice)
        return invoice

    return make


def _quote(status):
    def make(api, customer, price, _sandbox):
        quote = api.quotes.create({"customer": customer, "line_items": [{"price": price}]}).id
        if status != "canceled":
            api.quotes.finalize_quote(quote)
        steps = {"accepted": api.quotes.accept, "canceled": api.quotes.cancel}
        if status in steps:
            steps[status](quote)
        return quote

    return make


def _schedule(status):
    def make(api, customer, price, sandbox):
        phases = [{"items": [{"price": price}], "duration": {**MONTH, "interval_count": 1}}]
        end = "cancel" if status == "completed" else "release"
        given = {"customer": customer, "start_date": "now", "end_behavior": end, "phases": phases}
        schedule = api.subscription_schedules.create(given).id
        steps = {"released": api.subscription_schedules.release, "canceled": api.subscription_schedules.cancel}
        if status in steps:
            steps[status](schedule)
        else:
            sandbox.advance(40 * DAY)
        return schedule

    return make


def _invoice_item(status):
    def make(api, customer, price, sandbox):
        invoice = _invoice(status)(api, customer, price, sandbox)
        return api.invoices.retrieve(invoice).lines.data[0].parent.invoice_item_details.invoice_item

    return make


MAKERS = {
    "subscription": _subscription,
    "invoice": _invoice,
    "invoice_item": _invoice_item,
    "quote": _quote,
    "subscription_schedule": _schedule,
}
# Parameters that an update takes in a living object of each kind, one for each row of the table.
CHANGES: dict[str, Any] = {
    "subscription": [{"description": "new"}] * 2,
    "invoice": [{"description": "new"}, {"footer": "new"}],
    "invoice_item": [{"description": "new"}],
    "quote": [{"description": "new"}, {"expires_at": int(time.time()) + 90 * DAY}],
    "subscription_schedule": [{"end_behavior": "none"}],
}
FROZEN_CASES = [
    pytest.param(name, status, rule, change, id=f"{name}-{status}-{next(iter(change))}")
    for name, rules in FROZEN.items()
    for rule, change in zip(rules, CHANGES[name], strict=True)
    for status in sorted(rule.fixed.statuses)
]
