"""Forms, periods and amounts, with random values."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from dbt_stripe_sync.sandbox.forms import as_lists, parse_form
from dbt_stripe_sync.sandbox.objects.amounts import amount_of
from dbt_stripe_sync.sandbox.objects.periods import add_intervals, period_at

names = st.text("abcdefgh_", min_size=1, max_size=6)
texts = st.text("aZ09 &=+%[]'\"\\\n\u00e9\u4e2d\U0001f600", max_size=8)
values = st.recursive(
    texts,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(names, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, values, max_size=4))
def test_forms_encoded_by_the_sdk_are_decoded_exactly(params):
    assert as_lists(parse_form(urlencode(list(_api_encode(params))))) == params


def at(year, month, day, hour=0):
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("anchor", "interval", "count", "expected"),
    [
        (at(2026, 1, 31), "month", 1, at(2026, 2, 28)),
        (at(2026, 1, 31), "month", 2, at(2026, 3, 31)),
        (at(2024, 2, 29), "year", 1, at(2025, 2, 28)),
        (at(2026, 12, 15, 8), "month", 1, at(2027, 1, 15, 8)),
        (at(2026, 1, 1), "week", 2, at(2026, 1, 15)),
        (at(2026, 3, 31), "month", -1, at(2026, 2, 28)),
    ],
)
def test_billing_intervals_keep_the_anchors_day(anchor, interval, count, expected):
    assert add_intervals(anchor, interval, count) == expected


@given(
    st.integers(at(2020, 1, 1), at(2030, 1, 1)),
    st.sampled_from(["day", "week", "month", "year"]),
    st.integers(1, 3),
    st.integers(-100, 100),
)
def test_every_moment_falls_in_its_own_period(anchor, interval, count, days):
    moment = anchor + days * 86_400
    start, end = period_at(anchor, interval, count, moment)
    assert start <= moment < end


TIERS = [
    {"up_to": 5, "unit_amount_decimal": "100", "flat_amount_decimal": None},
    {"up_to": None, "unit_amount_decimal": "50.5", "flat_amount_decimal": "10"},
]


@pytest.mark.parametrize(
    ("mode", "quantity", "amount"),
    [
        ("graduated", 0, 0),
        ("graduated", 5, 500),
        ("graduated", 7, 611),
        ("volume", 5, 500),
        ("volume", 6, 313),
    ],
)
def test_tiers_cost_what_stripe_says(mode, quantity, amount):
    price = {"billing_scheme": "tiered", "tiers_mode": mode, "currency": "usd", "tiers": TIERS}
    assert amount_of(price, quantity, "usd") == amount


@pytest.mark.parametrize(("rounding", "amount"), [("up", 300), ("down", 200)])
def test_quantities_are_rounded_to_whole_packages(rounding, amount):
    price = {
        "billing_scheme": "per_unit",
        "currency": "usd",
        "unit_amount_decimal": "100",
        "transform_quantity": {"divide_by": 10, "round": rounding},
    }
    assert amount_of(price, 25, "usd") == amount
