"""Errors that depend on several parameters or objects, one request each."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
import stripe
from rule_examples import NOW, form

from dbt_stripe_sync.sandbox import Sandbox

MONTH = {"interval": "month"}
REFUSALS = {
    "checking._parser": ("products", {"name": ""}, "empty string"),
    "checking._map_parser": ("customers", {"metadata": "x"}, "Invalid object"),
    "checking._boolean": ("products", {"name": "x", "active": "maybe"}, "Invalid boolean"),
    "checking._number": ("tax_rates", {"display_name": "x", "inclusive": True, "percentage": "x"}, "Invalid decimal"),
    "forms._put": ("customers", "address=x&address[city]=y", "both a value and an object"),
    "listing._serial": ("GET customers", {"starting_after": "cus_none"}, "No such customer"),
    "listing._page_start": ("GET customers/search", {"query": "email:'a'", "page": "zz"}, "Invalid page token"),
    "search.parse_query": ("GET customers/search", {"query": "email>'a'"}, "unable to parse"),
    "expanding.read_expand": ("GET customers", {"expand": ["data.a.b.c.d"]}, "more than 4 levels"),
    "expanding.check_expand": ("GET customers/{customer}", {"expand": ["email"]}, "cannot be expanded (email)"),
    "merging.merge_metadata": ("customers/{full}", {"metadata": {"one_more": "v"}}, "up to 50 metadata keys"),
    "amounts.in_currency": (
        "invoiceitems",
        {"customer": "{fresh}", "pricing": {"price": "{once}"}, "currency": "eur"},
        "only supports `usd`",
    ),
    "catalog._update_product": ("products/{other_product}", {"default_price": "{price}"}, "does not belong"),
    "clocks._create": ("test_helpers/test_clocks", {}, "frozen_time"),
    "clocks._advance": ("test_helpers/test_clocks/{clock}/advance", {"frozen_time": 1}, "must be after"),
    "credit_notes._lines": (
        "credit_notes",
        {"invoice": "{paid}", "lines": [{"type": "invoice_line_item", "invoice_line_item": "il_none", "quantity": 1}]},
        "No such invoice line item",
    ),
    "credit_notes._create": (
        "credit_notes",
        {"invoice": "{paid}", "amount": 100, "credit_amount": 10, "out_of_band_amount": 10},
        "The sum of credit amount",
    ),
    "credit_notes._void": ("credit_notes/{note}/void", {}, "whose invoice is open"),
    "customers._create_balance_transaction": (
        "customers/{customer}/balance_transactions",
        {"amount": 5, "currency": "eur"},
        "cannot combine currencies",
    ),
    "discounts._apply": (
        "subscriptions",
        {"customer": "{customer}", "items": [{"price": "{price}"}], "discounts": [{"coupon": "{used_up}"}]},
        "Coupon expired",
    ),
    "invoice_items._price": (
        "invoiceitems",
        {"customer": "{customer}", "pricing": {"price": "{price}"}},
        "`type=recurring`",
    ),
    "invoices._send": ("invoices/{draft}/send", {}, "manually send"),
    "invoices._change_lines": ("invoices/{paid}/add_lines", {"lines": [{"amount": 5}]}, "no longer editable"),
    "invoices._add_line": ("invoices/{draft}/add_lines", {"lines": [{"invoice_item": "{item}"}]}, "already attached"),
    "invoices._line": (
        "invoices/{draft}/remove_lines",
        {"lines": [{"id": "il_none", "behavior": "delete"}]},
        "No such line item",
    ),
    "metering._deactivate": ("billing/meters/{inactive_meter}/deactivate", {}, "already inactive"),
    "metering._summaries": (
        "GET billing/meters/{inactive_meter}/event_summaries",
        {"customer": "{customer}", "start_time": 61, "end_time": 120},
        "aligned with minute boundaries",
    ),
    "metering._update_grant": ("billing/credit_grants/{voided}", {"expires_at": NOW + 10**6}, "voided"),
    "metering._expire_grant": ("billing/credit_grants/{voided}/expire", {}, "expired or voided"),
    "invoice_items._update": ("invoiceitems/{proration}", {"discountable": True}, "proration"),
    "offers.check_mode": (
        "payment_links",
        {"line_items": [{"price": "{once}", "quantity": 1}], "application_fee_percent": 5},
        "at least one line item with a recurring price",
    ),
    "payment_links._create": (
        "payment_links",
        {"line_items": [{"price": "{once}", "quantity": 1}, {"price": "{once_in_euro}", "quantity": 1}]},
        "same currency",
    ),
    "phases._build_item": (
        "subscription_schedules",
        {
            "customer": "{customer}",
            "start_date": "now",
            "phases": [{"items": [{"price": "{metered_price}", "quantity": 2}]}],
        },
        "metered price",
    ),
    "prices._update_price": ("prices/{default_price}", {"active": False}, "default price of its product"),
    "quotes._total": ("quotes", {"line_items": [{"price": "{once}"}, {"price": "{once_in_euro}"}]}, "same currency"),
    "quotes._finalize": ("quotes/{empty_quote}/finalize", {}, "before it can be finalized"),
    "schedules._adopt": (
        "subscription_schedules",
        {"from_subscription": "{scheduled}"},
        "already attached to a schedule",
    ),
    "subscription_changes._check_unmanaged": (
        "subscriptions/{scheduled}",
        {"cancel_at_period_end": True},
        "managed by the subscription schedule",
    ),
    "subscription_items.put_items": (
        "subscriptions/{subscription}",
        {"items": [{"id": "{other_item}", "quantity": 2}]},
        "does not belong to this subscription",
    ),
    "subscription_items.add_item": (
        "subscription_items",
        {"subscription": "{subscription}", "price": "{metered_price}", "quantity": 2},
        "metered price",
    ),
    "subscription_items.change_item": ("subscription_items/{metered_item}", {"quantity": 2}, "metered price"),
    "subscriptions._check_pausable": (
        "subscriptions/{scheduled}/pause",
        {"type": "subscription"},
        "attached schedule",
    ),
    "subscriptions._pause": ("subscriptions/{canceled}/pause", {"type": "subscription"}, "can be paused"),
    "subscriptions._resume": ("subscriptions/{subscription}/resume", {}, "Only paused"),
    "subscriptions._delete_discount": ("DELETE subscriptions/{subscription}/discount", {}, "No active discount"),
}


@pytest.fixture(scope="module")
def shop():
    """A sandbox, and the ids of its objects."""
    with Sandbox() as sandbox:
        api = stripe.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url}).v1
        yield sandbox, {**_catalog(api), **_customers(api), **_billing(api), **_usage(api)}


def _catalog(api):
    api.products.create({"id": "product", "name": "Desk"})
    api.products.create({"id": "other_product", "name": "Chair"})
    given = {"product": "product", "unit_amount": 1000}
    ids = {"product": "product", "other_product": "other_product"}
    ids["price"] = api.prices.create({**given, "currency": "usd", "recurring": MONTH, "lookup_key": "price"}).id
    api.prices.create({**given, "currency": "usd", "recurring": MONTH, "lookup_key": "second"})
    ids["once"] = api.prices.create({**given, "currency": "usd", "lookup_key": "once"}).id
    ids["once_in_euro"] = api.prices.create({**given, "currency": "eur"}).id
    described = {"currency": "usd", "unit_amount": 1000}
    ids["default_price"] = api.products.create({"name": "Lamp", "default_price_data": described}).default_price
    ids["percent"] = api.coupons.create({"percent_off": 10}).id
    ids["used_up"] = api.coupons.create({"percent_off": 10, "max_redemptions": 1}).id
    return ids


def _customers(api):
    ids = {"full": api.customers.create({"metadata": {f"k{n}": "v" for n in range(50)}}).id}
    ids["fresh"] = api.customers.create().id
    ids["customer"] = api.customers.create({"name": "The one"}).id
    ids["clock"] = api.test_helpers.test_clocks.create({"frozen_time": NOW}).id
    api.customers.balance_transactions.create(ids["customer"], {"amount": 5, "currency": "usd"})
    return ids


def _price(api, key):
    return api.prices.list({"lookup_keys": [key]}).data[0].id


def _billing(api):
    customer = api.customers.list({"limit": 1}).data[0].id
    price = _price(api, "price")
    coupon = next(c.id for c in api.coupons.list().data if c.max_redemptions)
    subscribe = {"customer": customer, "items": [{"price": price}]}
    ids = {"subscription": api.subscriptions.create(subscribe).id}
    other = api.subscriptions.create({**subscribe, "discounts": [{"coupon": coupon}]})
    ids["other_item"] = other["items"].data[0].id
    ids["scheduled"] = other.id
    api.subscription_items.create({"subscription": ids["subscription"], "price": _price(api, "second")})
    pending = api.invoice_items.list({"customer": customer, "pending": True})
    ids["proration"] = next(item.id for item in pending.data if item.proration)
    api.subscription_schedules.create({"from_subscription": other.id})
    ids["canceled"] = api.subscriptions.cancel(api.subscriptions.create(subscribe).id).id
    ids["empty_quote"] = api.quotes.create({"customer": customer}).id
    for name in ("draft", "paid"):
        ids[name] = api.invoices.create({"customer": customer}).id
        charge = {"customer": customer, "invoice": ids[name], "amount": 500, "currency": "usd"}
        ids["item"] = api.invoice_items.create(charge).id
    api.invoices.pay(api.invoices.finalize_invoice(ids["paid"]).id)
    ids["note"] = api.credit_notes.create({"invoice": ids["paid"], "amount": 10, "credit_amount": 10}).id
    return ids


def _usage(api):
    customer = api.customers.list({"limit": 1}).data[0].id
    counted = {"display_name": "Calls", "default_aggregation": {"formula": "sum"}}
    meter = api.billing.meters.create({**counted, "event_name": "calls"}).id
    ids = {"inactive_meter": api.billing.meters.create({**counted, "event_name": "old"}).id}
    api.billing.meters.deactivate(ids["inactive_meter"])
    metered = {**MONTH, "usage_type": "metered", "meter": meter}
    new = {"product": "product", "currency": "usd", "unit_amount": 1, "recurring": metered}
    price, ids["metered_price"] = api.prices.create(new).id, api.prices.create(new).id
    ids["metered_item"] = (
        api.subscriptions.create({"customer": customer, "items": [{"price": price}]})["items"].data[0].id
    )
    amount = {"type": "monetary", "monetary": {"currency": "usd", "value": 100}}
    scope = {"scope": {"price_type": "metered"}}
    granted = {"customer": customer, "amount": amount, "applicability_config": scope, "category": "paid"}
    ids["voided"] = api.billing.credit_grants.create(granted).id
    api.billing.credit_grants.void_grant(ids["voided"])
    return ids


def _filled(value, ids):
    if isinstance(value, dict):
        return {name: _filled(inner, ids) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, ids) for inner in value]
    return value.format(**ids) if isinstance(value, str) and "{" in value else value


@pytest.mark.parametrize("ground", REFUSALS)
def test_the_sandbox_rejects_what_stripe_rejects(shop, ground):
    sandbox, ids = shop
    path, params, words = REFUSALS[ground]
    method, _, path = path.rpartition(" ")
    data = params if isinstance(params, str) else form(_filled(params, ids))
    url = f"{sandbox.url}/v1/{_filled(path, ids)}"
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}?{data}" if method == "GET" else url,
        None if method else data.encode(),
        headers={"Authorization": f"Bearer {sandbox.api_key}"},
        method=method or "POST",
    )
    with pytest.raises(urllib.error.HTTPError) as caught, urllib.request.urlopen(request):  # noqa: S310 - loopback
        pass
    with caught.value as answer:
        error = json.loads(answer.read())["error"]
    assert words in error["message"], error
    assert 400 <= answer.code < 500
