"""Which prices Stripe accepts where, and how late a subscription's first bill may be.

This is the only table of these rules. The sandbox enforces it where it computes something, and plans check it:
`lifecycles` takes its entries from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.foreseen import FirstBill, PricesNamed
from dbt_stripe_sync.stripe_api.rules.periods import DAY, add_intervals

if TYPE_CHECKING:
    from collections.abc import Mapping

_API = "docs.stripe.com/api"
# Where all prices need the same currency, each with its source.
SAME_CURRENCY = {
    "payment_link": "the SDK's description of `currency`: Must be … supported by each line item's price.",
    "subscription": "github.com/stripe/stripe-node/issues/682, which quotes Stripe",
    "subscription_schedule": "github.com/YumaInaura/YumaInaura/issues/2903, which quotes Stripe: all of a "
    "phase's plans",
}
# For all of them, see also the page on archived prices: docs.stripe.com/products-prices/manage-prices#archive-price.
_LINKS = f"{_API}/payment-link/create#create_payment_link-line_items"
_QUOTES = f"{_API}/quotes/create#create_quote-line_items"
_EXTRA = f"{_API}/subscriptions/create#create_subscription-add_invoice_items"
_NO_QUANTITY = "the SDK's description of `quantity`: Can be set only if the price's `usage_type` is `licensed`"
_MODES = "the SDK's description of each of these parameters"

PRICES_NAMED: Mapping[str, tuple[PricesNamed, ...]] = {
    "subscription": (
        PricesNamed(
            path="items[].price",
            is_recurring=True,
            source=f"{_API}/subscriptions/create",
            currency_source=SAME_CURRENCY["subscription"],
            no_quantity=_NO_QUANTITY,
        ),
        PricesNamed(path="add_invoice_items[].price", is_recurring=False, source=_EXTRA),
    ),
    "subscription_item": (
        PricesNamed(
            path="price", is_recurring=True, source=f"{_API}/subscription_items/create", no_quantity=_NO_QUANTITY
        ),
    ),
    "subscription_schedule": (
        PricesNamed(
            path="phases[].items[].price",
            is_recurring=True,
            source=f"{_API}/subscription_schedules/create",
            no_quantity=_NO_QUANTITY,
        ),
    ),
    "invoice_item": (PricesNamed(path="pricing.price", is_recurring=False, source=f"{_API}/invoiceitems/create"),),
    "payment_link": (
        PricesNamed(
            path="line_items[].price",
            source=_LINKS,
            currency_source=SAME_CURRENCY["payment_link"],
            recurring_only=("application_fee_percent", "payment_method_collection", "subscription_data"),
            one_time_only=("application_fee_amount",),
            modes_source=_MODES,
        ),
    ),
    "quote": (
        PricesNamed(
            path="line_items[].price",
            source=_QUOTES,
            recurring_only=("application_fee_percent", "transfer_data.amount_percent"),
            one_time_only=("application_fee_amount", "transfer_data.amount"),
            modes_source=_MODES,
        ),
    ),
}


def latest_anchor(params: Mapping[str, Any], recurring: Mapping[str, Any], now: int) -> int:
    """Return the end of a new subscription's first period (Unix seconds), which starts when a trial ends."""
    # A guess: `natural-date`.
    trial_end, days = params.get("trial_end"), params.get("trial_period_days")
    if params.get("trial_from_plan") and days in (None, ""):
        days = recurring.get("trial_period_days")
    begins = trial_end if isinstance(trial_end, int) else now + int(days or 0) * DAY
    return add_intervals(begins, str(recurring["interval"]), int(recurring.get("interval_count") or 1))


FIRST_BILLS: Mapping[str, FirstBill] = {
    "subscription": FirstBill(
        parameter="billing_cycle_anchor",
        items="items",
        latest=latest_anchor,
        source="github.com/stripe/stripe-java/issues/454, which quotes Stripe",
    )
}
