"""Lists the permissions that a restricted key needs, named as on Stripe's page for keys and in its error messages.

Stripe doesn't document a list. These are the names in its error messages ("Having the 'rak_plan_write' permission would
allow this request to continue").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

READ_ACCOUNT = "rak_accounts_kyc_basic_read"
# By resource: the name within `rak_…_read` and `rak_…_write`, and the name on Stripe's page.
_NAMES: Mapping[str, tuple[str, str]] = {
    "billing.meter": ("billing_meter", "Billing meters"),
    "billing.meter_event": ("billing_meter_event", "Billing meter events"),
    "coupon": ("coupon", "Coupons"),
    "credit_note": ("credit_note", "Credit notes"),
    "customer": ("customer", "Customers"),
    "customer.balance_transaction": ("customer", "Customers"),
    "customer.tax_id": ("customer", "Customers"),
    "invoice": ("invoice", "Invoices"),
    "invoice_item": ("invoice", "Invoices"),
    "payment_link": ("payment_link", "Payment Links"),
    "plan": ("plan", "Prices"),
    "price": ("plan", "Prices"),
    "product": ("product", "Products"),
    "promotion_code": ("promotion_code", "Promotion codes"),
    "quote": ("quote", "Quotes"),
    "shipping_rate": ("shipping_rate", "Shipping rates"),
    "subscription": ("subscription", "Subscriptions"),
    "subscription_item": ("subscription", "Subscriptions"),
    "subscription_schedule": ("subscription", "Subscriptions"),
    "tax_rate": ("tax_rate", "Tax rates"),
}


def list_permissions(written: Iterable[str], looked_at: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the permissions that a restricted key needs to write some resources and to read others.

    Write access includes read access (docs.stripe.com/keys/restricted-api-keys).
    """
    names = set(written)
    covered = {_NAMES.get(name, (name, ""))[0] for name in names}
    others = {name for name in looked_at if _NAMES.get(name, (name, ""))[0] not in covered}
    return tuple(
        sorted({_permission(name, "write") for name in names} | {_permission(name, "read") for name in others})
    )


def _permission(resource: str, kind: str) -> str:
    known = _NAMES.get(resource)
    if known is None:
        return f"{kind} access to `{resource}`"
    return f"rak_{known[0]}_{kind} ({known[1]})"
