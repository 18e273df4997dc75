"""The rules that the SDK's descriptions don't say, one row each with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.stripe_api.rules.billing import (
    DistinctPrices,
    OneCurrency,
    OptionAmounts,
    PhasesInOrder,
    TrialOfPhase,
)
from dbt_stripe_sync.stripe_api.rules.lengths import LENGTHS
from dbt_stripe_sync.stripe_api.rules.numbers import Between, ChargeableAmount, LeastCharge, MaxDecimals
from dbt_stripe_sync.stripe_api.rules.prices import SAME_CURRENCY
from dbt_stripe_sync.stripe_api.rules.rule import CREATE, OPENAPI, UPDATE, Rule
from dbt_stripe_sync.stripe_api.rules.shapes import FirstHas, MaxSubscriptionItems, WithoutOwnCurrency
from dbt_stripe_sync.stripe_api.rules.tax_ids import TaxId
from dbt_stripe_sync.stripe_api.rules.texts import Email, HasLetter, MaxCharacters, Without
from dbt_stripe_sync.stripe_api.rules.times import (
    WINDOWS,
    InFuture,
    InWindow,
    YearsOld,
)
from dbt_stripe_sync.stripe_api.rules.together import (
    Alone,
    Ascending,
    DiffersFrom,
    Excludes,
    InOrder,
    MostTogether,
    NeedsOneOf,
    NeedsWhen,
    NotBeside,
    NotWith,
    OneOfItems,
    OnlyWith,
    ValueNeeds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

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
# Stripe answers to more: this value must be less than or equal to 999999999999.
MOST_UNIT_AMOUNT = 999_999_999_999
_MOST_AMOUNT = "git.phoenixinquis.net/correlr/roam (stripe_api.org), with Stripe's words"

_NO_ANCHOR = (
    "The subscription schedule update is missing at least one phase with a `start_date` to anchor end dates to."
)


# Whatever describes a price inside another request.
_PRICE_DATA = {
    "invoice_item": ("price_data",),
    "payment_link": ("line_items[].price_data",),
    "product": ("default_price_data",),
    "quote": ("line_items[].price_data",),
    "subscription": ("items[].price_data", "add_invoice_items[].price_data"),
    "subscription_item": ("price_data",),
    "subscription_schedule": ("phases[].items[].price_data", "phases[].add_invoice_items[].price_data"),
}
# Where a custom amount can be described.
_CUSTOM_AMOUNTS = {
    "price": ("custom_unit_amount", "currency_options.*.custom_unit_amount"),
    "product": ("default_price_data.custom_unit_amount", "default_price_data.currency_options.*.custom_unit_amount"),
}
# What names a price, or describes it.
_PRICED = {
    "payment_link": "line_items[]",
    "quote": "line_items[]",
    "subscription": "items[]",
    "subscription_schedule": "phases[].items[]",
}


def _price(path: str = "") -> tuple[Rule, ...]:
    """What holds for the amounts of a price, wherever a request describes one."""
    return (
        Rule(path=f"{path}unit_amount", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path=f"{path}unit_amount_decimal", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path=f"{path}unit_amount_decimal", check=Between(least=0), source=_PRICES),
        # A guess: `chargeable-amounts`.
        Rule(path=f"{path}unit_amount", check=ChargeableAmount(), source=None),
        Rule(path=f"{path}unit_amount_decimal", check=ChargeableAmount(), source=None),
    )


def _tiered(*amounts: str) -> tuple[Rule, ...]:
    """What holds for tiers, and for the amounts that a price has without them."""
    scheme = OnlyWith("billing_scheme", "tiered", "per_unit")
    return (
        Rule(path="tiers", check=Ascending(), source=_TIERS),
        Rule(path="tiers", check=scheme, source=_TIERS),
        Rule(path="tiers_mode", check=scheme, source=_TIERS),
        Rule(path="", check=NeedsWhen("billing_scheme", "tiered", ("tiers",)), source=_TIERS),
        Rule(path="", check=NeedsWhen("billing_scheme", "tiered", ("tiers_mode",)), source=_TIERS),
        *(Rule(path=name, check=NotWith("billing_scheme", "tiered"), source=_TIERS) for name in amounts),
    )


def _metered(path: str) -> Rule:
    return Rule(path=path, check=NeedsWhen("usage_type", "metered", ("meter",)), source=_METERED)


def _price_data(resource: str) -> tuple[Rule, ...]:
    amounts = tuple(rule for path in _PRICE_DATA.get(resource, ()) for rule in _price(f"{path}."))
    needed = tuple(
        Rule(path=path, check=NeedsOneOf(("unit_amount", "unit_amount_decimal")), source=_ONE_AMOUNT)
        for path in _PRICE_DATA.get(resource, ())
        if resource != "product"  # its description says it itself
    )
    return (*amounts, *needed)


def _some_price(resource: str, path: str) -> tuple[Rule, ...]:
    """The items of subscriptions and schedules may also name a plan; of the others their descriptions say it."""
    if not resource.startswith("subscription"):
        return ()
    return (Rule(path=path, check=NeedsOneOf(("price", "price_data", "plan"), ("id",)), source=_SOME_PRICE),)


def _custom_amounts(resource: str) -> tuple[Rule, ...]:
    return tuple(
        rule
        for path in _CUSTOM_AMOUNTS.get(resource, ())
        for rule in (
            Rule(path=f"{path}.minimum", check=LeastCharge(), source=_LEAST_CHARGE),
            Rule(path=path, check=InOrder("minimum", "maximum"), source=_CUSTOM_AMOUNT),
            Rule(path=path, check=InOrder("minimum", "preset"), source=_CUSTOM_AMOUNT),
            Rule(path=path, check=InOrder("preset", "maximum"), source=_CUSTOM_AMOUNT),
        )
    )


def _priced(resource: str) -> tuple[Rule, ...]:
    path = _PRICED.get(resource)
    if path is None:
        return ()
    return (
        Rule(path=f"{path}.price_data", check=Excludes("price"), source=_ONE_PRICE),
        *_some_price(resource, path),
        Rule(path=path.removesuffix("[]"), check=OneCurrency(), source=SAME_CURRENCY.get(resource)),
    )


def _descriptor(path: str) -> tuple[Rule, ...]:
    return (
        Rule(path=path, check=Without("<>\\'\"*"), source=_DESCRIPTORS),
        Rule(path=path, check=HasLetter(), source=_DESCRIPTORS),
    )


_OPTIONS = "docs.stripe.com/api/prices/create#create_price-currency_options"
_PRICES = "docs.stripe.com/api/prices/create"
_TIERS = "docs.stripe.com/api/prices/create#create_price-tiers"
_METERED = "docs.stripe.com/changelog/basil/2025-03-31/deprecate-legacy-usage-based-billing"
_METER = "SDK's description: The meter tracking the usage of a metered price"
_ONE_PRICE = "SDK's description of `items[].price`: You can use either `price` or `price_data`, but not both"
_SOME_PRICE = "SDK's description of `add_invoice_items[].price`: One of `price` or `price_data` is required."
_ONE_AMOUNT = (
    "SDK's description of `line_items[].price_data.unit_amount`: One of `unit_amount` or `unit_amount_decimal` is "
    "required."
)
# What a quote has is a guess: `quotes._total` refuses other currencies too.
_DUE_DATE = 'stripe/stripe-python#925: "Invalid timestamp: must be an integer Unix timestamp in the future."'
_LEAST_CHARGE = "SDK's description: Must be at least the minimum charge amount. " + _CHARGES
_CUSTOM_AMOUNT = "SDK's descriptions of `minimum`, `maximum` and `preset`"
_PRICES_ONCE = "stripe-archive/submigrate#1, with Stripe's words"
_INSTALLMENTS = "SDK's description: For `fixed_count` installment plans, this is required."
_COUPONS = "docs.stripe.com/api/coupons/create"
_INVOICES = "docs.stripe.com/api/invoices/create#create_invoice-collection_method"
_INVOICE_ITEMS = "docs.stripe.com/api/invoiceitems/create"
_SCHEDULES = "docs.stripe.com/api/subscription_schedules/create"
_TRIALS = "docs.stripe.com/api/subscriptions/create#create_subscription-trial_end"
_FROM_SUBSCRIPTION = (
    "SDK's description of `from_subscription`: When using this parameter, other parameters (such as phase values) "
    "cannot be set."
)
_PERIOD = "SDK's description of `period.end`: Must be greater than or equal to `period.start`."

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
    "product": (
        *_descriptor("statement_descriptor")[1:],
        Rule(path="default_price_data.currency_options", check=WithoutOwnCurrency(), source=_OWN_CURRENCY),
    ),
    "price": (
        *_price(),
        *_tiered("unit_amount", "unit_amount_decimal", "custom_unit_amount"),
        _metered("recurring"),
        Rule(path="recurring.meter", check=OnlyWith("usage_type", "metered", "licensed"), source=_METER),
        Rule(path="recurring.interval_count", check=Between(least=1), source=None),
        Rule(path="custom_unit_amount", check=Excludes("unit_amount"), source=_PRICES),
        Rule(path="custom_unit_amount", check=Excludes("unit_amount_decimal"), source=_PRICES),
        Rule(path="product_data", check=Excludes("product"), source=_PRICES),
        Rule(path="currency_options.*.tiers", check=Ascending(), source=_TIERS),
        Rule(path="currency_options", check=WithoutOwnCurrency(), source=_OWN_CURRENCY),
        Rule(path="currency_options", check=OptionAmounts(), source=_OPTIONS),
        Rule(path="transform_quantity.divide_by", check=Between(least=1), source=None),
    ),
    "coupon": (
        Rule(path="percent_off", check=Excludes("amount_off"), source=_COUPONS),
        Rule(path="duration_in_months", check=OnlyWith("duration", "repeating", "once"), source=_COUPONS),
        Rule(
            path="currency_options",
            check=NotBeside("percent_off"),
            source="SDK's description of `currency_options`: only supported if the coupon is amount-based",
        ),
    ),
    "plan": (
        *_tiered("amount", "amount_decimal"),
        _metered(""),
        Rule(path="", check=NeedsOneOf(("product",)), source=None, operations=_ONLY_CREATE),
        Rule(path="meter", check=OnlyWith("usage_type", "metered", "licensed"), source=_METER),
        Rule(path="amount_decimal", check=Between(least=0), source=_PRICES),
        Rule(path="amount", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path="amount_decimal", check=Between(most=MOST_UNIT_AMOUNT), source=_MOST_AMOUNT),
        Rule(path="amount", check=ChargeableAmount(), source=None),
        Rule(path="amount_decimal", check=ChargeableAmount(), source=None),
    ),
    "promotion_code": (
        Rule(
            path="restrictions.currency_options",
            check=WithoutOwnCurrency("minimum_amount_currency"),
            source="SDK's description: Each currency must be different from the `minimum_amount_currency` set on the "
            "promotion code.",
        ),
    ),
    "tax_rate": (
        Rule(
            path="percentage",
            check=Between(least=0, most=100),
            source="SDK's description: This represents the tax rate percent out of 100.",
        ),
        Rule(
            path="percentage",
            check=MaxDecimals(4),
            source="SDK's description of `tax_rate_data.percentage`: decimal values between 0 and 100 inclusive with "
            "at most 4 decimal places",
        ),
    ),
    "subscription": (
        Rule(path="items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="items", check=MaxSubscriptionItems(), source=_ITEMS),
        Rule(path="items", check=DistinctPrices(), source=_PRICES_ONCE),
        Rule(path="trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
        Rule(path="trial_period_days", check=Between(least=0), source=None),
        Rule(path="days_until_due", check=Between(least=0), source=None),
        Rule(path="trial_end", check=InFuture(), source=_TRIALS),
        Rule(path="trial_period_days", check=Excludes("trial_end"), source=_TRIALS, operations=_ONLY_CREATE),
        Rule(
            path="",
            check=NeedsWhen("collection_method", "send_invoice", ("days_until_due",)),
            source="SDK's description of `days_until_due`",
        ),
        Rule(path="add_invoice_items[].period", check=InOrder("start.timestamp", "end.timestamp"), source=_PERIOD),
        Rule(path="cancel_at", check=InFuture(), source=None),
        Rule(path="cancel_at", check=Excludes("cancel_at_period_end"), source=None),
    ),
    "subscription_item": (Rule(path="quantity", check=Between(least=0), source=_QUANTITIES),),
    "subscription_schedule": (
        Rule(path="phases[].items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="phases", check=FirstHas("start_date", _NO_ANCHOR), source=_ANCHOR, operations=_ONLY_UPDATE),
        Rule(path="phases", check=PhasesInOrder(), source=_SCHEDULES),
        Rule(
            path="phases[]",
            check=TrialOfPhase(),
            source="SDK's descriptions of `phases[].trial_end` and `phases[].billing_cycle_anchor`",
        ),
        Rule(
            path="phases[]",
            check=InOrder("trial_end", "end_date"),
            source="SDK's description of `phases[].trial_end`: Must be within the phase.",
        ),
        Rule(
            path="phases[].add_invoice_items[].period",
            check=InOrder("start.timestamp", "end.timestamp"),
            source=_PERIOD,
        ),
        *(
            Rule(path=name, check=Excludes("from_subscription"), source=_FROM_SUBSCRIPTION, operations=_ONLY_CREATE)
            for name in ("customer", "default_settings", "end_behavior", "phases", "start_date")
        ),
    ),
    "invoice": (
        *_descriptor("statement_descriptor"),
        Rule(path="due_date", check=InFuture(), source=_DUE_DATE),
        Rule(
            path="",
            check=NeedsWhen("collection_method", "send_invoice", ("days_until_due", "due_date")),
            source=_INVOICES,
        ),
        *(
            Rule(
                path="payment_settings.payment_method_options.card.installments.plan",
                check=NeedsWhen("type", "fixed_count", (name,)),
                source=_INSTALLMENTS,
            )
            for name in ("count", "interval")
        ),
    ),
    "invoice_item": (
        Rule(path="pricing", check=Excludes("price_data"), source=_INVOICE_ITEMS),
        Rule(path="amount", check=Excludes("pricing"), source=_INVOICE_ITEMS),
        Rule(path="amount", check=Excludes("price_data"), source=_INVOICE_ITEMS),
        Rule(path="unit_amount_decimal", check=Excludes("amount"), source=_INVOICE_ITEMS),
        # One that goes onto an invoice has the currency of that.
        *(
            Rule(path="", check=NeedsWhen(name, None, ("currency", "invoice")), source=_INVOICE_ITEMS)
            for name in ("amount", "unit_amount_decimal")
        ),
    ),
    "billing.meter_event": (
        Rule(
            path="timestamp",
            check=InWindow(
                WINDOWS["billing.meter_event"]["timestamp"], "timestamp_too_far_in_past", "timestamp_in_future"
            ),
            source="SDK's description: Must be within the past 35 calendar days or up to 5 minutes in the future.",
        ),
    ),
    "billing_portal.configuration": (
        Rule(
            path="features.subscription_cancel.proration_behavior",
            check=ValueNeeds("create_prorations", "mode", "immediately"),
            source="SDK's description: `create_prorations`, which is only compatible with `mode=immediately`",
        ),
    ),
    "issuing.cardholder": (
        Rule(
            path="individual.dob",
            check=YearsOld(13),
            source="SDK's description: Cardholders must be older than 13 years old.",
        ),
    ),
    "terminal.configuration": (
        Rule(
            path="reboot_window.end_hour",
            check=DiffersFrom("start_hour"),
            source="SDK's description: The value must be different than the start_hour.",
        ),
    ),
    "billing.credit_grant": (
        Rule(
            path="amount",
            check=NeedsWhen("type", "monetary", ("monetary",)),
            source="docs.stripe.com/api/billing/credit-grant/create",
        ),
    ),
    "account": (
        *_descriptor("settings.payments.statement_descriptor"),
        *_descriptor("settings.payouts.statement_descriptor"),
    ),
    "payment_link": (
        *_descriptor("payment_intent_data.statement_descriptor"),
        *_descriptor("payment_intent_data.statement_descriptor_suffix"),
        Rule(
            path="optional_items",
            check=MostTogether(20, "line_items"),
            source="SDK's description: There is a maximum of 20 combined line items and optional items.",
        ),
        Rule(path="line_items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="subscription_data.trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
        Rule(
            path="custom_fields[].dropdown.default_value",
            check=OneOfItems("options", "value"),
            source="SDK's description: Must match a `value` in the `options` array.",
        ),
    ),
    "quote": (
        Rule(
            path="from_quote",
            check=Alone(("expires_at",)),
            source="SDK's description: When using this parameter, you cannot specify any other parameters except for "
            "`expires_at`.",
        ),
        Rule(path="line_items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="subscription_data.trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
    ),
}


def table_rules(resource: str) -> tuple[Rule, ...]:
    """The rows of a resource, with the lengths that the OpenAPI specification alone has."""
    lengths = tuple(
        Rule(path=path, check=MaxCharacters(most), source=OPENAPI) for path, most in LENGTHS.get(resource, {}).items()
    )
    rows = (*TABLE.get(resource, ()), *_price_data(resource), *_custom_amounts(resource), *_priced(resource))
    return (*lengths, *rows)
