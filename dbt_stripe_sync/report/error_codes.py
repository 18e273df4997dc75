"""Explains Stripe's error codes in a dbt user's words: what each means, and which model, field or setting to change.

The codes are those of docs.stripe.com/error-codes that a sync can encounter. The placeholders are filled in from the
change that failed: `{sync}`, `{resource}`, `{field}`, `{name}` (the resource's name in a command) and `{forget}` (a
command).
"""

from __future__ import annotations

from msgspec import Struct


class Explanation(Struct, frozen=True, kw_only=True):
    """What happened (`meaning`) and what to do (`hint`), each one sentence without a full stop."""

    meaning: str
    hint: str


def _e(meaning: str, hint: str) -> Explanation:
    return Explanation(meaning=meaning, hint=hint)


_TRY_AGAIN = "run it again: `dbt-stripe-sync retry` sends the rest"
_NEW_KEY = "copy a current key from https://dashboard.stripe.com/apikeys and put it into STRIPE_API_KEY"
_INVOICE_DONE = (
    "leave finalized invoices out of the model, or set `on_removed: ignore`; correct an invoice in Stripe with a "
    "credit note"
)
_TAX_PLACE = "map `address.country`, `address.postal_code` and, in the US and Canada, `address.state` to real ones"

_PARAMETERS = {
    "parameter_unknown": _e(
        "Stripe doesn't know {field} for this {resource}",
        "`dbt-stripe-sync fields {name}` lists its parameters; other API versions may have it",
    ),
    "parameter_missing": _e(
        "Stripe needs {field} for this {resource}",
        "map it under `fields:` of {sync}, and make sure its column is never null",
    ),
    "parameters_exclusive": _e(
        "two parameters were sent, and Stripe accepts only one of them",
        "map one of them, or make the column of the other null for these rows",
    ),
    "parameter_invalid_empty": _e(
        "{field} is empty, and Stripe requires a value",
        "give the column a value, or leave the field out of {sync}",
    ),
    "parameter_invalid_integer": _e(
        "{field} has to be a whole number within Stripe's bounds",
        "cast its column to an integer; for money use `as: minor_units` with a currency",
    ),
    "parameter_invalid_string_blank": _e(
        "{field} contains only spaces",
        "make blank values null in the model: nullif(trim(…), '')",
    ),
    "parameter_invalid_string_empty": _e(
        "{field} is an empty text",
        "make empty values null in the model: nullif(…, '')",
    ),
    "invalid_characters": _e(
        "{field} has characters that Stripe rejects",
        "remove them in the model; Stripe rejects angle brackets, quotes and backslashes in statement descriptors",
    ),
    "email_invalid": _e(
        "the email address is not valid",
        "fix it in the model, or make it null; a dbt test on the column's pattern finds such rows before Stripe does",
    ),
    "url_invalid": _e(
        "{field} is not a valid URL",
        "send a full https:// address, or make the column null",
    ),
    "postal_code_invalid": _e(
        "the postal code doesn't belong to the country",
        "check `address.postal_code` and `address.country` of these rows",
    ),
    "country_code_invalid": _e(
        "the country is not a two-letter code that Stripe knows",
        "map the country to ISO 3166-1 alpha-2, such as `DE`",
    ),
    "country_unsupported": _e(
        "Stripe does not support this country here",
        "filter these rows out of the model",
    ),
    "state_unsupported": _e(
        "the state doesn't belong to the country",
        "send a state's ISO code, such as `CA`, and the country with it",
    ),
    "siret_invalid": _e("the SIRET number is not valid", "fix it in the model, or make it null"),
    "shipping_address_invalid": _e(
        "the shipping address can't be delivered to or taxed",
        "check the columns under `shipping.address` of {sync}",
    ),
}

_OBJECTS = {
    "resource_missing": _e(
        "an object that the request names is not in this account and mode",
        "it may have been deleted in Stripe or belong to the other mode: fix the id in the column of {field}, or run "
        "`dbt-stripe-sync state forget SYNC KEY` for the row that created it, so that the next run creates it again",
    ),
    "resource_already_exists": _e(
        "an object with this id or code already exists",
        "add `match: [id]` (or the field that has to be unique) to {sync} to adopt it",
    ),
    "missing": _e(
        "a payment source that the request names does not belong to this customer",
        "map a source or payment method of the row's own customer",
    ),
    "livemode_mismatch": _e(
        "the object and the key belong to different modes, test and live",
        "map ids of the mode that the dbt target uses; every target has its own state",
    ),
    "product_inactive": _e(
        "the product is archived and can't be sold",
        "set its `active` to true, or move these rows to another product",
    ),
    "coupon_expired": _e(
        "the coupon or promotion code has expired or is used up",
        "make the discount's column null for these rows, or give them a coupon that is valid",
    ),
    "customer_max_subscriptions": _e(
        "the customer has as many subscriptions as Stripe allows",
        "put the prices into one subscription as several `items`, or cancel the customer's old ones",
    ),
    "customer_max_payment_methods": _e(
        "the customer has as many payment methods as Stripe allows",
        "detach old ones in Stripe first",
    ),
    "invalid_canceled_subscription_fields": _e(
        "the subscription is canceled, and Stripe accepts few changes to it",
        "filter canceled subscriptions out of the model; a new one needs a new key",
    ),
    "subscription_update_trial_after_billing_cycle_anchor": _e(
        "the trial would end after the day on which the subscription bills",
        "send an earlier `trial_end`, or none",
    ),
    "service_period_coupon_with_metered_tiered_item_unsupported": _e(
        "a coupon for a service period can't be used with a metered, tiered price",
        "remove the coupon from these subscriptions",
    ),
    "status_transition_invalid": _e(
        "the object's status does not allow this step",
        "look at the object in Stripe; the row may be outdated",
    ),
    "intent_invalid_state": _e(
        "the payment is in a state that does not allow this",
        "look at the object in Stripe; the row may be outdated",
    ),
    "token_already_used": _e(
        "a token can only be used once, and this one was used before",
        "tokens don't belong in a model: map a payment method's id instead",
    ),
    "token_in_use": _e(
        "the token is being used by another request",
        "tokens don't belong in a model: map a payment method's id instead",
    ),
}

_INVOICES = {
    "invoice_not_editable": _e("the invoice is finalized, so it can't be changed", _INVOICE_DONE),
    "invoice_on_behalf_of_not_editable": _e("`on_behalf_of` of a finalized invoice can't be changed", _INVOICE_DONE),
    "invoice_no_customer_line_items": _e(
        "the customer has nothing to be invoiced",
        "sync the invoice items first: refer to them, so that they are created before the invoice",
    ),
    "invoice_no_subscription_line_items": _e(
        "the subscription has nothing to be invoiced",
        "sync the invoice items first, or let the subscription create its invoices",
    ),
    "invoice_no_payment_method_types": _e(
        "no payment method can pay this invoice",
        "activate one for the currency at https://dashboard.stripe.com/settings/payment_methods",
    ),
    "invoice_payment_intent_requires_action": _e(
        "the payment waits for the customer",
        "send the customer the invoice's hosted page; nothing is wrong with the row",
    ),
    "invoice_upcoming_none": _e(
        "there is no upcoming invoice for this customer",
        "nothing is due; leave these rows out of the model",
    ),
}

_MONEY = {
    "amount_too_small": _e(
        "the amount is below Stripe's minimum for its currency",
        "see docs.stripe.com/currencies#minimum-and-maximum-charge-amounts; an amount in dollars where cents belong "
        "needs `as: minor_units`",
    ),
    "amount_too_large": _e(
        "the amount is above Stripe's maximum for its currency",
        "check that it is not multiplied twice: a column that is in cents already needs no `as: minor_units`",
    ),
    "invalid_charge_amount": _e("the amount is not valid", "send a whole, positive number of the smallest unit"),
    "balance_invalid_parameter": _e("the balance's parameters don't fit together", "check {field} in {sync}"),
    "payment_method_currency_mismatch": _e(
        "the payment method can't pay in this currency",
        "map a currency that it supports, or another payment method",
    ),
    "transfer_source_balance_parameters_mismatch": _e(
        "the currency differs from that of the source balance",
        "map the currency of the source's balance",
    ),
    "financial_account_balance_does_not_support_currency": _e(
        "the financial account has no balance in this currency",
        "map a currency that the account holds",
    ),
}

_TAX = {
    "tax_id_invalid": _e(
        "the tax id doesn't have the format of its type",
        "check `type` and `value` of these rows: the type names the country, such as `eu_vat` with `DE123456789`",
    ),
    "tax_id_prohibited": _e("this account may not have a tax id of this type", "leave it out of the model"),
    "customer_tax_location_invalid": _e("the customer's address is not precise enough for tax", _TAX_PLACE),
    "invalid_tax_location": _e("the address is not precise enough for tax", _TAX_PLACE),
    "stripe_tax_inactive": _e(
        "Stripe Tax is off in this account",
        "turn it on at https://dashboard.stripe.com/settings/tax, or don't map `automatic_tax`",
    ),
    "taxes_calculation_failed": _e("the tax could not be calculated", _TAX_PLACE),
    "failed_tax_calculation": _e("the tax could not be calculated", _TAX_PLACE),
}

_PAYMENTS = {
    "card_declined": _e(
        "the customer's bank declined the card",
        "nothing is wrong with the row; `payment_behavior: allow_incomplete` creates the subscription anyway",
    ),
    "expired_card": _e("the customer's card has expired", "the customer has to give another one"),
    "authentication_required": _e(
        "the customer has to confirm the payment",
        "map `payment_behavior: default_incomplete`, and send the customer the invoice's hosted page",
    ),
    "payment_method_unactivated": _e(
        "this kind of payment method is not active in the account",
        "activate it at https://dashboard.stripe.com/settings/payment_methods",
    ),
    "payment_method_not_available": _e("the payment method's provider does not answer", _TRY_AGAIN),
    "processing_error": _e("the payment could not be processed", _TRY_AGAIN),
    "payment_intent_authentication_failure": _e(
        "the customer did not confirm the payment", "the customer has to pay in another way"
    ),
    "payment_method_invalid_parameter": _e("the payment method's details are not valid", "check {field} in {sync}"),
    "insufficient_funds": _e(
        "the customer has insufficient funds", "nothing is wrong with the row; run it again later"
    ),
}

_KEYS = {
    "api_key_expired": _e("the API key has expired", _NEW_KEY),
    "platform_api_key_expired": _e("the platform's API key has expired", _NEW_KEY),
    "secret_key_required": _e("a publishable key was sent where a secret one belongs", _NEW_KEY),
    "testmode_charges_only": _e(
        "the account is not activated for live money",
        "activate it at https://dashboard.stripe.com/account/onboarding, or use a test key",
    ),
    "account_invalid": _e(
        "the key may not act for this connected account",
        "check the account's id, and that the platform is still connected to it",
    ),
    "not_allowed_on_standard_account": _e(
        "a platform may not do this to an account of this type",
        "leave it to the account's owner",
    ),
    "tls_version_unsupported": _e("the connection's TLS is too old for Stripe", "update OpenSSL or the proxy"),
}

_TRAFFIC = {
    "rate_limit": _e(
        "Stripe received too many requests, even after waiting and slowing down",
        "lower `account_per_second` or `endpoint_per_second` in the project's settings, or raise `share_free` to leave "
        f"room for other traffic; then {_TRY_AGAIN}",
    ),
    "lock_timeout": _e(
        "another request was writing the same object for too long",
        f"see what else writes to these objects at the same time; then {_TRY_AGAIN}",
    ),
    "idempotency_key_in_use": _e(
        "Stripe was still processing the same request",
        _TRY_AGAIN,
    ),
    "request_blocked": _e(
        "Stripe has blocked this kind of request for now", "see https://dashboard.stripe.com for a notice"
    ),
}

# The codes of the event `v1.billing.meter.error_report_triggered` (docs.stripe.com/api/v2/core/events/event-types).
_NO_METER = _e(
    "no active meter has the event's name, so it wouldn't be counted",
    "create or activate the meter, put the sync of its meters into `after:` of {sync}, or correct `event_name`",
)
_USAGE = {
    "no_meter": _NO_METER,
    "archived_meter": _NO_METER,
    "meter_event_no_customer_defined": _e(
        "the event names no customer, so nobody would be billed for it",
        "map {field} to the customer's id, and make sure its column is never null",
    ),
    "meter_event_invalid_value": _e(
        "{field} of the event is not a number",
        "map it to a column of numbers, and filter rows without one out of the model",
    ),
    "meter_event_value_too_many_digits": _e(
        "{field} of the event has more than 15 significant digits",
        "round its column",
    ),
    "timestamp_too_far_in_past": _e(
        "{field} is more than 35 days in the past, and Stripe rejects such an event",
        "filter older rows out of the model: Stripe no longer accepts them",
    ),
    "timestamp_in_future": _e(
        "{field} is more than 5 minutes in the future, and Stripe rejects such an event",
        "send it later; a time without a zone counts as UTC",
    ),
}
BY_CODE = {**_PARAMETERS, **_OBJECTS, **_INVOICES, **_MONEY, **_TAX, **_PAYMENTS, **_KEYS, **_TRAFFIC, **_USAGE}

# One code can have several meanings, which Stripe's message distinguishes. The first text that a message contains
# decides.
NO_PAYMENT_METHOD = _e(
    "the customer has no payment method, and the subscription would charge one immediately",
    "map `collection_method: {value: send_invoice}` with `days_until_due`, or `payment_behavior: {value: "
    "default_incomplete}`, or a `default_payment_method`; docs/subscriptions.md says which",
)
OTHER_MODE = _e(
    "the object is in the account's other mode, and the key is of this one",
    "use a key of the mode in which the id in the column of {field} was created",
)
BY_MESSAGE = {
    "no attached payment source or default payment method": NO_PAYMENT_METHOD,
    "a similar object exists in": OTHER_MODE,
    "No such PaymentMethod": _e(
        "the payment method is not in this account, or not this customer's",
        "map one that is attached to the same customer, or leave {field} out of {sync}",
    ),
    "cannot combine currencies on a single customer": _e(
        "the customer is already billed in another currency, and Stripe allows one currency for each customer",
        "map a price in the customer's currency, or use a separate customer for it",
    ),
    "The price specified is inactive": _e(
        "the price is archived, so it can't be used for anything new",
        "map an active price; if a sync archived it, refer to that sync's row instead of the id",
    ),
    # "You passed an empty string for 'shipping'. We assume empty values are an attempt to unset a parameter; however
    # 'shipping' cannot be unset." (stripe/stripe-php#588)
    "cannot be unset": _e(
        "Stripe can't clear {field} of this {resource}",
        "give the column a value, or add `nulls: ignore` to the field to leave it unchanged",
    ),
    "already uses that lookup key": _e(
        "another price has this lookup key",
        "add `match: [lookup_key]` to {sync} to adopt it, or `transfer_lookup_key: {value: true}` to take its key",
    ),
    "must be a future": _e(
        "{field} is in the past, and Stripe requires a future time",
        "make its column null once the time has passed",
    ),
}
# What is missing if Stripe names a parameter of the resource itself.
MISSING_BY_PARAM = {
    "id": _e(
        "the object of this row is not in this account and mode",
        "if somebody deleted it in Stripe, `dbt-stripe-sync {forget}` lets the next run create "
        "it again; a key of the other mode needs that mode's dbt target",
    ),
    "default_payment_method": BY_MESSAGE["No such PaymentMethod"],
    "coupon": _e("there is no such coupon in this account and mode", "correct the id in the column of {field}"),
    "promotion_code": _e(
        "there is no such promotion code in this account and mode",
        "map the id that begins with `promo_`, not the code that customers type",
    ),
    "price": _e(
        "there is no such price in this account and mode",
        "map the id that begins with `price_`, or refer to the sync of your prices: `{sync: …, key: …}`",
    ),
}

# The parameter for the request's own object in its URL, and what it means if that object is missing.
OWN_ID = "id"
OWN_IS_MISSING = _e(
    "the row's object is no longer in this account and mode: somebody may have deleted it",
    "set `on_deleted: recreate` on {sync} to create a new one (`forget` leaves it deleted), or run "
    "`dbt-stripe-sync {forget}`",
)

# docs.stripe.com/api/errors lists the types. The gateway adds `permission` for a 403, `connection` for no answer,
# `not_sent` for a request that it did not send, and `redirect` and `not_stripe` for answers that are not Stripe's.
BY_TYPE = {
    "permission": _e(
        "the key lacks permission for this",
        "give the restricted key write access to this resource at https://dashboard.stripe.com/apikeys",
    ),
    "connection": _e(
        "Stripe didn't answer, so the change may have been made",
        "run it again: the next run finds out first, and nothing is created twice",
    ),
    "not_sent": _e(
        "data that it needs could not be read from Stripe, so it was not sent",
        _TRY_AGAIN,
    ),
    "not_stripe": _e(
        "something between this machine and Stripe answered in its place",
        "check the proxy and `--stripe-url`; the next run finds out what happened, and nothing is created twice",
    ),
    "redirect": _e(
        "something between this machine and Stripe redirected the request, and the redirect was not followed",
        "check the proxy and `--stripe-url`; the next run finds out what happened, and nothing is created twice",
    ),
    "idempotency_error": _e(
        "the idempotency key was used before with other parameters",
        "report this as a bug of dbt-stripe-sync, with the request's id",
    ),
    "card_error": _e(
        "the payment was refused", "nothing is wrong with the row; the customer has to pay in another way"
    ),
}
BY_STATUS = {
    401: _e("Stripe does not accept the key", _NEW_KEY),
    403: BY_TYPE["permission"],
    404: _OBJECTS["resource_missing"],
    409: _TRAFFIC["lock_timeout"],
    429: _TRAFFIC["rate_limit"],
}
SERVER = _e(
    "Stripe had an internal error, so the change may have been made",
    "run it again: the next run finds out first, and nothing is created twice; see https://status.stripe.com",
)
UNEXPLAINED = _e(
    "Stripe rejected the request",
    "Stripe's message says why; `dbt-stripe-sync report --show-values` shows the parameters that were sent",
)
