"""Code shared by everything that creates invoices: an invoice's shape, its lines, and the items that it includes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import Family
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.objects.periods import DAY
from dbt_stripe_sync.stripe_api.rules.counts import MOST_INVOICE_ITEMS

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# A line's own tax rates are stored with the line, but not shown.
OWN_RATES = "own_rates"

INVOICE_BLANK: Body = {
    "account_country": "US",
    "account_name": "Sandbox",
    "account_tax_ids": None,
    "amount_paid_off_stripe": 0,
    "application": None,
    "auto_advance": False,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
    "automatically_finalizes_at": None,
    "billing_reason": "manual",
    "currency": "usd",
    "custom_fields": None,
    "customer": None,
    "customer_address": None,
    "customer_email": None,
    "customer_name": None,
    "customer_phone": None,
    "customer_shipping": None,
    "customer_tax_exempt": "none",
    "customer_tax_ids": [],
    "default_payment_method": None,
    "default_source": None,
    "description": None,
    "due_date": None,
    "effective_at": None,
    "ending_balance": None,
    "footer": None,
    "from_invoice": None,
    "hosted_invoice_url": None,
    "invoice_pdf": None,
    "issuer": {"type": "self"},
    "last_finalization_error": None,
    "latest_revision": None,
    "lines": None,
    "metadata": {},
    "next_payment_attempt": None,
    "number": None,
    "on_behalf_of": None,
    "parent": None,
    "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
    "subtotal_excluding_tax": 0,
    "test_clock": None,
    "total_discount_amounts": [],
    "total_excluding_tax": 0,
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}


SHAPE = Family(kind="invoice", object="invoice", prefix="in", blank=INVOICE_BLANK)


def new_invoice(work: Work, customer: Body, currency: str, **shown: Any) -> Body:
    """Create a draft without lines."""
    body = core.new_body(SHAPE, work)
    body.update(
        customer=customer["id"],
        currency=currency,
        customer_address=customer["address"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=customer["phone"],
        customer_shipping=customer["shipping"],
        customer_tax_exempt=customer["tax_exempt"],
        customer_tax_ids=[
            {"type": t["type"], "value": t["value"]} for t in work.find("customer.tax_id", {"customer": customer["id"]})
        ],
        period_start=work.now,
        period_end=work.now,
        starting_balance=customer["balance"],
        test_clock=customer["test_clock"],
    )
    body["lines"] = {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{body['id']}/lines"}
    body.update(shown)
    if customer["currency"] is None:
        work.edit("customer", customer["id"])["currency"] = currency
    return work.add(SHAPE.kind, body)


def add_line(invoice: Body, amount: int, **shown: Any) -> Body:
    """Add a line. Call `total_up` after the last one."""
    line = {
        "id": new_id("il"),
        "object": "line_item",
        "amount": amount,
        "currency": invoice["currency"],
        "description": None,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": invoice["livemode"],
        "metadata": {},
        "parent": None,
        "period": {"start": invoice["period_start"], "end": invoice["period_end"]},
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
        OWN_RATES: [],
    }
    line.update(shown)
    invoice["lines"]["data"].append(line)
    return line


def add_pending_items(work: Work, invoice: Body, *, subscription: str | None = None) -> None:
    """Add the customer's pending items to the invoice, if they are in its currency."""
    pending = work.find("invoice_item", {"customer": invoice["customer"], "invoice": None})
    for item in reversed(pending):
        of = ((item["parent"] or {}).get("subscription_details") or {}).get("subscription")
        # Items beyond the limit stay pending (ParabolInc/parabol#6826).
        if len(invoice["lines"]["data"]) >= MOST_INVOICE_ITEMS:
            break
        if item["currency"] == invoice["currency"] and of in (None, subscription):
            put_item(work, invoice, item)


def put_item(work: Work, invoice: Body, item: Body) -> None:
    """Add one invoice item to a draft."""
    held = work.edit("invoice_item", item["id"])
    held["invoice"] = invoice["id"]
    of = (held["parent"] or {}).get("subscription_details") or {}
    details = {
        "invoice_item": held["id"],
        "proration": held["proration"],
        "proration_details": {"credited_items": None},
        "subscription": of.get("subscription"),
    }
    add_line(
        invoice,
        held["amount"],
        description=held["description"],
        discountable=held["discountable"],
        discounts=held["discounts"] or [],
        metadata=held["metadata"],
        period=held["period"],
        pricing=held["pricing"],
        quantity=held["quantity"],
        quantity_decimal=held["quantity_decimal"],
        subscription=of.get("subscription"),
        parent={"type": "invoice_item_details", "invoice_item_details": details, "subscription_item_details": None},
        own_rates=held["tax_rates"] or [],
    )


def shown_line(line: Body) -> Body:
    """Return a line as the API shows it."""
    return {key: value for key, value in line.items() if key != OWN_RATES}


def due_date(work: Work, days: int | None) -> int | None:
    """Return when an invoice that is sent to the customer is due (Unix seconds)."""
    return None if days is None else work.now + days * DAY
