"""Finalizes, charges and pays invoices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.family import refuse
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.objects.customers import add_to_balance
from dbt_stripe_sync.sandbox.objects.invoice_totals import update_amount_due

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# Payment methods that Stripe's test mode always declines (docs.stripe.com/testing).
DECLINED = frozenset({"pm_card_chargeDeclined", "pm_card_chargeCustomerFail", "pm_card_visa_chargeDeclined"})


def finalize(work: Work, invoice: Body) -> None:
    """Turn a draft into an open invoice with a number. If nothing is due, the invoice is paid.

    See docs.stripe.com/api/invoices/finalize. Raises `ApiError` if it isn't a draft.
    """
    if invoice["status"] != "draft":
        raise refuse("This invoice is already finalized, you can't re-finalize it.", None, "invoice_not_editable")
    customer = work.edit("customer", invoice["customer"])
    if invoice["number"] is None:
        invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    invoice["starting_balance"] = customer["balance"]
    # A credit (a negative balance) pays as much as it can, and the rest is kept. A debt is collected with the invoice.
    left = min(0, invoice["total"] + customer["balance"])
    if left != customer["balance"]:
        moved = left - customer["balance"]
        add_to_balance(work, customer, moved, invoice["currency"], "applied_to_invoice", invoice=invoice["id"])
    invoice["ending_balance"] = customer["balance"]
    update_amount_due(invoice)
    invoice["status"] = "open"
    invoice["status_transitions"]["finalized_at"] = work.now
    # docs.stripe.com/api/invoices/object: the same as `finalized_at` unless it was set.
    invoice["effective_at"] = invoice["effective_at"] or work.now
    invoice["automatically_finalizes_at"] = None
    token = new_id("test", 32)
    invoice["hosted_invoice_url"] = f"https://invoice.stripe.com/i/acct_sandbox/{token}?s=ap"
    invoice["invoice_pdf"] = f"https://pay.stripe.com/invoice/acct_sandbox/{token}/pdf?s=ap"
    if invoice["amount_due"] == 0:
        mark_paid(work, invoice)


def mark_paid(work: Work, invoice: Body, *, off_stripe: bool = False) -> None:
    """Turn an open invoice into a paid one."""
    # A guess: `no-payment-objects`.
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
    """Try to charge an open invoice, and return whether it is paid.

    Every card works except the test cards that decline.
    """
    # A guess: `every-card-works`.
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if payment_method_of(work, invoice) in DECLINED:
        return False
    mark_paid(work, invoice)
    return True


def payment_method_of(work: Work, invoice: Body) -> str | None:
    """Return the payment method to charge: the invoice's own, its subscription's, or its customer's default."""
    details = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    subscription = work.shown("subscription", details) if details else None
    customer = work.shown("customer", invoice["customer"]) or {}
    found = (
        invoice["default_payment_method"]
        or (subscription or {}).get("default_payment_method")
        or (customer.get("invoice_settings") or {}).get("default_payment_method")
    )
    return str(found) if found else None


def _settle_subscription(work: Work, invoice: Body) -> None:
    details = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    if details and work.has("subscription", details):
        status = work.get("subscription", details)["status"]
        if status in {"incomplete", "past_due", "unpaid"}:
            work.edit("subscription", details)["status"] = "active"
