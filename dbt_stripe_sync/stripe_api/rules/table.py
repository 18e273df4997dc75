"""The rules that the SDK's descriptions don't contain, each as an entry with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.stripe_api.rules.billing import (
    DistinctPrices,
    PhasesInOrder,
    TrialOfPhase,
)
from dbt_stripe_sync.stripe_api.rules.lengths import LENGTHS
from dbt_stripe_sync.stripe_api.rules.numbers import Between, MaxDecimals
from dbt_stripe_sync.stripe_api.rules.price_rules import price_rules
from dbt_stripe_sync.stripe_api.rules.rule import CREATE, OPENAPI, UPDATE, WRITES, Rule
from dbt_stripe_sync.stripe_api.rules.shapes import FirstHas, MaxSubscriptionItems, WithoutOwnCurrency
from dbt_stripe_sync.stripe_api.rules.tax_ids import GUESSED_FORMS, VAT_FORMS, TaxId
from dbt_stripe_sync.stripe_api.rules.texts import Email, HasLetter, MaxCharacters, Url, Without
from dbt_stripe_sync.stripe_api.rules.times import (
    WINDOWS,
    InFuture,
    InWindow,
    YearsOld,
)
from dbt_stripe_sync.stripe_api.rules.together import (
    Alone,
    DiffersFrom,
    Excludes,
    GoesWithOnly,
    InOrder,
    MostTogether,
    NeedsWhen,
    NotBeside,
    OneOfItems,
    OnlyWith,
    ValueNeeds,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_ITEMS = "docs.stripe.com/changelog/dahlia/2026-08-26/flexible-subscription-item-limits"
_TRIAL_DAYS = 'github.com/stripe/stripe-ruby/issues/804: "The maximum number of trial period days is 730 (2 years)."'
_ANCHOR = (
    "github.com/stripe/stripe-dotnet/issues/1754; the SDK's description of `phases[].start_date`: Must "
    "be set on the first phase."
)
_TAX_IDS = (
    "docs.stripe.com/billing/customer/tax-ids; docs.stripe.com/error-codes#tax-id-invalid; for the formats "
    "ec.europa.eu/taxation_customs/vies"
)
_URLS = "docs.stripe.com/error-codes#url-invalid"
_DESCRIPTORS = "docs.stripe.com/get-started/account/statement-descriptors"
_ONLY_CREATE, _ONLY_UPDATE = frozenset({CREATE}), frozenset({UPDATE})
MOST_TRIAL_DAYS = 730

_NO_ANCHOR = (
    "The subscription schedule update is missing at least one phase with a `start_date` to anchor end dates to."
)


def _descriptor(path: str) -> tuple[Rule, ...]:
    return (
        Rule(path=path, check=Without("<>\\'\"*"), source=_DESCRIPTORS),
        Rule(path=path, check=HasLetter(), source=_DESCRIPTORS),
    )


def _tax_id(path: str) -> tuple[Rule, ...]:
    return (
        Rule(path=path, check=TaxId(VAT_FORMS), source=_TAX_IDS),
        Rule(path=path, check=TaxId(GUESSED_FORMS), source=None),
    )


def _pending_update(*names: str, operations: frozenset[str]) -> Rule:
    """Return the rule on what a pending update, which waits for its payment, can contain."""
    beside = ("expand", "metadata", "off_session", "proration_behavior", "proration_date", *names)
    check = GoesWithOnly(_PENDING, beside)
    return Rule(path="payment_behavior", check=check, source=_PENDING_UPDATES, operations=operations)


_PENDING = "pending_if_incomplete"
_PENDING_UPDATES = (
    "docs.stripe.com/billing/subscriptions/pending-updates-reference#supported-attributes; "
    "docs.stripe.com/changelog/dahlia/2026-05-27/pending-subscription-update-metadata"
)
_DUE_DATE = (
    'github.com/stripe/stripe-python/issues/925: "Invalid timestamp: must be an integer Unix timestamp in the future."'
)
_PRICES_ONCE = "github.com/stripe-archive/submigrate/issues/1, which quotes Stripe"
_INSTALLMENTS = "the SDK's description: For `fixed_count` installment plans, this is required."
_COUPONS = "docs.stripe.com/api/coupons/create"
_INVOICES = "docs.stripe.com/api/invoices/create#create_invoice-collection_method"
_INVOICE_ITEMS = "docs.stripe.com/api/invoiceitems/create"
_SCHEDULES = "docs.stripe.com/api/subscription_schedules/create"
_TRIALS = "docs.stripe.com/api/subscriptions/create#create_subscription-trial_end"
_FROM_SUBSCRIPTION = (
    "the SDK's description of `from_subscription`: When using this parameter, other parameters (such as phase values) "
    "cannot be set."
)
_PERIOD = "the SDK's description of `period.end`: Must be greater than or equal to `period.start`."

# Stripe's answer to a quantity below zero is "Invalid non-negative integer".
_QUANTITIES = "docs.stripe.com/billing/subscriptions/quantities"

TABLE: Mapping[str, tuple[Rule, ...]] = {
    "customer": (
        # docs.stripe.com/error-codes#email-invalid says that some addresses are invalid, but not which.
        Rule(path="email", check=Email(), source=None),
        *_tax_id("tax_id_data[].value"),
    ),
    "customer.tax_id": _tax_id("value"),
    "tax_id": _tax_id("value"),
    "product": (
        *_descriptor("statement_descriptor")[1:],
        Rule(path="url", check=Url(), source=_URLS),
        Rule(path="images[]", check=Url(), source=_URLS),
    ),
    "coupon": (
        Rule(path="percent_off", check=Excludes("amount_off"), source=_COUPONS),
        Rule(path="redeem_by", check=InFuture(), source=None),
        Rule(path="duration_in_months", check=OnlyWith("duration", "repeating", "once"), source=_COUPONS),
        Rule(
            path="currency_options",
            check=NotBeside("percent_off"),
            source="the SDK's description of `currency_options`: only supported if the coupon is amount-based",
        ),
    ),
    "promotion_code": (
        Rule(path="expires_at", check=InFuture(), source=None),
        Rule(
            path="restrictions.currency_options",
            check=WithoutOwnCurrency("minimum_amount_currency"),
            source="the SDK's description: Each currency must be different from the `minimum_amount_currency` set on "
            "the promotion code.",
        ),
    ),
    "tax_rate": (
        Rule(
            path="percentage",
            check=Between(least=0, most=100),
            source="the SDK's description: This represents the tax rate percent out of 100.",
        ),
        Rule(
            path="percentage",
            check=MaxDecimals(4),
            source="the SDK's description of `tax_rate_data.percentage`: decimal values between 0 and 100 inclusive "
            "with at most 4 decimal places",
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
            source="the SDK's description of `days_until_due`",
        ),
        Rule(path="add_invoice_items[].period", check=InOrder("start.timestamp", "end.timestamp"), source=_PERIOD),
        Rule(path="cancel_at", check=InFuture(), source=None),
        Rule(path="cancel_at", check=Excludes("cancel_at_period_end"), source=None),
        Rule(
            path="payment_behavior",
            check=ValueNeeds(_PENDING, "collection_method", "charge_automatically"),
            source="docs.stripe.com/billing/subscriptions/pending-updates: not with `send_invoice`",
            operations=_ONLY_UPDATE,
        ),
        _pending_update(
            *("add_invoice_items", "billing_cycle_anchor", "items", "trial_end", "trial_from_plan"),
            operations=_ONLY_UPDATE,
        ),
    ),
    "subscription_item": (
        Rule(path="quantity", check=Between(least=0), source=_QUANTITIES),
        _pending_update("price", "price_data", "quantity", "subscription", operations=WRITES),
    ),
    "subscription_schedule": (
        Rule(path="phases[].items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="phases", check=FirstHas("start_date", _NO_ANCHOR), source=_ANCHOR, operations=_ONLY_UPDATE),
        Rule(path="phases", check=PhasesInOrder(), source=_SCHEDULES),
        Rule(
            path="phases[]",
            check=TrialOfPhase(),
            source="the SDK's descriptions of `phases[].trial_end` and `phases[].billing_cycle_anchor`",
        ),
        Rule(
            path="phases[]",
            check=InOrder("trial_end", "end_date"),
            source="the SDK's description of `phases[].trial_end`: Must be within the phase.",
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
        Rule(path="days_until_due", check=Excludes("due_date"), source=None),
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
        # An item that is added to an invoice has the invoice's currency.
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
            source="the SDK's description: Must be within the past 35 calendar days or up to 5 minutes in the future.",
        ),
    ),
    "billing_portal.configuration": (
        *(
            Rule(path=path, check=Url(), source=_URLS)
            for path in (
                "business_profile.privacy_policy_url",
                "business_profile.terms_of_service_url",
                "default_return_url",
            )
        ),
        Rule(
            path="features.subscription_cancel.proration_behavior",
            check=ValueNeeds("create_prorations", "mode", "immediately"),
            source="the SDK's description: `create_prorations`, which is only compatible with `mode=immediately`",
        ),
    ),
    "issuing.cardholder": (
        Rule(
            path="individual.dob",
            check=YearsOld(13),
            source="the SDK's description: Cardholders must be older than 13 years old.",
        ),
    ),
    "terminal.configuration": (
        Rule(
            path="reboot_window.end_hour",
            check=DiffersFrom("start_hour"),
            source="the SDK's description: The value must be different than the start_hour.",
        ),
    ),
    "webhook_endpoint": (Rule(path="url", check=Url(), source=_URLS),),
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
            source="the SDK's description: There is a maximum of 20 combined line items and optional items.",
        ),
        Rule(path="line_items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="subscription_data.trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
        Rule(path="after_completion.redirect.url", check=Url(), source=_URLS),
        Rule(path="line_items[].price_data.product_data.images[]", check=Url(), source=_URLS),
        Rule(
            path="custom_fields[].dropdown.default_value",
            check=OneOfItems("options", "value"),
            source="the SDK's description: Must match a `value` in the `options` array.",
        ),
    ),
    "quote": (
        Rule(
            path="from_quote",
            check=Alone(("expires_at",)),
            source="the SDK's description: When using this parameter, you cannot specify any other parameters except "
            "for `expires_at`.",
        ),
        Rule(path="line_items[].quantity", check=Between(least=0), source=_QUANTITIES),
        Rule(path="subscription_data.trial_period_days", check=Between(most=MOST_TRIAL_DAYS), source=_TRIAL_DAYS),
    ),
}


def table_rules(resource: str) -> tuple[Rule, ...]:
    """Return a resource's rules, including the lengths that only the OpenAPI specification has."""
    lengths = tuple(
        Rule(path=path, check=MaxCharacters(most), source=OPENAPI) for path, most in LENGTHS.get(resource, {}).items()
    )
    return (*lengths, *TABLE.get(resource, ()), *price_rules(resource))
