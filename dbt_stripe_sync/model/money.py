"""Converts amounts exactly to a currency's smallest unit, by Stripe's rules for each currency's decimals."""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from typing import Any


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


# docs.stripe.com/currencies, "Zero-decimal currencies": the amount is sent unchanged.
ZERO_DECIMAL = _codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
# docs.stripe.com/currencies, "Three-decimal currencies": three decimals are sent, and the last one has to be 0.
THREE_DECIMAL = _codes("bhd jod kwd omr tnd")
# docs.stripe.com/currencies, "Special cases": they no longer have decimals, but are still sent with two, which are 00.
# (HUF and TWD lack decimals only in payouts; charges, prices and invoices have two.)
TWO_EMPTY_DECIMALS = _codes("isk ugx")
# docs.stripe.com/currencies: those for payments and bank accounts, and those that old objects may still have.
_TWO_DECIMAL = _codes("""
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd btn bwp byn byr bzd cad cdf chf cny cop
    crc cve czk dkk dop dzd eek egp etb eur fjd fkp gbp gel ghs gip gmd gtq gyd hkd hnl hrk htg huf idr ils inr jmd kes
    kgs khr kyd kzt lak lbp lkr lrd lsl ltl lvl mad mdl mkd mmk mnt mop mro mru mur mvr mwk mxn myr mzn nad ngn nio nok
    npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sll sos srd std svc szl thb tjs tmt top
    try ttd twd tzs uah usd usdc uyu uzs vef ves wst xcd xcg yer zar zmk zmw
""")
CURRENCIES = ZERO_DECIMAL | THREE_DECIMAL | TWO_EMPTY_DECIMALS | _TWO_DECIMAL

# docs.stripe.com/api/prices/create: `unit_amount_decimal` has at most 12 decimal places.
FRACTION_PLACES = 12
# An IEEE 754 double can represent any decimal of 15 significant digits, but not every one of 16.
EXACT_FLOAT_DIGITS = 15
# No Stripe amount has more than 12 (docs.stripe.com/currencies). A huge exponent would use up the memory.
MOST_DIGITS = 60
_EXACT = Context(prec=2 * MOST_DIGITS)


class MoneyError(ValueError):
    """An amount can't be sent to Stripe exactly. The message reads after the name of a field and contains no amount."""

    def __init__(self, code: str, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.hint = hint


def is_currency(code: str) -> bool:
    """Return whether Stripe has a currency with this code, in either case."""
    return code.strip().lower() in CURRENCIES


def exponent_of(currency: str) -> int:
    """Return how many decimals Stripe counts in a currency's amounts: 0, 2 or 3.

    Raises `MoneyError` for an unknown currency.
    """
    code = currency.strip().lower()
    if not is_currency(code):
        raise MoneyError(
            "unknown-currency",
            "has a currency that Stripe doesn't support",
            "use a three-letter ISO code, such as `usd` (docs.stripe.com/currencies)",
        )
    return 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2


def to_minor_units(amount: Any, currency: str, *, whole: bool = True) -> Decimal:
    """Convert an amount in major units (dollars) to the currency's smallest unit (cents), exactly.

    `whole` requires a whole number; otherwise up to 12 decimals are kept, as in `unit_amount_decimal`. A float counts
    as the shortest decimal that reads back the same. Raises `MoneyError`.
    """
    exponent = exponent_of(currency)
    code = currency.strip().lower()
    number = _parse_amount(amount)
    minor = number.scaleb(exponent, _EXACT)
    places = _places(minor)
    if not whole:
        if places > FRACTION_PLACES:
            raise MoneyError(
                "too-many-decimals",
                f"has more decimals in the smallest unit ({places}) than Stripe accepts ({FRACTION_PLACES})",
                "round it in the model",
            )
        return _EXACT.plus(minor)
    allowed = {**dict.fromkeys(TWO_EMPTY_DECIMALS, 0), **dict.fromkeys(THREE_DECIMAL, 2)}.get(code, exponent)
    if _places(number) > allowed:
        raise MoneyError(
            "too-many-decimals",
            f"has more decimals ({_places(number)}) than Stripe accepts for {code.upper()} ({allowed})",
            f"round it in the model, for example with round(…, {allowed})",
        )
    return _EXACT.plus(minor.quantize(Decimal(1), context=_EXACT))  # turns negative zero into zero


def to_major_units(minor: Decimal | int, currency: str) -> Decimal:
    """Convert an amount in the currency's smallest unit (cents) to major units (dollars). Raises `MoneyError`."""
    return Decimal(minor).scaleb(-exponent_of(currency), _EXACT)


def _parse_amount(amount: Any) -> Decimal:
    if isinstance(amount, bool):
        raise MoneyError("not-an-amount", "is true or false, but an amount is expected")
    try:
        # repr() of a float is the shortest text that reads back as the same float, so it adds no digits.
        number = Decimal(repr(amount)) if isinstance(amount, float) else Decimal(amount)
    except (InvalidOperation, TypeError, ValueError):
        raise MoneyError(
            "not-an-amount", "is not a number, but an amount is expected", "map a numeric column"
        ) from None
    if not number.is_finite():
        raise MoneyError("not-an-amount", "is not finite, but an amount is expected", "make it null in the model")
    if abs(number.adjusted()) > MOST_DIGITS or len(number.as_tuple().digits) > MOST_DIGITS:
        raise MoneyError("not-an-amount", "is too large or too fine to be an amount", "map a column that holds money")
    if isinstance(amount, float) and len(number.normalize(_EXACT).as_tuple().digits) > EXACT_FLOAT_DIGITS:
        raise MoneyError(
            "inexact-amount",
            "is a floating-point number with more digits than such a number can hold",
            "cast it to numeric or decimal in the model",
        )
    return number


def _places(number: Decimal) -> int:
    """Return how many decimals a number needs."""
    exponent = number.normalize(_EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
