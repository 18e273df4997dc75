"""How many objects another object may have, and in which currency.

This is the only table of these rules. The sandbox enforces it, and plans count by it: `lifecycles` takes its entries
from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.foreseen import AtMost, OneCurrency

if TYPE_CHECKING:
    from collections.abc import Mapping

# The maximum number of a subscription's items by billing mode; the first mode is the default.
# docs.stripe.com/changelog/dahlia/2026-08-26/flexible-subscription-item-limits raised the first; the second is from the
# SDK's description of `items`.
SUBSCRIPTION_ITEMS = {"flexible": 100, "classic": 20}
# docs.stripe.com/changelog/2016-02-22/no-more-than-250-invoice-items
MOST_INVOICE_ITEMS = 250
MOST_SUBSCRIPTIONS = 500

COUNTS: Mapping[str, AtMost] = {
    "invoice_item": AtMost(
        parent="invoice",
        most=MOST_INVOICE_ITEMS,
        source="the SDK's description of `invoice`: there is a maximum of 250 items per invoice",
    ),
    "subscription_item": AtMost(
        parent="subscription",
        most=SUBSCRIPTION_ITEMS["flexible"],
        source="docs.stripe.com/changelog/dahlia/2026-08-26/flexible-subscription-item-limits",
    ),
    # Earlier subscriptions may have ended, so only new ones are counted.
    "subscription": AtMost(
        parent="customer",
        most=MOST_SUBSCRIPTIONS,
        source="docs.stripe.com/api/subscriptions/create",
        with_earlier=False,
    ),
}
_ONE_CURRENCY = "github.com/Automattic/woocommerce-payments/issues/7732, which quotes Stripe"
CURRENCIES: Mapping[str, OneCurrency] = {
    "subscription": OneCurrency(prices="items", source=_ONE_CURRENCY),
    "subscription_schedule": OneCurrency(prices="phases.0.items", source=_ONE_CURRENCY),
    "invoice_item": OneCurrency(unless="invoice", source=_ONE_CURRENCY),
}
