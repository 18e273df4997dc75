"""Previews of invoices (docs.stripe.com/api/invoices/create_preview), which are computed separately and discarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import cycles, invoice_totals, invoicing
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts
from dbt_stripe_sync.sandbox.objects.invoice_items import charge_of
from dbt_stripe_sync.sandbox.objects.subscription_changes import create_subscription, update_subscription
from dbt_stripe_sync.sandbox.work import Work

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body

_UNSETTLED = {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None}
_TO_SUBSCRIPTION = ("items", "default_tax_rates", "metadata", "proration_behavior", "proration_date", "trial_end")


def preview_invoice(work: Work, request: ApiRequest) -> Body:
    """Preview a subscription's next invoice, the first one of a described subscription, or one of pending items."""
    scratch = Work(work.store, now=work.moment, search_delay=0, families=work.families)
    named = request.get("subscription")
    if request.get("schedule"):
        # A guess: `previews`.
        named = core.reference(scratch, "subscription_schedule", request.params["schedule"], "schedule")["subscription"]
    details = {k: v for k, v in (request.get("subscription_details") or {}).items() if k in _TO_SUBSCRIPTION}
    if named:
        invoice = _next(scratch, named, details)
    elif details.get("items"):
        invoice = _first(scratch, request, details)
    else:
        customer = core.reference(scratch, "customer", _customer(request), "customer")
        currency = (request.get("currency") or customer["currency"] or "usd").lower()
        invoice = invoicing.new_invoice(scratch, customer, currency)
        invoicing.add_pending_items(scratch, invoice)
    _add(scratch, invoice, request.params)
    invoice.update(id=scratch.new_id("upcoming_in"), status="draft", number=None, amount_paid=0, attempted=False)
    invoice.update(ending_balance=None, hosted_invoice_url=None, invoice_pdf=None, status_transitions=dict(_UNSETTLED))
    invoice_totals.update_amount_due(invoice)
    return invoice


def _customer(request: ApiRequest) -> str:
    if not request.get("customer"):
        raise refuse("You must pass a customer, a subscription or a schedule.", "customer", "parameter_missing")
    return str(request.params["customer"])


def _next(work: Work, id_: str, details: dict[str, Any]) -> Body:
    core.reference(work, "subscription", id_, "subscription")
    held = work.edit("subscription", id_)
    if details:
        update_subscription(work, held, details)
    work.now = min(item["current_period_end"] for item in cycles.items_of(work, id_))
    if held["status"] == "trialing":
        held["status"] = "active"
    cycles.refresh_periods(work, held)
    return cycles.bill(work, held, "upcoming")


def _first(work: Work, request: ApiRequest, details: dict[str, Any]) -> Body:
    params = {"customer": _customer(request), "payment_behavior": "default_incomplete", **details}
    if request.get("currency"):
        params["currency"] = request.params["currency"]
    made = create_subscription(work, params)
    return work.edit("invoice", made["latest_invoice"])


def _add(work: Work, invoice: Body, params: dict[str, Any]) -> None:
    for item in params.get("invoice_items") or []:
        given = {**item, "pricing": {"price": item["price"]}} if item.get("price") else dict(item)
        if "unit_amount" in given:
            given["unit_amount_decimal"] = str(given["unit_amount"])
        charge = charge_of(work, {"currency": invoice["currency"], **given}, invoice["currency"])
        line = invoicing.add_line(invoice, charge.pop("amount"))
        line.update({key: value for key, value in charge.items() if key in line})
        line["subtotal"] = line["amount"]
        shown = ("description", "discountable", "metadata", "period")
        apply_params(line, {key: item[key] for key in shown if key in item})
    if params.get("discounts"):
        invoice["discounts"] = apply_discounts(
            work, params["discounts"], invoice["discounts"], customer=invoice["customer"], invoice=invoice["id"]
        )
    invoice_totals.total_up(work, invoice)
