"""Requests that Stripe rejects because of existing objects."""

from __future__ import annotations

import pytest
import stripe
from frozen_objects import FROZEN_CASES, make_in_status

from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.sandbox.objects import limits
from dbt_stripe_sync.stripe_api.rules.counts import SUBSCRIPTION_ITEMS

DAY = 86_400
MONTH = {"interval": "month"}


def refused(call, *args):
    with pytest.raises(stripe.StripeError) as caught:
        call(*args)
    return caught.value


@pytest.fixture
def customer(api):
    return api.customers.create({"email": "a@example.com"}).id


@pytest.fixture
def product(api):
    return api.products.create({"name": "Desk"}).id


@pytest.fixture
def price(api, product):
    def make(amount=1000, currency="usd", **params):
        given = {"product": product, "currency": currency, "unit_amount": amount, "recurring": MONTH, **params}
        return api.prices.create(given).id

    return make


@pytest.fixture
def subscribe(api, customer, price):
    def make(**params):
        return api.subscriptions.create({"customer": customer, "items": [{"price": price()}], **params})

    return make


# ── statuses ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("resource", "status", "rule", "change"), FROZEN_CASES)
def test_fields_that_a_status_freezes_cannot_be_changed(api, sandbox, resource, status, rule, change):
    object_id = make_in_status(api, sandbox, resource, status)
    service = getattr(api, f"{resource}s")
    error = refused(service.update, object_id, change)
    assert (error.http_status, error.code, error.param) == (400, rule.code, next(iter(change)))
    if "metadata" in rule.fixed.but:
        assert service.update(object_id, {"metadata": {"k": "v"}}).metadata["k"] == "v"


# ── currencies ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_customer_has_subscriptions_and_pending_items_in_one_currency(api, customer, price, subscribe):
    first = subscribe()
    euros = {"customer": customer, "items": [{"price": price(currency="eur")}]}
    assert "currency usd" in str(refused(api.subscriptions.create, euros))
    item = {"customer": customer, "amount": 100, "currency": "eur"}
    assert "currency usd" in str(refused(api.invoice_items.create, item))
    schedule = {"customer": customer, "start_date": "now", "phases": [{"items": euros["items"]}]}
    assert "currency usd" in str(refused(api.subscription_schedules.create, schedule))

    api.subscriptions.cancel(first.id)

    assert api.subscriptions.create(euros).currency == "eur"


def test_an_open_quote_fixes_its_customers_currency(api, customer, price):
    quote = api.quotes.create({"customer": customer, "line_items": [{"price": price(currency="eur")}]}).id
    api.quotes.finalize_quote(quote)
    assert "currency eur" in str(
        refused(api.subscriptions.create, {"customer": customer, "items": [{"price": price()}]})
    )


def test_a_prices_own_currency_is_not_allowed_in_its_currency_options(api, price):
    error = refused(api.prices.update, price(), {"currency_options": {"usd": {"unit_amount": 5}}})
    assert error.param == "currency_options[usd]"
    assert "matches the top-level currency" in str(error)


# ── payment methods ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("pm_1NotThere000000000000000", "No such PaymentMethod"),
        (None, "must be attached to the customer"),
    ],
)
def test_a_default_payment_method_must_belong_to_the_customer(api, customer, price, method, says):
    method = method or api.payment_methods.create({"type": "card"}).id
    settings = {"invoice_settings": {"default_payment_method": method}}
    subscription = {"customer": customer, "items": [{"price": price()}], "default_payment_method": method}
    phases = [{"items": [{"price": price()}], "default_payment_method": method}]
    schedule = {"customer": customer, "start_date": "now", "phases": phases}
    for call in (
        lambda: api.customers.update(customer, settings),
        lambda: api.subscriptions.create(subscription),
        lambda: api.subscription_schedules.create(schedule),
        lambda: api.invoices.create({"customer": customer, "default_payment_method": method}),
    ):
        error = refused(call)
        assert (error.http_status, error.code) == (400, "resource_missing")
        assert says in str(error)


def test_an_attached_payment_method_can_be_the_default(api, customer):
    method = api.payment_methods.create({"type": "card"}).id
    api.payment_methods.attach(method, {"customer": customer})
    changed = api.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})
    assert changed.invoice_settings.default_payment_method == method
    new = {"payment_method": method, "invoice_settings": {"default_payment_method": method}}
    assert api.customers.create(new).invoice_settings.default_payment_method == method


def test_a_sandbox_can_require_payment_methods_as_stripe_does(clock, client_of):
    with Sandbox(clock=clock, require_payment_methods=True) as strict:
        api = client_of(strict).v1
        product = api.products.create({"name": "Desk"}).id
        monthly = {"product": product, "currency": "usd", "recurring": MONTH}
        price = api.prices.create({**monthly, "unit_amount": 1000}).id
        free = api.prices.create({**monthly, "unit_amount": 0}).id
        customer = api.customers.create({"email": "a@example.com"}).id
        given = {"customer": customer, "items": [{"price": price}]}
        error = refused(api.subscriptions.create, given)
        assert (error.http_status, error.code, error.param) == (400, "resource_missing", None)
        assert "no attached payment source or default payment method" in str(error)
        assert api.subscriptions.create({**given, "payment_behavior": "default_incomplete"}).status == "incomplete"
        assert api.subscriptions.create({**given, "collection_method": "send_invoice", "days_until_due": 7}).id
        assert api.subscriptions.create({**given, "trial_period_days": 7}).status == "trialing"
        assert api.subscriptions.create({**given, "items": [{"price": free}]}).status == "active"
        assert api.subscriptions.create({**given, "default_payment_method": "pm_card_visa"}).status == "active"


# ── how many, and when ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", sorted(SUBSCRIPTION_ITEMS))
def test_a_subscription_has_as_many_items_as_its_billing_mode_allows(api, subscribe, price, mode):
    most = SUBSCRIPTION_ITEMS[mode]
    held = subscribe(billing_mode={"type": mode}, items=[{"price": price()} for _ in range(most)])
    error = refused(api.subscription_items.create, {"subscription": held.id, "price": price()})
    assert str(most) in str(error)


def test_a_customer_has_up_to_500_subscriptions(api, subscribe, price, customer, monkeypatch):
    assert limits.MOST_SUBSCRIPTIONS == 500
    monkeypatch.setattr(limits, "MOST_SUBSCRIPTIONS", 3)
    shared = [{"price": price()}]
    for _ in range(3):
        subscribe(items=shared)
    assert (
        refused(api.subscriptions.create, {"customer": customer, "items": shared}).code == "customer_max_subscriptions"
    )


def test_an_invoice_holds_up_to_250_items_and_leaves_the_rest_pending(api, customer):
    item = {"customer": customer, "amount": 100, "currency": "usd"}
    for _ in range(251):
        api.invoice_items.create(item)
    invoice = api.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include"}).id
    assert "250" in str(refused(api.invoice_items.create, {**item, "invoice": invoice}))
    assert "250" in str(refused(api.invoices.add_lines, invoice, {"lines": [{"amount": 5}]}))
    pending = api.invoice_items.list({"customer": customer, "pending": True, "limit": 100})
    assert len(pending.data) == 1


def test_a_billing_anchor_must_be_within_the_first_period(subscribe, clock):
    now = int(clock.seconds)
    error = refused(lambda: subscribe(billing_cycle_anchor=now + 90 * DAY))
    assert error.param == "billing_cycle_anchor"
    assert "next natural billing date" in str(error)
    assert subscribe(billing_cycle_anchor=now + 20 * DAY).billing_cycle_anchor == now + 20 * DAY
    after_trial = subscribe(trial_period_days=60, billing_cycle_anchor=now + 80 * DAY)
    assert after_trial.status == "trialing"


def test_times_follow_the_customers_test_clock(api, price, clock):
    later = int(clock.seconds) + 400 * DAY
    test_clock = api.test_helpers.test_clocks.create({"frozen_time": later}).id
    customer = api.customers.create({"test_clock": test_clock}).id
    given = {"customer": customer, "items": [{"price": price()}]}
    assert (
        refused(api.subscriptions.create, {**given, "billing_cycle_anchor": later - DAY}).param
        == "billing_cycle_anchor"
    )
    assert api.subscriptions.create({**given, "backdate_start_date": later - DAY}).start_date == later - DAY


# ── what lists hide ──────────────────────────────────────────────────────────────────────────────────────────────


def test_lists_omit_objects_of_a_test_clock(api, price, clock):
    test_clock = api.test_helpers.test_clocks.create({"frozen_time": int(clock.seconds)}).id
    customer = api.customers.create({"test_clock": test_clock}).id
    items = [{"price": price()}]
    api.subscriptions.create({"customer": customer, "items": items})
    api.quotes.create({"customer": customer, "line_items": items})
    api.subscription_schedules.create({"customer": customer, "start_date": "now", "phases": [{"items": items}]})
    for service in (api.customers, api.subscriptions, api.quotes):
        assert not service.list().data
        assert service.list({"test_clock": test_clock}).data
    for service in (api.subscriptions, api.quotes, api.subscription_schedules):
        assert not service.list().data
        assert service.list({"customer": customer}).data


def test_canceled_subscriptions_are_listed_only_if_asked_for(api, subscribe):
    live, gone = subscribe(), subscribe()
    api.subscriptions.cancel(gone.id)
    listed = {status: {s.id for s in api.subscriptions.list({"status": status}).data} for status in ("all", "canceled")}
    assert {s.id for s in api.subscriptions.list().data} == {live.id}
    assert listed == {"all": {live.id, gone.id}, "canceled": {gone.id}}


def test_lists_filter_by_active_and_by_ten_lookup_keys(api, price):
    active, archived = price(lookup_key="a"), price(lookup_key="b")
    api.prices.update(archived, {"active": False})
    assert {p.id for p in api.prices.list({"active": True}).data} == {active}
    assert {p.id for p in api.prices.list({"active": False}).data} == {archived}
    assert len(api.prices.list({"lookup_keys": ["a", "b", *map(str, range(8))]}).data) == 2
    assert refused(api.prices.list, {"lookup_keys": [str(n) for n in range(11)]}).param == "lookup_keys"


def test_an_archived_feature_is_neither_listed_nor_attached(api, product):
    feature = api.entitlements.features.create({"name": "Export", "lookup_key": "export"}).id
    api.entitlements.features.update(feature, {"active": False})
    assert not api.entitlements.features.list().data
    assert api.entitlements.features.list({"archived": True}).data
    assert refused(api.products.features.create, product, {"entitlement_feature": feature})


def test_a_list_of_products_by_id_cannot_be_paged(api, product):
    assert refused(api.products.list, {"ids": [product], "starting_after": product}).param == "ids"


def test_a_promotion_code_is_found_in_any_case(api):
    coupon = api.coupons.create({"percent_off": 10}).id
    code = api.promotion_codes.create({"code": "SPRING", "promotion": {"type": "coupon", "coupon": coupon}}).id
    assert [c.id for c in api.promotion_codes.list({"code": "spring"}).data] == [code]


# ── quotes, schedules, promotion codes ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["draft", "open"])
def test_a_quote_expires_whether_it_is_finalized_or_not(api, customer, price, sandbox, status):
    quote = api.quotes.create({"customer": customer, "line_items": [{"price": price()}]}).id
    if status == "open":
        api.quotes.finalize_quote(quote)
    sandbox.advance(31 * DAY)
    assert api.quotes.retrieve(quote).status == "canceled"
    assert "draft" in str(refused(api.quotes.finalize_quote, quote))


def test_a_quote_keeps_its_customer(api, customer, price):
    quote = api.quotes.create({"line_items": [{"price": price()}]}).id
    assert api.quotes.update(quote, {"customer": customer}).customer == customer
    other = api.customers.create().id
    assert refused(api.quotes.update, quote, {"customer": other}).param == "customer"


def test_updating_a_schedules_phases_needs_an_anchor(api, customer, price):
    phase = {"items": [{"price": price()}]}
    schedule = api.subscription_schedules.create({"customer": customer, "start_date": "now", "phases": [phase]})
    begun = schedule.phases[0].start_date
    update = api.subscription_schedules.update
    changed = {**phase, "items": [{"price": price(2000)}]}
    error = refused(update, schedule.id, {"phases": [changed]})
    assert "missing at least one phase with a `start_date` to anchor end dates to" in str(error)
    moved = refused(update, schedule.id, {"phases": [{**changed, "start_date": begun + DAY}]})
    assert moved.param == "phases[0][start_date]"
    assert update(schedule.id, {"phases": [{**changed, "start_date": begun}]}).phases[0].start_date == begun


@pytest.mark.parametrize(("name", "most"), [("expires_at", 1_780_000_000 + 10 * DAY), ("max_redemptions", 5)])
def test_a_promotion_code_must_not_outlast_its_coupon(api, name, most):
    limit = {"expires_at": "redeem_by"}.get(name, name)
    coupon = api.coupons.create({"percent_off": 10, limit: most}).id
    given = {"promotion": {"type": "coupon", "coupon": coupon}}
    assert refused(api.promotion_codes.create, {**given, name: most + 1}).param == name
    assert api.promotion_codes.create({**given, name: most}).id


# ── payment links, quotes, pauses, webhook endpoints ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("params", "is_recurring"),
    [
        ({"subscription_data": {"trial_period_days": 3}}, True),
        ({"payment_method_collection": "if_required"}, True),
        ({"application_fee_percent": 5}, True),
        ({"application_fee_amount": 5}, False),
    ],
)
def test_a_payment_link_accepts_only_what_fits_its_prices(api, price, params, is_recurring):
    fitting, other = (price(), price(recurring=None)) if is_recurring else (price(recurring=None), price())
    (name,) = params

    def link(named):
        return {"line_items": [{"price": named, "quantity": 1}]}

    assert refused(api.payment_links.create, {**link(other), **params}).param == name
    assert api.payment_links.create({**link(fitting), **params}).id
    made = api.payment_links.create(link(other)).id
    assert refused(api.payment_links.update, made, params).param == name


def test_a_quote_accepts_only_the_fee_that_fits_its_prices(api, price):
    monthly, once = [{"price": price()}], [{"price": price(recurring=None)}]
    assert refused(api.quotes.create, {"line_items": once, "application_fee_percent": 5}).param
    assert refused(api.quotes.create, {"line_items": monthly, "application_fee_amount": 5}).param
    assert api.quotes.create({"line_items": monthly, "application_fee_percent": 5}).id
    assert api.quotes.create({"line_items": once, "application_fee_amount": 5}).id


def test_a_subscription_without_a_schedule_can_be_paused_in_flexible_mode(api, subscribe):
    classic = subscribe(billing_mode={"type": "classic"}).id
    assert "flexible" in str(refused(api.subscriptions.pause, classic, {"type": "subscription"}))
    assert api.subscriptions.pause(subscribe().id, {"type": "subscription"}).status == "paused"


def test_a_live_webhook_needs_an_https_url(connect):
    given = {"enabled_events": ["*"], "url": "http://example.com/hook"}
    live = connect("sk_live_key000000000000").v1.webhook_endpoints
    error = refused(live.create, given)
    assert (error.code, error.param) == ("url_invalid", "url")
    endpoint = live.create({**given, "url": "https://example.com/hook"}).id
    assert refused(live.update, endpoint, {"url": "http://example.com/hook"}).code == "url_invalid"
    assert connect().v1.webhook_endpoints.create(given).url == given["url"]


# ── what can be expanded ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["nonsense", "email", "metadata", "test_clock.nonsense", "subscriptions.customer"])
def test_only_a_property_that_is_an_object_can_be_expanded(api, customer, path):
    for call in (
        lambda: api.customers.retrieve(customer, {"expand": [path]}),
        lambda: api.customers.list({"expand": [f"data.{path}"]}),
        lambda: api.customers.create({"expand": [path]}, {"idempotency_key": "again"}),
    ):
        error = refused(call)
        assert (error.http_status, error.param) == (400, "expand")
        assert f"cannot be expanded ({error_path(error)})" in str(error)
    assert len(api.customers.list().data) == 1
    assert api.customers.create({"name": "Ann"}, {"idempotency_key": "again"}).name == "Ann"


def error_path(error):
    return str(error).partition("(")[2].partition(")")[0]


def test_a_list_expands_properties_of_its_objects_below_data(api, price):
    price()
    assert "try expanding 'data.product' instead" in str(refused(api.prices.list, {"expand": ["product"]}))
    assert api.prices.list({"expand": ["data.product", "data.currency_options", "data"]}).data[0].product.name == "Desk"


def test_any_path_to_an_object_can_be_expanded(api, subscribe):
    paths = ["customer", "latest_invoice.customer", "items.data.price.product", "default_source", "automatic_tax"]
    shown = api.subscriptions.retrieve(subscribe().id, {"expand": paths})
    assert shown.latest_invoice.customer.id == shown.customer.id
    assert shown["items"].data[0].price.product.name == "Desk"


# ── taxes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_tax_behavior_is_final_once_it_is_set(api, price):
    options = {"currency_options": {"eur": {"unit_amount": 5, "tax_behavior": "inclusive"}}}
    named = price(tax_behavior="exclusive", **options)
    assert refused(api.prices.update, named, {"tax_behavior": "inclusive"}).param == "tax_behavior"
    other = {"currency_options": {"eur": {"tax_behavior": "exclusive"}}}
    assert refused(api.prices.update, named, other).param == "currency_options[eur][tax_behavior]"
    assert api.prices.update(named, {"tax_behavior": "exclusive", **options}).tax_behavior == "exclusive"
    assert api.prices.update(price(), {"tax_behavior": "inclusive"}).tax_behavior == "inclusive"

    fixed = {"type": "fixed_amount", "fixed_amount": {"amount": 5, "currency": "usd"}, "display_name": "Post"}
    rate = api.shipping_rates.create({**fixed, "tax_behavior": "exclusive"}).id
    assert refused(api.shipping_rates.update, rate, {"tax_behavior": "inclusive"}).param == "tax_behavior"
    assert api.shipping_rates.update(rate, {"tax_behavior": "exclusive"}).id


def test_an_archived_tax_rate_stays_in_use_but_cannot_be_added(api, subscribe):
    rate = api.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False}).id
    held = subscribe(default_tax_rates=[rate]).id
    api.tax_rates.update(rate, {"active": False})
    assert refused(lambda: subscribe(default_tax_rates=[rate])).param == "default_tax_rates[0]"
    kept = api.subscriptions.update(held, {"default_tax_rates": [rate], "description": "new"})
    assert [shown.id for shown in kept.default_tax_rates] == [rate]
