"""What an object's status no longer lets an update change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# They hold for one request and are no part of the object, so that no status fixes them.
REQUEST_ONLY = frozenset({"expand", "proration_behavior", "payment_behavior", "off_session"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """In one of `statuses` an update of a resource changes only the parameters of `but`.

    `code` and `message` are those of Stripe's answer; `{name}` and `{status}` stand for what is refused.
    """

    resource: str
    statuses: frozenset[str]
    but: frozenset[str]
    message: str
    source: str
    code: str | None = None

    @property
    def says(self) -> str:
        """The rule in words."""
        listed = ", ".join(f"`{status}`" for status in sorted(self.statuses))
        allowed = ", ".join(f"`{name}`" for name in sorted(self.but)) or "nothing"
        return f"while {listed}, an update changes {allowed}{' only' if self.but else ''}"

    def first_fixed(self, status: str, names: Iterable[str]) -> str | None:
        """The first of some parameters that an update can't change in a status."""
        if status not in self.statuses:
            return None
        return next((name for name in sorted(names) if name not in self.but and name not in REQUEST_ONLY), None)


FROZEN: tuple[Frozen, ...] = (
    Frozen(
        resource="subscription",
        statuses=frozenset({"canceled", "incomplete_expired"}),
        but=frozenset({"metadata", "cancellation_details"}),
        message="A canceled subscription can only update its cancellation_details and metadata.",
        source="docs.stripe.com/billing/subscriptions/overview#subscription-statuses (terminal)",
    ),
    Frozen(
        resource="subscription",
        statuses=frozenset({"incomplete"}),
        but=frozenset({"metadata", "default_source"}),
        message="This subscription is `{status}`: only its metadata and default_source can be updated, not `{name}`.",
        source="SDK's description of `Subscription.status`: A subscription in this status can only have metadata and "
        "default_source updated.",
    ),
    Frozen(
        resource="invoice",
        statuses=frozenset({"open", "paid", "uncollectible", "void"}),
        but=frozenset({"metadata", "auto_advance", "default_payment_method", "default_source", "payment_settings"}),
        message="This invoice is no longer editable: `{name}` is fixed.",
        source="docs.stripe.com/invoicing/invoice-edits",
        code="invoice_not_editable",
    ),
    Frozen(
        resource="quote",
        statuses=frozenset({"open"}),
        but=frozenset({"metadata", "expires_at"}),
        message="This quote is {status}: `{name}` can only change while it is a draft.",
        source="docs.stripe.com/quotes/overview",
    ),
    Frozen(
        resource="quote",
        statuses=frozenset({"accepted", "canceled"}),
        but=frozenset({"metadata"}),
        message="This quote is {status}: `{name}` can only change while it is a draft.",
        source="docs.stripe.com/quotes/overview",
    ),
    Frozen(
        resource="subscription_schedule",
        statuses=frozenset({"completed", "released", "canceled"}),
        but=frozenset(),
        message="You cannot update a subscription schedule that is currently in the `{status}` status. It must be in "
        "the `not_started` or `active` status.",
        source="docs.stripe.com/api/subscription_schedules/update",
    ),
)


def frozen_rules(resource: str) -> tuple[Frozen, ...]:
    """The rows of a resource."""
    return tuple(rule for rule in FROZEN if rule.resource == resource)
