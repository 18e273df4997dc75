"""What Stripe's documented rules refuse is a rejected row in the plan, before anything is sent."""

from __future__ import annotations

import time

import pytest
import stripe as stripe_sdk
from frozen_objects import FROZEN_CASES, make_in_status

from dbt_stripe_sync.stripe_api.catalog import lifecycle_of

DAY = 86_400


def test_a_value_that_stripe_would_refuse_is_rejected_with_field_and_reason(business):
    business.rows(
        "people",
        ("long", "+1 780-555-0156 ext. 7250", "Ann"),
        ("name", "+15550100", "x" * 257),
        ("good", "+15550101", "Bob"),
        columns="id text, phone text, name text",
    )
    business.sync("people", resource="customer", key="id", fields={"phone": "phone", "name": "name"})

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    assert "`phone` has 25 characters, Stripe accepts 20" in planned.text
    assert "`name` has 257 characters, Stripe accepts 256" in planned.text
    assert "7250" not in planned.text
    assert ran.exit_code == 1
    assert [customer["name"] for customer in business.stripe.objects("customer")] == ["Bob"]
    assert len(business.stripe.writes()) == 1


def test_every_rule_that_a_row_breaks_is_named_with_its_source(business):
    business.rows("prices", ("p1", 4, "xyz", 12.5), columns="id text, years int, cur text, amount decimal(9, 1)")
    fields = {
        "product_data.name": "id",
        "product_data.statement_descriptor": {"value": '<ACME> "and more" than 22'},
        "currency": "cur",
        "unit_amount_decimal": "amount",
        "recurring.interval": {"value": "year"},
        "recurring.interval_count": "years",
    }
    business.sync("prices", resource="price", key="id", fields=fields)

    planned = business.cli("plan")

    for said in (
        "`product_data.statement_descriptor` has 25 characters, Stripe accepts 22",
        "`currency` is not a currency that Stripe supports",
        "`recurring.interval_count` is longer than 3 years",
    ):
        assert said in planned.text
    business.cli("run", "--yes")
    assert not business.stripe.writes()


def test_a_time_that_stripe_would_refuse_is_rejected_before_it_is_sent(business):
    soon = int(time.time()) + 30 * DAY
    in_milliseconds = soon * 1000
    rows = [("c1", soon, "Spring"), ("c2", in_milliseconds, "Late")]
    business.rows("coupons", *rows, columns="id text, redeem bigint, name text")
    fields = {"percent_off": {"value": 10}, "duration": {"value": "once"}, "redeem_by": "redeem", "name": "name"}
    business.sync("coupons", resource="coupon", key="id", fields=fields)

    ran = business.cli("run", "--yes")

    assert "`redeem_by` lies more than 5 years in the future" in ran.text
    assert [coupon["name"] for coupon in business.stripe.objects("coupon")] == ["Spring"]
    assert len(business.stripe.writes()) == 1


@pytest.mark.parametrize(("resource", "status", "rule", "change"), FROZEN_CASES)
def test_what_a_status_fixes_is_known_to_the_plan_unless_it_is_a_guess(
    business, stripe, resource, status, rule, change
):
    """The same rows of the table by which the sandbox refuses."""
    api = stripe_sdk.StripeClient(stripe.api_key, base_addresses={"api": stripe.url}).v1
    made = make_in_status(api, stripe, resource, status)
    ((name, value),) = change.items()
    business.rows("things", (made, value), columns=f"id text, v {'bigint' if isinstance(value, int) else 'text'}")
    business.sync("things", resource=resource, key="id", mode="update", match=["id"], fields={name: "v"})
    stripe.reset_requests()

    planned = business.cli("plan")
    ran = business.cli("run", "--yes")

    if rule.source is None:
        assert ran.exit_code == 1
        assert stripe.writes()
    elif status in lifecycle_of(resource).ended:
        assert "has ended already" in planned.text
        assert not stripe.writes()
    else:
        assert f"`{name}` can't be changed" in planned.text
        assert rule.fixed.reason in planned.text
        assert not stripe.writes()
