"""Calculates what a quantity of a price costs: units, packages, tiers and currencies."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, ROUND_UP, Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.family import refuse

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body


def amount_of(price: Body, quantity: int, currency: str) -> int:
    """Return the cost in minor units. Raises `ApiError` if the price doesn't support the currency."""
    shown = in_currency(price, currency)
    units = Decimal(quantity)
    if price.get("transform_quantity"):
        rule = price["transform_quantity"]
        rounding = ROUND_UP if rule["round"] == "up" else "ROUND_DOWN"
        units = (units / int(rule["divide_by"])).to_integral_value(rounding)
    if price["billing_scheme"] == "tiered":
        cost = _tiered(shown.get("tiers") or [], price["tiers_mode"], units)
    else:
        cost = Decimal(shown.get("unit_amount_decimal") or 0) * units
    return rounded(cost)


def in_currency(price: Body, currency: str) -> Body:
    """Return the price's amounts in one of its currencies. Raises `ApiError` if it doesn't support the currency."""
    option = (price.get("currency_options") or {}).get(currency)
    if option is None:
        if currency != price["currency"]:
            raise refuse(
                f"The price specified only supports `{price['currency']}`. This doesn't match the expected currency: "
                f"`{currency}`.",
                "currency",
            )
        option = price
    return dict(option)


def rounded(cost: Decimal) -> int:
    """Round to whole minor units, halves away from zero."""
    return int(cost.quantize(Decimal(1), ROUND_HALF_UP))


def _tiered(tiers: list[Body], mode: str, units: Decimal) -> Decimal:
    if mode == "volume":
        tier = next(t for t in tiers if t["up_to"] is None or units <= t["up_to"])
        return _of(tier, "unit_amount") * units + _of(tier, "flat_amount")
    cost, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = units if tier["up_to"] is None else min(units, Decimal(tier["up_to"]))
        if top <= below and not (units == 0 and below == 0):
            break
        cost += _of(tier, "unit_amount") * (top - below) + _of(tier, "flat_amount")
        below = top
        if units == 0:
            break
    return cost


def _of(tier: Body, name: str) -> Decimal:
    value: Any = tier.get(f"{name}_decimal")
    return Decimal(str(value)) if value not in (None, "") else Decimal(0)
