"""Checks of numbers: their range, their decimal places, and amounts in currencies with unusual decimals."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.money import THREE_DECIMAL, TWO_EMPTY_DECIMALS
from dbt_stripe_sync.stripe_api.rules.rule import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.stripe_api.rules.rule import Spot

# docs.stripe.com/changelog/dahlia/2026-04-22/billing-meter-event-values-validation: significant digits of a value.
VALUE_DIGITS = 15
# Eight digits, and twelve in IDR (docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
MOST_AMOUNT = 99_999_999
MOST_AMOUNTS = {"idr": 999_999_999_999}
# The minimum amounts of a charge, from the same page.
LEAST_CHARGES = {
    **dict.fromkeys(("usd", "aud", "brl", "cad", "chf", "eur", "inr", "jpy", "nzd", "sgd"), 50),
    "aed": 200,
    "bgn": 100,
    "czk": 1500,
    "dkk": 250,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "thb": 1000,
}


class Between(Struct, frozen=True):
    """A number is within inclusive bounds; `above` is an exclusive bound. None means no bound."""

    least: int | None = None
    most: int | None = None
    above: int | None = None

    @property
    def says(self) -> str:
        """The rule in words."""
        if self.least is not None and self.most is not None:
            return f"between {self.least:,} and {self.most:,}"
        lower = f"more than {self.above:,}" if self.above is not None else None
        lower = lower or (f"at least {self.least:,}" if self.least is not None else None)
        upper = f"at most {self.most:,}" if self.most is not None else None
        return " and ".join(part for part in (lower, upper) if part)

    @property
    def sides(self) -> frozenset[str]:
        """The sides that have a bound."""
        lower = self.least is not None or self.above is not None
        return frozenset(name for name, has in (("lower", lower), ("upper", self.most is not None)) if has)

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the number is outside."""
        number = read_number(value)
        if number is None:
            return
        if (self.above is not None and number <= self.above) or (self.least is not None and number < self.least):
            bound = f"greater than {self.above}" if self.above is not None else f"greater than or equal to {self.least}"
            yield _out_of_bounds(self.says, bound)
        elif self.most is not None and number > self.most:
            yield _out_of_bounds(self.says, f"less than or equal to {self.most}")


class MaxDecimals(Struct, frozen=True):
    """A number has at most this many decimal places."""

    most: int

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"at most {self.most} decimal places"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault if the number has more."""
        number = read_number(value)
        places = 0 if number is None else _places(number)
        if places > self.most:
            yield Fault(
                reason=f"has {places} decimal places, Stripe accepts {self.most}",
                message=f"Invalid decimal: must have at most {self.most} decimal places",
                hint=f"round it in the model, for example with round(…, {self.most})",
            )


class WholeAmount(Struct, frozen=True):
    """An amount ends as its currency requires: in 0 with three decimals, in 00 if it has lost its decimals."""

    says: str = "ends in 0 in a three-decimal currency, in 00 in ISK and UGX"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it doesn't, unless the currency is unknown."""
        currency = currency_of(spot)
        step = 10 if currency in THREE_DECIMAL else 100 if currency in TWO_EMPTY_DECIMALS else 1
        if isinstance(value, int) and not isinstance(value, bool) and value % step:
            yield Fault(
                reason=f"must be a multiple of {step} in {currency.upper()}",
                message=f"Invalid amount: in {currency}, the amount must be a multiple of {step}",
                hint="round it in the model, or use `as: minor_units`",
            )


class ChargeableAmount(Struct, frozen=True):
    """An amount has no more digits than a charge can have."""

    says: str = "at most 99,999,999 (999,999,999,999 in IDR)"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if Stripe can't charge that much at once."""
        number = read_number(value)
        most = MOST_AMOUNTS.get(currency_of(spot), MOST_AMOUNT)
        if number is not None and int(number) > most:
            yield Fault(
                reason=f"is more than {most:,} in the smallest unit, the maximum that Stripe can charge",
                message=f"This value must be less than or equal to {most}.",
                code="amount_too_large",
            )


class LeastCharge(Struct, frozen=True):
    """An amount is at least the minimum charge in its currency."""

    says: str = "at least the minimum charge in its currency, such as 50 in USD and 30 in GBP"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it is less, unless the currency has no known minimum."""
        currency = currency_of(spot)
        least = LEAST_CHARGES.get(currency, 0)
        number = read_number(value)
        if number is not None and number < least:
            yield Fault(
                reason=f"is less than {least:,} in the smallest unit, the minimum that Stripe charges in "
                f"{currency.upper()}",
                message=f"This value must be greater than or equal to {least}.",
                code="amount_too_small",
            )


def currency_of(spot: Spot) -> str:
    """Return an amount's currency: its key in a map of currencies, or else the currency next to it or around it."""
    for depth in range(len(spot.path) - 1, 0, -1):
        if spot.path[depth - 1] == "currency_options":
            return spot.path[depth].lower()
    for hash_ in (*reversed(spot.around), spot.known):
        named = hash_.get("currency") or hash_.get("minimum_amount_currency")
        if isinstance(named, str):
            return named.lower()
    return ""


def read_number(value: Any) -> Decimal | None:
    """Return a number exactly, or None if the value isn't a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) or value == "":
        return None
    try:
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _out_of_bounds(says: str, bound: str) -> Fault:
    return Fault(reason=f"must be {says}", message=f"This value must be {bound}.", code="parameter_invalid_integer")
