"""Why the sandbox rejects requests: the source of each function that raises, and whether plans find the error.

The rules on single values are separate data (`stripe_api.rules`). These depend on several parameters or objects. The
test of docs/stripe-rules.md finds the functions and their messages in the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_ERRORS = "docs.stripe.com/error-codes"
_API = "docs.stripe.com/api"
_SDK = "the SDK's description of"
_REQUIRED = f"{_ERRORS}#parameter-missing"

GROUNDS: Mapping[str, str | None] = {
    # ── any request ──────────────────────────────────────────────────────────────────────────────────────────────
    "checking._fields": f"{_ERRORS}#parameter-unknown; {_ERRORS}#parameter-missing",
    "checking._parser": f"{_ERRORS}#parameter-invalid-empty",
    "checking._enum_parser": "Stripe's OpenAPI specification (`enum`)",
    "checking._hash_parser": "Stripe's OpenAPI specification (`type`)",
    "checking._list_parser": "Stripe's OpenAPI specification (`type`)",
    "checking._map_parser": "Stripe's OpenAPI specification (`type`)",
    "checking._string": "Stripe's OpenAPI specification (`type`)",
    "checking._integer": f"{_ERRORS}#parameter-invalid-integer",
    "checking._boolean": "Stripe's OpenAPI specification (`type`)",
    "checking._number": "Stripe's OpenAPI specification (`type`)",
    "expanding.read_expand": f"{_API}/expanding_objects",
    "expanding.check_expand": f"{_API}/expanding_objects",
    "family.own_id": f"{_ERRORS}#resource-already-exists",
    "forms._put": None,
    "idempotency.begin": f"{_API}/idempotent_requests",
    "listing.list_objects": f"{_API}/pagination; {_SDK} the list's `ids`",
    "listing.read_limit": f"{_API}/pagination",
    "listing._serial": f"{_API}/pagination",
    "listing._page_start": None,
    "merging.merge_metadata": f"{_API}/metadata",
    "rates.enter": "docs.stripe.com/rate-limits",
    "routes.find": f"{_API}/errors",
    "search.parse_query": "docs.stripe.com/search#search-query-language",
    "search._clause": "docs.stripe.com/search#supported-query-fields",
    "service.authenticate": f"{_API}/authentication",
    "service._place_of_session": f"{_API}/v2/billing-meter-stream",
    "strictness.enforce_rules": "each rule for a parameter",
    "v2.parse_body": "docs.stripe.com/api-v2-overview",
    "v2.parse_time": "docs.stripe.com/api-v2-overview",
    "work.get": f"{_ERRORS}#resource-missing",
    "work._own": f"{_ERRORS}#resource-missing",
    # ── accounts, customers and what they have ───────────────────────────────────────────────────────────────────
    "account._retrieve": f"{_ERRORS}#account-invalid",
    "customers._create_balance_transaction": "docs.stripe.com/billing/customer/balance",
    "limits.check_frozen": "the rules for statuses",
    "limits.check_set_once": f"{_SDK} `tax_behavior`",
    "limits.check_currency": "github.com/Automattic/woocommerce-payments/issues/7732, which quotes Stripe",
    "limits.check_subscription_count": f"{_API}/subscriptions/create; {_ERRORS}#customer-max-subscriptions",
    "limits.check_invoice_room": "docs.stripe.com/changelog/2016-02-22/no-more-than-250-invoice-items",
    "limits.check_payment_method": f"{_SDK} `default_payment_method`; {_ERRORS}#resource-missing",
    "limits.check_chargeable": "github.com/stripe/stripe-java/issues/1612, which quotes Stripe",
    # ── the catalog ────────────────────────────────────────────────────────────────────────────────────────────
    "amounts.in_currency": f"{_API}/prices/create#create_price-currency_options",
    "catalog._update_product": None,
    "catalog._delete_product": f"{_API}/products/delete",
    "catalog._attach_feature": f"{_SDK} a feature's `active`; {_API}/product-feature",
    "catalog._create_feature": f"{_SDK} a feature's `lookup_key`",
    "coupons._create_promotion_code": f"{_SDK} `code`; {_ERRORS}#coupon-expired",
    "coupons._check_within": f"{_SDK} `expires_at` and `max_redemptions`",
    "coupons._update_promotion_code": f"{_SDK} `active`: can only be reactivated when the coupon is still valid",
    "discounts._apply": f"{_ERRORS}#coupon-expired",
    "offers.check_mode": f"{_SDK} each of these parameters",
    "offers._build": f"{_REQUIRED}; for the price's `active`: {_API}/prices/update",
    "payment_links._create": f"{_SDK} `currency`",
    "phases._build_item": f"{_SDK} `phases[].items[].quantity`",
    "plans._product": f"{_API}/plans/create",
    "prices._product_of": f"{_API}/prices/create",
    "prices._take_lookup_key": "docs.stripe.com/products-prices/manage-prices#lookup-keys",
    "prices._update_price": "docs.stripe.com/products-prices/manage-prices#archive-price",
    "rates.read_rates": f"{_SDK} a tax rate's `active`",
    # ── subscriptions ────────────────────────────────────────────────────────────────────────────────────────────
    "cycles.collect_first": f"{_SDK} `payment_behavior`: error_if_incomplete",
    "schedules._adopt": None,
    "schedules._check_anchor": f"{_SDK} `phases`; github.com/tierrun/tier/issues/297",
    "schedules._check_live": f"{_API}/subscription_schedules/cancel; {_API}/subscription_schedules/release",
    "subscription_changes._check_anchor": "github.com/stripe/stripe-java/issues/454, which quotes Stripe",
    "subscription_changes._check_unmanaged": "github.com/dust-tt/dust/issues/32051, which quotes Stripe",
    "subscription_items.price_for": f"{_API}/subscriptions/create; for the price's `active`: {_API}/prices/update",
    "subscription_items.put_items": f"{_API}/subscriptions/update#update_subscription-items",
    "subscription_items.add_item": f"{_REQUIRED}; {_SDK} `quantity`",
    "subscription_items.change_item": f"{_SDK} `quantity`",
    "subscription_items.check_items": "docs.stripe.com/changelog/dahlia/2026-08-26/flexible-subscription-item-limits; "
    "docs.stripe.com/billing/subscriptions/mixed-interval",
    "subscriptions._cancel": f"{_API}/subscriptions/cancel",
    "subscriptions._check_pausable": f"{_SDK} `pause`; docs.stripe.com/changelog/endive/2026-09-30/pause-subscription",
    "subscriptions._pause": None,
    "subscriptions._resume": f"{_API}/subscriptions/resume; {_SDK} `resume`: only charge_automatically",
    "subscriptions._delete_discount": f"{_ERRORS}#resource-missing",
    # ── invoices, quotes and credit notes ────────────────────────────────────────────────────────────────────────
    "credit_notes._build": f"{_API}/credit_notes/create",
    "credit_notes._lines": f"{_ERRORS}#resource-missing; {_SDK} `lines[].type`",
    "credit_notes._create": f"{_API}/credit_notes/create",
    "credit_notes._void": f"{_API}/credit_notes/void",
    "invoice_items._price": f"{_API}/invoiceitems/create",
    "invoice_items._create": f"{_API}/invoiceitems/create",
    "invoice_items._update": f"{_SDK} `discountable`: Cannot be set to true for prorations",
    "invoice_items._check_editable": f"{_ERRORS}#invoice-not-editable",
    "invoice_payment.finalize": f"{_ERRORS}#invoice-not-editable",
    "invoices._delete": f"{_API}/invoices/delete",
    "invoices._pay": f"{_API}/invoices/pay; docs.stripe.com/declines",
    "invoices._void": f"{_API}/invoices/void",
    "invoices._mark_uncollectible": f"{_API}/invoices/mark_uncollectible",
    "invoices._send": f"{_API}/invoices/send",
    "invoices._change_lines": f"{_ERRORS}#invoice-not-editable",
    "invoices._add_line": f"{_API}/invoices/add_lines",
    "invoices._line": f"{_ERRORS}#resource-missing",
    "previews._customer": f"{_API}/invoices/create_preview",
    "quotes._total": None,
    "quotes._update": f"{_SDK} `customer`: Once specified, it cannot be changed.",
    "quotes._finalize": "docs.stripe.com/quotes/overview",
    "quotes._check": "docs.stripe.com/quotes/overview",
    # ── webhook endpoints ────────────────────────────────────────────────────────────────────────────────────────
    "webhooks._check_url": "github.com/stripe/stripe-connect-custom-rocketdeliveries/issues/10, which quotes Stripe",
    # ── usage and test clocks ────────────────────────────────────────────────────────────────────────────────────
    "clocks._create": _REQUIRED,
    "clocks._advance": f"{_API}/test_clocks/advance",
    "metering._create_meter": f"{_API}/billing/meter/create",
    "metering._deactivate": f"{_API}/billing/meter/deactivate",
    "metering._reactivate": f"{_API}/billing/meter/reactivate",
    "metering.count_event": f"{_API}/billing/meter-event/create",
    "metering._check_payload": "docs.stripe.com/changelog/dahlia/2026-04-22/billing-meter-event-values-validation",
    "metering._update_grant": None,
    "metering._expire_grant": None,
    "metering._void_grant": None,
    "metering._summaries": f"{_SDK} the list's `start_time` and `end_time`",
    "metering._adjust": f"{_SDK} `cancel.identifier`",
    "streaming._take_events": f"{_API}/v2/billing/meter-event-stream/create",
    "streaming._with_moment": f"{_API}/v2/billing/meter-event-stream/create",
}

_TYPES = "yes, by the types in the SDK"
_TABLE = "yes, by the rules for parameters"
_AMONG_ROWS = "yes, among the rows of a plan; not for objects that have ended"
_STATUS_READ = "yes: the plan reads the status before each step that a sync can take"
# These depend on the account: on objects that a row names by id, or on what others change between plan and call.
_PRICE = "yes, for up to 1,000 prices: whether they are active and of the right kind, not whether an id exists"
_OTHER_OBJECT = "no: it depends on the state of another object when the call is made"
_NOT_SENT = "not needed: no sync sends such a request"
# Whether a plan finds each error, or why it can't: by module, and by function where that differs. Errors that depend
# only on the request are rules in `rules/` instead, which both the sandbox and plans check.
_FORESEEN: Mapping[str, str] = {
    "checking": _TYPES,
    "expanding": _NOT_SENT,
    "family": "yes: the plan finds and adopts the object, or rejects the row",
    "forms": _NOT_SENT,
    "idempotency": _NOT_SENT,
    "listing": _NOT_SENT,
    "merging": "partly: the 50 keys of a row are checked, but not keys that others added",
    "rates": "no: requests are paced instead",
    "rates.read_rates": _OTHER_OBJECT,
    "routes": _NOT_SENT,
    "search": _NOT_SENT,
    "service": "no: it depends on the key; `debug` checks it",
    "strictness": _TABLE,
    "streaming": _TYPES,
    "v2": _NOT_SENT,
    "work": "partly: references to rows are resolved, but an id in a column isn't looked up",
    "account": _NOT_SENT,
    "amounts": _OTHER_OBJECT,
    "catalog": _OTHER_OBJECT,
    "catalog._delete_product": "yes: the plan lists the product's prices",
    "clocks": _NOT_SENT,
    "coupons": _OTHER_OBJECT,
    "credit_notes": _OTHER_OBJECT,
    "customers": _OTHER_OBJECT,
    "cycles": "no: a card can be declined only when it is charged",
    "discounts": _OTHER_OBJECT,
    "invoice_items": _OTHER_OBJECT,
    "invoice_items._price": _PRICE,
    "invoice_items._check_editable": "partly: for a change, by the rules for statuses; not for a new item on "
    "an existing invoice",
    "invoice_payment": _STATUS_READ,
    "invoices": _STATUS_READ,
    "limits.check_chargeable": "no: whether a customer can be charged is known only when it is tried",
    "limits.check_currency": _AMONG_ROWS,
    "limits.check_frozen": "yes, by the rules for statuses",
    "limits.check_set_once": "yes: the plan knows that this parameter is fixed",
    "limits.check_invoice_room": "yes, for items that syncs write",
    "limits.check_payment_method": _OTHER_OBJECT,
    "limits.check_subscription_count": _AMONG_ROWS,
    "metering": _OTHER_OBJECT,
    "offers": _PRICE,
    "offers.check_mode": _PRICE,
    "payment_links": "yes, for up to 1,000 prices: their currencies",
    "phases": _PRICE,
    "plans": _OTHER_OBJECT,
    "previews": _NOT_SENT,
    "prices._product_of": _OTHER_OBJECT,
    "prices._take_lookup_key": "yes: the key is taken over, or the message names its holder",
    "prices._update_price": "yes: the plan reads default prices",
    "quotes": _STATUS_READ,
    "quotes._finalize": "yes: the plan requires the customer, and reads the status",
    "quotes._total": _OTHER_OBJECT,
    "quotes._update": "yes: the plan knows that this parameter is fixed",
    "schedules": _STATUS_READ,
    "schedules._adopt": _OTHER_OBJECT,
    "schedules._check_anchor": "yes: the plan reads the anchor",
    "subscription_changes._check_anchor": "yes, if the plan knows the price",
    "subscription_changes._check_unmanaged": "yes: the plan knows which resource manages the subscription",
    "subscription_items": _OTHER_OBJECT,
    "subscription_items.add_item": _PRICE,
    "subscription_items.change_item": _PRICE,
    "subscription_items.price_for": _PRICE,
    "subscription_items.put_items": "yes: the plan reads the items with their subscription",
    "subscription_items.check_items": "partly: the rules for parameters, and the currencies of the prices",
    "subscriptions": _STATUS_READ,
    "subscriptions._check_pausable": _NOT_SENT,
    "webhooks": "partly: a plan checks that it is a URL, but not the mode",
}


def foreseen(name: str) -> str:
    """Return whether a plan finds an error, or why it can't. Raises `KeyError` for an unknown function."""
    return _FORESEEN.get(name) or _FORESEEN[name.partition(".")[0]]
