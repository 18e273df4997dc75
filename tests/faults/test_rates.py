"""Runs against a Stripe that counts requests: default settings are never rejected, and rejected calls succeed later."""

from __future__ import annotations

import pytest
from business import Business
from fault_table import CREATION

from dbt_stripe_sync.sandbox import Fault, Sandbox
from dbt_stripe_sync.sandbox.rates import RateLimits

TOO_MANY = 429


@pytest.fixture
def counting():
    with Sandbox(rate_limits=RateLimits.stripe()) as sandbox:
        yield sandbox


@pytest.fixture
def shop_of(tmp_path, counting):
    """A shop with so many rows of each kind, and the settings that everybody has."""

    def made(rows, **settings):
        business = Business(root=tmp_path / "shop", stripe=counting)
        business.set(**settings)
        for name in ("customer", "product", "coupon", "tax_rate"):
            business.table(name, f"SELECT i AS id, '{name} ' || i AS name, 10 AS percent FROM range({rows}) AS t(i)")
        business.sync("customer", resource="customer", key="id", fields={"name": "name"})
        business.sync("product", resource="product", key="id", fields={"name": "name"})
        coupon = {"name": "name", "percent_off": "percent", "duration": {"value": "once"}}
        business.sync("coupon", resource="coupon", key="id", fields=coupon)
        rate = {"display_name": "name", "percentage": "percent", "inclusive": {"value": False}}
        business.sync("tax_rate", resource="tax_rate", key="id", fields=rate)
        return business

    return made


def most_in_a_second(lines):
    times = sorted(line.at for line in lines)
    return max(sum(1 for other in times if at <= other < at + 1.0) for at in times)


def check_never_refused(business, rows):
    ran = business.cli()

    assert ran.exit_code == 0, ran.text
    assert [line for line in business.stripe.requests() if line.status == TOO_MANY] == []
    assert len(business.stripe.writes()) == 4 * rows


def test_default_settings_never_get_a_429(shop_of):
    check_never_refused(shop_of(20), 20)


@pytest.mark.long
def test_default_settings_get_no_429_in_a_minute(shop_of):
    check_never_refused(shop_of(300), 300)


def test_a_share_kept_free_is_left_to_others(shop_of):
    business = shop_of(8, share_free=0.6)

    check_never_refused(business, 8)

    # A request may be on its way for a moment, so that one arrives early and the next one late.
    assert most_in_a_second(business.stripe.requests()) <= 10 + 2


def test_every_call_is_done_once_even_if_the_pace_is_too_fast(shop_of):
    business = shop_of(20, account_per_second=1000, endpoint_per_second=1000)

    ran = business.cli()

    assert ran.exit_code == 0, ran.text
    assert [line for line in business.stripe.requests() if line.status == TOO_MANY]
    assert [business.stripe.count(kind) for kind in ("customer", "product", "coupon", "tax_rate")] == [20] * 4


@pytest.mark.parametrize(
    "reason", ["global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency", "resource-specific"]
)
def test_a_burst_of_429s_costs_only_time(shop, reason):
    shop.stripe.inject(Fault.rate_limited(reason, count=10, **CREATION))

    ran = shop.run()

    assert ran.exit_code == 0, ran.text
    shop.check_nothing_is_left_open()
