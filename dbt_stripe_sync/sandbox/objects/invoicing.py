"""What all makers of invoices share: the invoice's shape, its lines, its totals, and how it is finalised and paid."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import Family, refuse
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.objects.amounts import rounded
from dbt_stripe_sync.sandbox.objects.customers import add_to_balance
from dbt_stripe_sync.sandbox.objects.discounts import discount_amounts
from dbt_stripe_sync.sandbox.objects.periods import DAY

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# Payment methods that Stripe's test mode always declines (docs.stripe.com/testing).
DECLINED = frozenset({"pm_card_chargeDeclined", "pm_card_chargeCustomerFail", "pm_card_visa_chargeDeclined"})

# The tax rates of a line itself; it is stored with the line and not shown.
OWN_RATES = "own_rates"

INVOICE_BLANK: Body = {
    "account_country": "US",
    "account_name": "Sandbox",
    "account_tax_ids": None,
    "amount_due": 0,
    "amount_overpaid": 0,
    "amount_paid": 0,
    "amount_paid_off_stripe": 0,
    "amount_remaining": 0,
    "amount_shipping": 0,
    "application": None,
    "attempt_count": 0,
    "attempted": False,
    "auto_advance": False,
    "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
    "automatically_finalizes_at": None,
    "billing_reason": "manual",
    "collection_method": "charge_automatically",
    "created": 0,
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
    "default_tax_rates": [],
    "description": None,
    "discounts": [],
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
    "period_end": 0,
    "period_start": 0,
    "post_payment_credit_notes_amount": 0,
    "pre_payment_credit_notes_amount": 0,
    "receipt_number": None,
    "rendering": None,
    "shipping_cost": None,
    "shipping_details": None,
    "starting_balance": 0,
    "statement_descriptor": None,
    "status": "draft",
    "status_transitions": {"finalized_at": None, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
    "subtotal": 0,
    "subtotal_excluding_tax": 0,
    "test_clock": None,
    "total": 0,
    "total_discount_amounts": [],
    "total_excluding_tax": 0,
    "total_pretax_credit_amounts": [],
    "total_taxes": [],
    "webhooks_delivered_at": None,
}
SHAPE = Family(kind="invoice", object="invoice", prefix="in", blank=INVOICE_BLANK)


def new_invoice(work: Work, customer: Body, currency: str, **shown: Any) -> Body:
    """A draft without lines, held by `work`."""
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
    """One more line; call `total_up` after the last."""
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


def draw_pending(work: Work, invoice: Body, *, subscription: str | None = None) -> None:
    """Put the customer's pending items of the invoice's currency onto it."""
    pending = work.find("invoice_item", {"customer": invoice["customer"], "invoice": None})
    for item in reversed(pending):
        of = ((item["parent"] or {}).get("subscription_details") or {}).get("subscription")
        if item["currency"] == invoice["currency"] and of in (None, subscription):
            put_item(work, invoice, item)


def put_item(work: Work, invoice: Body, item: Body) -> None:
    """Put one invoice item onto a draft."""
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


def taxes_of(rates: list[Body], amount: int) -> list[Body]:
    """What each rate asks of an amount, in it or on top of it."""
    taxes = []
    for rate in rates:
        share = Decimal(str(rate["percentage"])) / 100
        tax = Decimal(amount) * share / (1 + share) if rate["inclusive"] else Decimal(amount) * share
        taxes.append(
            {
                "amount": rounded(tax),
                "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
                "tax_rate_details": {"tax_rate": rate["id"]},
                "taxability_reason": "standard_rated",
                "taxable_amount": amount,
                "type": "tax_rate_details",
            }
        )
    return taxes


def total_up(work: Work, invoice: Body) -> None:
    """Sums, discounts and taxes of a draft after its lines changed; discounts come off before taxes."""
    lines = invoice["lines"]["data"]
    subtotal = sum(line["amount"] for line in lines)
    off = discount_amounts(work, invoice["discounts"], _discountable(lines), invoice["currency"])
    taken = sum(item["amount"] for item in off)
    taxes = _tax_lines(invoice, taken)
    exclusive = sum(t["amount"] for t in taxes if t["tax_behavior"] == "exclusive")
    inclusive = sum(t["amount"] for t in taxes if t["tax_behavior"] == "inclusive")
    shipping = (invoice["shipping_cost"] or {}).get("amount_total", 0)
    total = subtotal - taken + exclusive + shipping
    invoice.update(
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - inclusive,
        total=total,
        total_excluding_tax=total - exclusive - inclusive,
        total_discount_amounts=off,
        total_taxes=taxes,
        amount_shipping=shipping,
    )
    owed(invoice)


def _discountable(lines: list[Body]) -> int:
    return max(0, sum(int(line["amount"]) for line in lines if line["discountable"]))


def _tax_lines(invoice: Body, taken: int) -> list[Body]:
    """Give each line its share of the discounts' sum and its taxes; returns the sums by rate."""
    lines = invoice["lines"]["data"]
    whole = _discountable(lines)
    sums: dict[str, Body] = {}
    for line in lines:
        share = rounded(Decimal(taken) * line["amount"] / whole) if whole and line["discountable"] else 0
        line["taxes"] = taxes_of(line[OWN_RATES] or invoice["default_tax_rates"], line["amount"] - share)
        for tax in line["taxes"]:
            kept = sums.setdefault(tax["tax_rate_details"]["tax_rate"], {**tax, "amount": 0, "taxable_amount": 0})
            kept["amount"] += tax["amount"]
            kept["taxable_amount"] += tax["taxable_amount"]
    return list(sums.values())


def shown_line(line: Body) -> Body:
    """A line as the API shows it."""
    return {key: value for key, value in line.items() if key != OWN_RATES}


def owed(invoice: Body) -> None:
    """What is due and what remains after the customer's balance and credit notes."""
    due = max(0, invoice["total"] + invoice["starting_balance"] - invoice["pre_payment_credit_notes_amount"])
    invoice["amount_due"] = due
    invoice["amount_remaining"] = max(0, due - invoice["amount_paid"])


def finalize(work: Work, invoice: Body) -> None:
    """Draft to open, with a number; nothing due means paid (docs.stripe.com/api/invoices/finalize). Raises."""
    if invoice["status"] != "draft":
        raise refuse("This invoice is already finalized, you can't re-finalize it.", None, "invoice_not_editable")
    customer = work.edit("customer", invoice["customer"])
    if invoice["number"] is None:
        invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    invoice["starting_balance"] = customer["balance"]
    # A credit (negative) pays what it can and keeps the rest, a debt is collected with the invoice.
    left = min(0, invoice["total"] + customer["balance"])
    if left != customer["balance"]:
        moved = left - customer["balance"]
        add_to_balance(work, customer, moved, invoice["currency"], "applied_to_invoice", invoice=invoice["id"])
    invoice["ending_balance"] = customer["balance"]
    owed(invoice)
    invoice["status"] = "open"
    invoice["status_transitions"]["finalized_at"] = invoice["effective_at"] = work.now
    invoice["automatically_finalizes_at"] = None
    token = new_id("test", 32)
    invoice["hosted_invoice_url"] = f"https://invoice.stripe.com/i/acct_sandbox/{token}?s=ap"
    invoice["invoice_pdf"] = f"https://pay.stripe.com/invoice/acct_sandbox/{token}/pdf?s=ap"
    if invoice["amount_due"] == 0:
        mark_paid(work, invoice)


def mark_paid(work: Work, invoice: Body, *, off_stripe: bool = False) -> None:
    """Open to paid."""
    invoice["amount_paid"] = invoice["amount_due"]
    if off_stripe:
        invoice["amount_paid_off_stripe"] = invoice["amount_due"]
    invoice["amount_remaining"] = 0
    invoice["attempted"] = True
    invoice["auto_advance"] = False
    invoice["next_payment_attempt"] = None
    invoice["status"] = "paid"
    invoice["status_transitions"]["paid_at"] = work.now
    _settle_subscription(work, invoice)


def collect(work: Work, invoice: Body) -> bool:
    """Try to charge an open invoice; every card works but the test cards that decline. Returns whether it is paid."""
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if payment_method_of(work, invoice) in DECLINED:
        return False
    mark_paid(work, invoice)
    return True


def payment_method_of(work: Work, invoice: Body) -> str | None:
    """What an invoice would be charged to: its own, its subscription's, or its customer's default."""
    details = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    subscription = work.shown("subscription", details) if details else None
    customer = work.shown("customer", invoice["customer"]) or {}
    found = (
        invoice["default_payment_method"]
        or (subscription or {}).get("default_payment_method")
        or (customer.get("invoice_settings") or {}).get("default_payment_method")
    )
    return str(found) if found else None


def due_date(work: Work, days: int | None) -> int | None:
    """When an invoice that is sent falls due."""
    return None if days is None else work.now + days * DAY


def _settle_subscription(work: Work, invoice: Body) -> None:
    details = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    if details and work.has("subscription", details):
        status = work.get("subscription", details)["status"]
        if status in {"incomplete", "past_due", "unpaid"}:
            work.edit("subscription", details)["status"] = "active"
