"""What an update can't change while an object has certain statuses.

This is the only table of these rules. The sandbox enforces it, and plans check it: `lifecycles` takes its entries from
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.model.foreseen import Fixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# These apply to one request and aren't part of the object, so no status affects them.
REQUEST_ONLY = frozenset({"expand", "proration_behavior", "payment_behavior", "off_session"})
_FINALIZED = frozenset({"open", "paid", "uncollectible", "void"})


class Frozen(Struct, frozen=True, kw_only=True):
    """What can't be changed in some statuses, with Stripe's answer to an attempt and the source.

    `{name}` and `{status}` in `message` are filled in. A rule without a `source` is a guess: the sandbox enforces it,
    but plans don't check it.
    """

    fixed: Fixed
    message: str
    source: str | None
    code: str | None = None

    @property
    def says(self) -> str:
        """The rule in words."""
        where = "" if self.fixed.status_field == "status" else f"`{self.fixed.status_field}` is "
        while_ = f"while {where}{_listed(self.fixed.statuses, 'or')}"
        if self.fixed.names is not None:
            return f"{while_}, an update can't change {_listed(self.fixed.names, 'or')}"
        if not self.fixed.but:
            return f"{while_}, an update can't change anything"
        return f"{while_}, an update can change only {_listed(self.fixed.but, 'and')}"

    def first_fixed(self, status: str, names: Iterable[str]) -> str | None:
        """Return the first of the named parameters that an update can't change in a status, or None."""
        if status not in self.fixed.statuses:
            return None
        return next((name for name in sorted(names) if name not in REQUEST_ONLY and self.fixed.holds(name)), None)


FROZEN: Mapping[str, tuple[Frozen, ...]] = {
    "subscription": (
        Frozen(
            fixed=Fixed(
                statuses=frozenset({"canceled", "incomplete_expired"}),
                reason="the subscription has ended",
                but=frozenset({"metadata", "cancellation_details"}),
            ),
            message="A canceled subscription can only update its cancellation_details and metadata.",
            source="docs.stripe.com/billing/subscriptions/overview#subscription-statuses (terminal)",
        ),
        Frozen(
            fixed=Fixed(
                statuses=frozenset({"incomplete"}),
                reason="the subscription's first invoice is not paid yet",
                but=frozenset({"metadata", "default_source"}),
                until="that invoice is paid",
            ),
            message="This subscription is `{status}`: only its metadata and default_source can be updated, not "
            "`{name}`.",
            source="the SDK's description of `Subscription.status`: A subscription in this status can only have "
            "metadata and default_source updated.",
        ),
    ),
    "invoice": (
        Frozen(
            # Amounts, discounts, the customer's data, and parameters that the page of `update` restricts to drafts.
            fixed=Fixed(
                statuses=_FINALIZED,
                reason="the invoice is finalized",
                names=frozenset(
                    {
                        "account_tax_ids",
                        "application_fee_amount",
                        "automatic_tax",
                        "collection_method",
                        "days_until_due",
                        "default_tax_rates",
                        "description",
                        "discounts",
                        "due_date",
                        "shipping_cost",
                        "shipping_details",
                        "transfer_data",
                    }
                ),
            ),
            message="This invoice is no longer editable: `{name}` is fixed.",
            source="docs.stripe.com/invoicing/invoice-edits; docs.stripe.com/api/invoices/update",
            code="invoice_not_editable",
        ),
        Frozen(
            # "You can't use the Update endpoint to edit most fields", without a list of them.
            # A guess: `finalized-invoices`.
            fixed=Fixed(
                statuses=_FINALIZED,
                reason="the invoice is finalized",
                but=frozenset(
                    {"metadata", "auto_advance", "default_payment_method", "default_source", "payment_settings"}
                ),
            ),
            message="This invoice is no longer editable: `{name}` is fixed.",
            source=None,
            code="invoice_not_editable",
        ),
    ),
    "invoice_item": (
        Frozen(
            fixed=Fixed(
                statuses=_FINALIZED,
                reason="the item is on a finalized invoice",
                status_field="invoice.status",
                expand=("invoice",),
            ),
            message="The invoice of this item is no longer editable, so its items can't be added, changed or removed.",
            source="docs.stripe.com/api/invoiceitems/update: only before its invoice is closed",
            code="invoice_not_editable",
        ),
    ),
    "quote": (
        Frozen(
            fixed=Fixed(
                statuses=frozenset({"open", "accepted", "canceled"}),
                reason="the quote is no longer a draft",
                but=frozenset({"metadata", "expires_at"}),
            ),
            message="This quote is {status}: `{name}` can only change while it is a draft.",
            source="docs.stripe.com/quotes/overview; docs.stripe.com/quotes/clone",
        ),
        Frozen(
            # A guess: `settled-quotes`.
            fixed=Fixed(
                statuses=frozenset({"accepted", "canceled"}),
                reason="the quote is settled",
                names=frozenset({"expires_at"}),
            ),
            message="This quote is {status}: `{name}` can only change while it is a draft.",
            source=None,
        ),
    ),
    "subscription_schedule": (
        Frozen(
            fixed=Fixed(statuses=frozenset({"completed", "released", "canceled"}), reason="the schedule has ended"),
            message="You cannot update a subscription schedule that is currently in the `{status}` status. It must be "
            "in the `not_started` or `active` status.",
            source="docs.stripe.com/api/subscription_schedules/update",
        ),
    ),
}


def frozen_rules(resource: str) -> tuple[Frozen, ...]:
    """Return a resource's rules."""
    return FROZEN.get(resource, ())


def foreseen_fixed(resource: str) -> tuple[Fixed, ...]:
    """Return what plans check: the documented rules of a resource."""
    return tuple(rule.fixed for rule in frozen_rules(resource) if rule.source is not None)


def _listed(names: Iterable[str], last: str) -> str:
    *others, end = (f"`{name}`" for name in sorted(names))
    return f"{', '.join(others)} {last} {end}" if others else end
