"""The rules for prices, wherever a request names or describes one, each as an entry with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.stripe_api.rules.billing import OneCurrency, OptionAmounts
from dbt_stripe_sync.stripe_api.rules.named_prices import SAME_CURRENCY
from dbt_stripe_sync.stripe_api.rules.numbers import Between, ChargeableAmount, LeastCharge
from dbt_stripe_sync.stripe_api.rules.rule import CREATE, Rule
from dbt_stripe_sync.stripe_api.rules.shapes import WithoutOwnCurrency
from dbt_stripe_sync.stripe_api.rules.together import (
    Ascending,
    Excludes,
    InOrder,
    NeedsOneOf,
    NeedsWhen,
    NotWith,
    OnlyWith,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

# Stripe answers to a larger amount: this value must be less than or equal to 999999999999.
MOST_UNIT_AMOUNT = 999_999_999_999
_MOST_AMOUNT = "git.phoenixinquis.net/correlr/roam (stripe_api.org), which quotes Stripe"
_OPTIONS = "docs.stripe.com/api/prices/create#create_price-currency_options"
_PRICES = "docs.stripe.com/api/prices/create"
_TIERS = "docs.stripe.com/api/prices/create#create_price-tiers"
_METERED = "docs.stripe.com/changelog/basil/2025-03-31/deprecate-legacy-usage-based-billing"
_METER = "the SDK's description: The meter tracking the usage of a metered price"
_ONE_PRICE = "the SDK's description of `items[].price`: You can use either `price` or `price_data`, but not both"
_SOME_PRICE = "the SDK's description of `add_invoice_items[].price`: One of `price` or `price_data` is required."
_ONE_AMOUNT = (
    "the SDK's description of `line_items[].price_data.unit_amount`: One of `unit_amount` or `unit_amount_decimal` is "
    "required."
)
_CUSTOM_AMOUNT = "the SDK's descriptions of `minimum`, `maximum` and `preset`"
# A guess: `own-currency`.
_OWN_CURRENCY = "github.com/stripe/stripe-node/issues/1559"

# Parameters that describe a price inside another request.
_PRICE_DATA = {
    "invoice_item": ("price_data",),
    "payment_link": ("line_items[].price_data",),
    "product": ("default_price_data",),
    "quote": ("line_items[].price_data",),
    "subscription": ("items[].price_data", "add_invoice_items[].price_data"),
    "subscription_item": ("price_data",),
    "subscription_schedule": ("phases[].items[].price_data", "phases[].add_invoice_items[].price_data"),
}
# Where a request can describe a custom amount.
_CUSTOM_AMOUNTS = {
    "price": ("custom_unit_amount", "currency_options.*.custom_unit_amount"),
    "product": ("default_price_data.custom_unit_amount", "default_price_data.currency_options.*.custom_unit_amount"),
}
# Parameters that name or describe a price.
_PRICED = {
    "payment_link": "line_items[]",
    "quote": "line_items[]",
    "subscription": "items[]",
    "subscription_schedule": "phases[].items[]",
}


def _amounts(path: str = "") -> tuple[Rule, ...]:
    """Return the rules for a price's amounts, wherever a request describes one."""
    return (
        Rule(path=f"{path}unit_amount", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path=f"{path}unit_amount_decimal", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path=f"{path}unit_amount_decimal", check=Between(least=0), source=_PRICES),
        # A guess: `chargeable-amounts`.
        Rule(path=f"{path}unit_amount", check=ChargeableAmount(), source=None),
        Rule(path=f"{path}unit_amount_decimal", check=ChargeableAmount(), source=None),
    )


_SOME_AMOUNT = NeedsOneOf(
    ("unit_amount", "unit_amount_decimal", "flat_amount", "flat_amount_decimal"),
    message="An entry in the tiers array is missing an amount.",
)
_TIER_AMOUNT = "github.com/lukasaron/terraform-provider-stripe/issues/45, which quotes Stripe"


def _tiered(*amounts: str) -> tuple[Rule, ...]:
    """Return the rules for tiers, and for the amounts that a price without tiers has."""
    scheme = OnlyWith("billing_scheme", "tiered", "per_unit")
    return (
        Rule(path="tiers", check=Ascending(), source=_TIERS),
        Rule(path="tiers", check=scheme, source=_TIERS),
        Rule(path="tiers_mode", check=scheme, source=_TIERS),
        Rule(path="", check=NeedsWhen("billing_scheme", "tiered", ("tiers",)), source=_TIERS),
        Rule(path="", check=NeedsWhen("billing_scheme", "tiered", ("tiers_mode",)), source=_TIERS),
        Rule(path="tiers[]", check=_SOME_AMOUNT, source=_TIER_AMOUNT),
        *(Rule(path=name, check=NotWith("billing_scheme", "tiered"), source=_TIERS) for name in amounts),
    )


def _metered(path: str) -> Rule:
    return Rule(path=path, check=NeedsWhen("usage_type", "metered", ("meter",)), source=_METERED)


def _price_data(resource: str) -> tuple[Rule, ...]:
    amounts = tuple(rule for path in _PRICE_DATA.get(resource, ()) for rule in _amounts(f"{path}."))
    needed = tuple(
        Rule(path=path, check=NeedsOneOf(("unit_amount", "unit_amount_decimal")), source=_ONE_AMOUNT)
        for path in _PRICE_DATA.get(resource, ())
        if resource != "product"  # its description in the SDK has this rule
    )
    return (*amounts, *needed)


def _some_price(resource: str, path: str) -> tuple[Rule, ...]:
    """Return the rule that an item needs a price; items of subscriptions and schedules can also name a plan.

    For other resources, the SDK's descriptions contain the rule.
    """
    if not resource.startswith("subscription"):
        return ()
    return (Rule(path=path, check=NeedsOneOf(("price", "price_data", "plan"), ("id",)), source=_SOME_PRICE),)


def _custom_amounts(resource: str) -> tuple[Rule, ...]:
    return tuple(
        rule
        for path in _CUSTOM_AMOUNTS.get(resource, ())
        for rule in (
            # A guess: `least-charges`.
            Rule(path=f"{path}.minimum", check=LeastCharge(), source=None),
            Rule(path=path, check=InOrder("minimum", "maximum", are_amounts=True), source=_CUSTOM_AMOUNT),
            Rule(path=path, check=InOrder("minimum", "preset", are_amounts=True), source=_CUSTOM_AMOUNT),
            Rule(path=path, check=InOrder("preset", "maximum", are_amounts=True), source=_CUSTOM_AMOUNT),
        )
    )


def _priced(resource: str) -> tuple[Rule, ...]:
    path = _PRICED.get(resource)
    if path is None:
        return ()
    return (
        Rule(path=f"{path}.price_data", check=Excludes("price"), source=_ONE_PRICE),
        *_some_price(resource, path),
        # For quotes this is a guess: `quotes._total` rejects other currencies, too.
        Rule(path=path.removesuffix("[]"), check=OneCurrency(), source=SAME_CURRENCY.get(resource)),
    )


PRICES: Mapping[str, tuple[Rule, ...]] = {
    "price": (
        *_amounts(),
        *_tiered("unit_amount", "unit_amount_decimal", "custom_unit_amount"),
        _metered("recurring"),
        Rule(path="recurring.meter", check=OnlyWith("usage_type", "metered", "licensed"), source=_METER),
        Rule(path="recurring.interval_count", check=Between(least=1), source=None),
        Rule(path="custom_unit_amount", check=Excludes("unit_amount"), source=_PRICES),
        Rule(path="custom_unit_amount", check=Excludes("unit_amount_decimal"), source=_PRICES),
        Rule(path="product_data", check=Excludes("product"), source=_PRICES),
        Rule(path="currency_options.*.tiers", check=Ascending(), source=_TIERS),
        Rule(path="currency_options.*.tiers[]", check=_SOME_AMOUNT, source=_TIER_AMOUNT),
        Rule(path="currency_options", check=WithoutOwnCurrency(), source=_OWN_CURRENCY),
        Rule(path="currency_options", check=OptionAmounts(), source=_OPTIONS),
        Rule(path="transform_quantity.divide_by", check=Between(least=1), source=None),
    ),
    "plan": (
        *_tiered("amount", "amount_decimal"),
        _metered(""),
        Rule(path="", check=NeedsOneOf(("product",)), source=None, operations=frozenset({CREATE})),
        Rule(path="meter", check=OnlyWith("usage_type", "metered", "licensed"), source=_METER),
        Rule(path="amount_decimal", check=Between(least=0), source=_PRICES),
        Rule(path="amount", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path="amount_decimal", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path="amount", check=ChargeableAmount(), source=None),
        Rule(path="amount_decimal", check=ChargeableAmount(), source=None),
    ),
    "product": (Rule(path="default_price_data.currency_options", check=WithoutOwnCurrency(), source=_OWN_CURRENCY),),
}


def price_rules(resource: str) -> tuple[Rule, ...]:
    """Return the rules for the prices in a resource's requests."""
    return (*PRICES.get(resource, ()), *_price_data(resource), *_custom_amounts(resource), *_priced(resource))
