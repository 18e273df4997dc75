"""All families of objects that have their own rules, in one table. A new one is a new module and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.objects import (
    account,
    catalog,
    clocks,
    coupons,
    credit_notes,
    customers,
    discounts,
    invoice_items,
    invoices,
    metering,
    payment_links,
    payment_methods,
    plans,
    prices,
    quotes,
    rates,
    schedules,
    streaming,
    subscription_items,
    subscriptions,
    webhooks,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.family import Family

# In the order in which time passes for them: a schedule changes its subscription before the subscription is billed.
_MODULES = (
    account,
    catalog,
    clocks,
    coupons,
    credit_notes,
    customers,
    discounts,
    invoice_items,
    metering,
    payment_links,
    payment_methods,
    plans,
    prices,
    quotes,
    rates,
    schedules,
    streaming,
    subscription_items,
    subscriptions,
    invoices,
    webhooks,
)

FAMILIES: Mapping[str, Family] = {family.kind: family for module in _MODULES for family in module.FAMILIES}
