"""The rules that the SDK's descriptions don't say, one row each with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.stripe_api.rules.lengths import LENGTHS
from dbt_stripe_sync.stripe_api.rules.numbers import Between, ChargeableAmount
from dbt_stripe_sync.stripe_api.rules.rule import CREATE, OPENAPI, UPDATE, Rule
from dbt_stripe_sync.stripe_api.rules.shapes import FirstHas, MaxSubscriptionItems, WithoutOwnCurrency
from dbt_stripe_sync.stripe_api.rules.tax_ids import TaxId
from dbt_stripe_sync.stripe_api.rules.texts import Email, HasLetter, MaxCharacters, Without
from dbt_stripe_sync.stripe_api.rules.times import InFuture

if TYPE_CHECKING:
    from collections.abc import Mapping

# A guess: `chargeable-amounts`.
_CHARGES = "docs.stripe.com/currencies#minimum-and-maximum-charge-amounts"
_ITEMS = "docs.stripe.com/changelog/dahlia/2026-08-26/flexible-subscription-item-limits"
_TRIAL_DAYS = 'stripe/stripe-ruby#804: "The maximum number of trial period days is 730 (2 years)."'
# A guess: `own-currency`.
_OWN_CURRENCY = "stripe/stripe-node#1559"
_ANCHOR = "stripe/stripe-dotnet#1754; SDK's description of `phases[].start_date`: Must be set on the first phase."
_TAX_IDS = "docs.stripe.com/billing/customer/tax-ids; docs.stripe.com/error-codes#tax-id-invalid"
_DESCRIPTORS = "docs.stripe.com/get-started/account/statement-descriptors"
_ONLY_CREATE, _ONLY_UPDATE = frozenset({CREATE}), frozenset({UPDATE})
MOST_TRIAL_DAYS = 730

_NO_ANCHOR = (
    "The subscription schedule update is missing at least one phase with a `start_date` to anchor end dates to."
)


def _price(path: str = "") -> tuple[Rule, ...]:
    """What holds for the amounts of a price, wherever a request describes one."""
    return (
        Rule(path=f"{path}unit_amount", check=ChargeableAmount(), source=_CHARGES),
        Rule(path=f"{path}unit_amount_decimal", check=ChargeableAmount(), source=_CHARGES),
    )


def _descriptor(path: str) -> tuple[Rule, ...]:
    return (
        Rule(path=path, check=Without("<>\\'\"*"), source=_DESCRIPTORS),
        Rule(path=path, check=HasLetter(), source=_DESCRIPTORS),
    )


# "Invalid non-negative integer" is what Stripe answers to a quantity below zero.
_QUANTITIES = "docs.stripe.com/billing/subscriptions/quantities"

TABLE: Mapping[str, tuple[Rule, ...]] = {
    "customer": (
        # docs.stripe.com/error-codes#email-invalid says that there are such addresses, and not which.
        Rule(path="email", check=Email(), source=None),
        Rule(path="tax_id_data[].value", check=TaxId(), source=_TAX_IDS),
    ),
    "customer.tax_id": (Rule(path="value", check=TaxId(), source=_TAX_IDS),),
    "tax_id": (Rule(path="value", check=TaxId(), source=_TAX_IDS),),
    "product": (*_price("default_price_data."),),
    "price": (
        *_price(),
        # An update doesn't say the price's own currency: what it may not name, the price itself knows.
        Rule(path="currency_options", check=WithoutOwnCurrency(), source=_OWN_CURRENCY, operations=_ONLY_CREATE),
    ),
    "plan": (
        Rule(path="amount", check=ChargeableAmount(), source=_CHARGES),
        Rule(path="amount_decimal", check=ChargeableAmount(), source=_CHARGES),
    ),
    "promotion_code": (
        Rule(
            path="restrictions.currency_options",
            check=WithoutOwnCurrency("minimum_amount_currency"),
            source="SDK's description: Each currency must be different from the `minimum_amount_currency` set on the "
            "promotion code.",
            operations=_ONLY_CREATE,
        ),
    ),
    "tax_rate": (
        Rule(
            path="percentage",
            check=Between(least=0, most=100),
            source="SDK's description: This represents the tax rate percent out of 100.",
        ),
    ),
    "subscription": (
        Rule(path="items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="items", check=MaxSubscriptionItems(), source=_ITEMS),
        Rule(path="trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
        Rule(path="cancel_at", check=InFuture(), source=None),
    ),
    "subscription_item": (Rule(path="quantity", check=Between(least=0), source=_QUANTITIES),),
    "subscription_schedule": (
        Rule(path="phases[].items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="phases", check=FirstHas("start_date", _NO_ANCHOR), source=_ANCHOR, operations=_ONLY_UPDATE),
    ),
    "invoice": _descriptor("statement_descriptor"),
    "payment_link": (
        Rule(path="line_items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="subscription_data.trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
    ),
    "quote": (
        Rule(path="line_items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="subscription_data.trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
    ),
}


def table_rules(resource: str) -> tuple[Rule, ...]:
    """The rows of a resource, with the lengths that the OpenAPI specification alone has."""
    lengths = tuple(
        Rule(path=path, check=MaxCharacters(most), source=OPENAPI) for path, most in LENGTHS.get(resource, {}).items()
    )
    return (*TABLE.get(resource, ()), *lengths)
