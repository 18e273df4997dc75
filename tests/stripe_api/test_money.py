"""Money reaches Stripe exactly, or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.model.money import (
    CURRENCIES,
    THREE_DECIMAL,
    TWO_EMPTY_DECIMALS,
    MoneyError,
    exponent_of,
    to_major_units,
    to_minor_units,
)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("10.00", "usd", 1000),
        (Decimal("10.5"), "EUR", 1050),
        (7, "gbp", 700),
        (0.29, "usd", 29),  # 0.29 * 100 is 28.999… in floating point
        (1.15, "usd", 115),
        ("1E+2", "usd", 10000),
        ("-3.50", "usd", -350),
        ("-0", "usd", 0),
        ("500", "jpy", 500),
        ("5.120", "kwd", 5120),
        ("5", "isk", 500),
        ("5.00", "ugx", 500),
        ("10.45", "huf", 1045),
        ("10.45", "twd", 1045),
        (" 1.00 ", "usd", 100),
    ],
)
def test_an_amount_becomes_the_currencys_minor_units(amount, currency, minor):
    assert to_minor_units(amount, currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "code", "reason"),
    [
        ("1.005", "usd", "too-many-decimals", "has more decimals (3) than Stripe accepts for USD (2)"),
        ("1.5", "jpy", "too-many-decimals", "has more decimals (1) than Stripe accepts for JPY (0)"),
        ("5.124", "kwd", "too-many-decimals", "has more decimals (3) than Stripe accepts for KWD (2)"),
        ("5.5", "isk", "too-many-decimals", "has more decimals (1) than Stripe accepts for ISK (0)"),
        (0.1 + 0.2, "usd", "inexact-amount", "is a floating-point number with more digits than such a number can hold"),
        (float("nan"), "usd", "not-an-amount", "is not finite, but an amount is expected"),
        (Decimal("Infinity"), "usd", "not-an-amount", "is not finite, but an amount is expected"),
        ("ten", "usd", "not-an-amount", "is not a number, but an amount is expected"),
        (True, "usd", "not-an-amount", "is true or false, but an amount is expected"),
        ("1E+999999", "usd", "not-an-amount", "is too large or too fine to be an amount"),
        ("1", "doubloons", "unknown-currency", "has a currency that Stripe doesn't support"),
    ],
)
def test_an_inexact_amount_is_rejected_without_showing_it(amount, currency, code, reason):
    with pytest.raises(MoneyError) as refused:
        to_minor_units(amount, currency)

    assert (refused.value.code, str(refused.value)) == (code, reason)


def test_fractions_of_a_cent_are_kept_if_stripe_accepts_them():
    assert to_minor_units("0.000125", "usd", whole=False) == Decimal("0.0125")


def test_fractions_of_a_cent_have_at_most_twelve_digits():
    with pytest.raises(MoneyError, match=r"more decimals in the smallest unit \(13\) than Stripe accepts \(12\)"):
        to_minor_units("0.000000000000001", "usd", whole=False)


amounts_with = st.sampled_from(sorted(CURRENCIES)).flatmap(
    lambda currency: st.tuples(
        st.just(currency),
        st.decimals(
            min_value=-(10**10),
            max_value=10**10,
            places=0 if currency in TWO_EMPTY_DECIMALS else 2 if currency in THREE_DECIMAL else exponent_of(currency),
        ),
    )
)


@given(amounts_with)
def test_every_amount_of_every_currency_survives_a_round_trip(case):
    currency, amount = case

    minor = to_minor_units(amount, currency)

    assert minor == minor.to_integral_value()
    assert to_major_units(minor, currency) == amount
    assert to_minor_units(str(amount), currency) == minor


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_a_double_column_of_cents_loses_nothing(cents):
    assert to_minor_units(cents / 100, "usd") == cents
