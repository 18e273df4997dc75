"""A subscription's billing cycle: its periods, the invoices that start them, and the prorations within them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.errors import declined
from dbt_stripe_sync.sandbox.objects import invoice_payment, invoice_totals, invoicing, limits
from dbt_stripe_sync.sandbox.objects.amounts import amount_of, rounded
from dbt_stripe_sync.sandbox.objects.invoice_items import FAMILY as INVOICE_ITEM
from dbt_stripe_sync.sandbox.objects.invoice_items import price_details
from dbt_stripe_sync.sandbox.objects.periods import period_at, share_left

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

HOUR = 3600


def current_period(subscription: Body, price: Body, moment: int) -> tuple[int, int]:
    """Return the period of a price's item at `moment`: the trial, the stub up to the anchor, or a whole cycle."""
    trial_end = subscription["trial_end"]
    if trial_end is not None and trial_end > moment:
        return subscription["trial_start"] or subscription["start_date"], trial_end
    recurring = price["recurring"]
    start, end = period_at(
        subscription["billing_cycle_anchor"], recurring["interval"], recurring["interval_count"], moment
    )
    begun = max(subscription["start_date"], trial_end or 0)
    return (max(start, begun) if begun <= moment else start), end


def items_of(work: Work, subscription: str) -> list[Body]:
    """Return a subscription's items, oldest first."""
    return work.find("subscription_item", {"subscription": subscription})[::-1]


def refresh_periods(work: Work, subscription: Body) -> None:
    """Move every item into the current period."""
    for item in items_of(work, subscription["id"]):
        start, end = current_period(subscription, work.get("price", item["price"]), work.now)
        if (item["current_period_start"], item["current_period_end"]) != (start, end):
            held = work.edit("subscription_item", item["id"])
            held["current_period_start"], held["current_period_end"] = start, end


def bill(work: Work, subscription: Body, reason: str, items: list[Body] | None = None) -> Body:
    """Create the invoice at the start of a period.

    `subscription` must be one that is being edited; its `latest_invoice` is set to the new one. The first invoice is
    finalized and charged immediately, later ones after an hour (docs.stripe.com/billing/invoices/subscription).
    """
    customer = work.get("customer", subscription["customer"])
    invoice = _open_draft(work, subscription, customer, reason)
    for item in items_of(work, subscription["id"]) if items is None else items:
        _add_item(work, subscription, invoice, item)
    invoicing.add_pending_items(work, invoice, subscription=subscription["id"])
    invoice_totals.total_up(work, invoice)
    subscription["latest_invoice"] = invoice["id"]
    return invoice


def _open_draft(work: Work, subscription: Body, customer: Body, reason: str) -> Body:
    invoice = invoicing.new_invoice(
        work,
        customer,
        subscription["currency"],
        auto_advance=True,
        billing_reason=reason,
        collection_method=subscription["collection_method"],
        default_payment_method=subscription["default_payment_method"],
        default_tax_rates=subscription["default_tax_rates"],
        description=subscription["description"],
        discounts=list(subscription["discounts"]),
        parent=subscription_parent(subscription),
        automatically_finalizes_at=work.now + HOUR,
    )
    if subscription["collection_method"] == "send_invoice":
        invoice["due_date"] = invoicing.due_date(work, subscription["days_until_due"])
    return invoice


def subscription_parent(subscription: Body) -> Body:
    """Return an invoice's reference to its subscription."""
    details = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
    return {"type": "subscription_details", "quote_details": None, "subscription_details": details}


def _add_item(work: Work, subscription: Body, invoice: Body, item: Body) -> None:
    price = work.get("price", item["price"])
    # A guess: `usage-not-billed`.
    quantity = item.get("quantity", 0)
    on_trial = subscription["status"] == "trialing"
    amount = 0 if on_trial else amount_of(price, quantity, subscription["currency"])
    name = _name(work, price)
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": subscription["id"],
        "subscription_item": item["id"],
    }
    invoicing.add_line(
        invoice,
        amount,
        description=f"Trial period for {name}" if on_trial else f"{quantity} × {name}",  # noqa: RUF001 - as Stripe's
        discounts=item["discounts"],
        parent={
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": details,
        },
        period={"start": item["current_period_start"], "end": item["current_period_end"]},
        pricing=price_details(price, subscription["currency"]),
        quantity=quantity,
        quantity_decimal=str(quantity),
        subscription=subscription["id"],
        own_rates=item["tax_rates"] or [],
    )


def _name(work: Work, price: Body) -> str:
    product = work.shown("product", price["product"])
    return str(product["name"]) if product is not None and product.get("name") else str(price["id"])


def collect_first(work: Work, subscription: Body, invoice: Body, payment_behavior: str) -> None:
    """Charge the first invoice, and set the subscription's status accordingly.

    With `error_if_incomplete`, a declined card raises the 402 `ApiError`.
    """
    # A guess: `first-draft`.
    if subscription["collection_method"] == "send_invoice":
        subscription["status"] = "trialing" if subscription["status"] == "trialing" else "active"
        if invoice["total"] == 0:
            invoice_payment.finalize(work, invoice)
        return
    invoice_payment.finalize(work, invoice)
    if invoice["status"] == "paid":
        subscription["status"] = subscription["status"] or "active"
        return
    if payment_behavior != "default_incomplete":
        method = invoice_payment.payment_method_of(work, invoice)
        limits.check_chargeable(work, subscription, method, invoice["amount_due"])
    if payment_behavior != "default_incomplete" and invoice_payment.collect(work, invoice):
        subscription["status"] = "active"
        return
    if payment_behavior == "error_if_incomplete":
        raise declined()
    subscription["status"] = "incomplete"


def collect_later(work: Work, subscription: Body, invoice: Body, *, at_once: bool) -> None:
    """Charge the invoice of a running subscription, unless its collection is paused."""
    paused = subscription["pause_collection"]
    if paused is not None:
        invoice["auto_advance"], invoice["automatically_finalizes_at"] = False, None
        if paused["behavior"] != "keep_as_draft":
            invoice_payment.finalize(work, invoice)
            if invoice["status"] == "open":
                invoice["status"] = "void" if paused["behavior"] == "void" else "uncollectible"
        return
    if not at_once:
        return
    invoice_payment.finalize(work, invoice)
    charged = subscription["collection_method"] == "charge_automatically"
    if invoice["status"] == "open" and charged and not invoice_payment.collect(work, invoice):
        # A guess: `retries`.
        subscription["status"] = "past_due"


# ── prorations ───────────────────────────────────────────────────────────────────────────────────────────────────


def snapshot(work: Work, subscription: Body) -> dict[str, Body]:
    """Return the items before a change, for `prorate`."""
    return {
        item["id"]: {
            "price": item["price"],
            "quantity": item.get("quantity", 0),
            "start": item["current_period_start"],
            "end": item["current_period_end"],
        }
        for item in items_of(work, subscription["id"])
    }


def prorate(work: Work, subscription: Body, before: Mapping[str, Body], params: Mapping[str, Any]) -> None:
    """Credit the rest of the period for the old items, and charge it for the new ones.

    `proration_behavior` decides how (docs.stripe.com/billing/subscriptions/prorations). `create_prorations`, the
    default, leaves pending invoice items; `always_invoice` bills them immediately; `none` does nothing. Nothing is
    prorated in a trial.
    """
    behavior = params.get("proration_behavior") or "create_prorations"
    if subscription["status"] not in {"active", "past_due"} or behavior == "none":
        return
    after = snapshot(work, subscription)
    moment = int(params.get("proration_date") or work.now)
    made = 0
    for id_ in dict.fromkeys([*before, *after]):
        old, new = before.get(id_), after.get(id_)
        if old is not None and new is not None and (old["price"], old["quantity"]) == (new["price"], new["quantity"]):
            continue
        made += _prorate_item(work, subscription, id_, old, moment, sign=-1)
        made += _prorate_item(work, subscription, id_, new, moment, sign=1)
    if made and behavior == "always_invoice":
        held = work.edit("subscription", subscription["id"])
        invoice = bill(work, held, "subscription_update", [])
        collect_later(work, held, invoice, at_once=True)


def credit_unused(work: Work, subscription: Body, before: Mapping[str, Body], params: Mapping[str, Any]) -> None:
    """Credit the rest of every item's period, as pending invoice items."""
    if params.get("proration_behavior") == "none" or subscription["status"] == "trialing":
        return
    for id_, state in before.items():
        _prorate_item(work, subscription, id_, state, work.now, sign=-1)


def _prorate_item(work: Work, subscription: Body, item: str, state: Body | None, moment: int, *, sign: int) -> int:
    if state is None:
        return 0
    price = work.shown("price", state["price"])
    if price is None or price["recurring"]["usage_type"] == "metered":
        return 0
    # A guess: `prorations`.
    share = share_left(state["start"], state["end"], moment)
    whole = amount_of(price, state["quantity"], subscription["currency"])
    amount = sign * rounded(Decimal(whole) * Decimal(str(share)))
    body = core.new_body(INVOICE_ITEM, work)
    body.pop("created")
    what = "Unused" if sign < 0 else "Remaining"
    body.update(
        amount=amount,
        net_amount=amount,
        currency=subscription["currency"],
        customer=subscription["customer"],
        date=work.now,
        description=f"{what} time on {state['quantity']} × {_name(work, price)}",  # noqa: RUF001 - as Stripe's
        discountable=False,
        period={"start": moment, "end": max(moment, state["end"])},
        pricing=price_details(price, subscription["currency"]),
        proration=True,
        quantity=state["quantity"],
        quantity_decimal=str(state["quantity"]),
        parent={
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription["id"], "subscription_item": item},
        },
    )
    work.add(INVOICE_ITEM.kind, body)
    return 1
