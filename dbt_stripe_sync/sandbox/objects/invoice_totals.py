"""An invoice's totals: lines, discounts, taxes, and the amount due."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.objects.amounts import rounded
from dbt_stripe_sync.sandbox.objects.discounts import discount_amounts
from dbt_stripe_sync.sandbox.objects.invoicing import OWN_RATES

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def taxes_of(rates: list[Body], amount: int) -> list[Body]:
    """Return the taxes on an amount by each rate, inclusive or exclusive."""
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
    """Update a draft's sums, discounts and taxes after its lines changed. Discounts come off before taxes."""
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
    update_amount_due(invoice)


def _discountable(lines: list[Body]) -> int:
    return max(0, sum(int(line["amount"]) for line in lines if line["discountable"]))


def _tax_lines(invoice: Body, taken: int) -> list[Body]:
    """Give each line its share of the discounts, and its taxes. Returns the sums by rate."""
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


def update_amount_due(invoice: Body) -> None:
    """Update the amount due, after the customer's balance and credit notes, and what remains of it."""
    due = max(0, invoice["total"] + invoice["starting_balance"] - invoice["pre_payment_credit_notes_amount"])
    invoice["amount_due"] = due
    invoice["amount_remaining"] = max(0, due - invoice["amount_paid"])
