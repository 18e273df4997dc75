"""Builds the phases of a subscription schedule from a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.family import refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects.periods import add_intervals
from dbt_stripe_sync.sandbox.objects.rates import read_rates
from dbt_stripe_sync.sandbox.objects.subscription_items import price_for

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_SHOWN_IF_GIVEN = (
    "application_fee_percent",
    "billing_cycle_anchor",
    "billing_thresholds",
    "collection_method",
    "default_payment_method",
    "description",
    "invoice_settings",
    "on_behalf_of",
    "transfer_data",
    "trial_end",
)
_SET_SEPARATELY = (
    "items",
    "duration",
    "start_date",
    "end_date",
    "discounts",
    "default_tax_rates",
    "trial",
    "add_invoice_items",
)


def build_phases(work: Work, given: list[Body], start: int) -> list[Body]:
    """Build phases that follow one another, from `start` on."""
    phases: list[Body] = []
    for index, phase in enumerate(given):
        named = phase.get("start_date")
        begins = int(named) if named and named != "now" else start
        phases.append(build_phase(work, phase, begins, None, f"phases[{index}]"))
        start = phases[-1]["end_date"]
    return phases


def build_phase(work: Work, given: Body, start: int, currency: str | None, param: str = "phases[0]") -> Body:
    """Build one phase. Raises `ApiError` if it is invalid."""
    currency = currency or given.get("currency")
    prices = []
    items = []
    for index, item in enumerate(given["items"]):
        price = price_for(work, item, f"{param}[items][{index}]", currency)
        prices.append(price)
        items.append(_build_item(work, item, price, f"{param}[items][{index}]"))
    end = _end_of(given, start, prices[-1]["recurring"])
    phase: Body = dict.fromkeys(_SHOWN_IF_GIVEN)
    phase.update(add_invoice_items=[], metadata={}, proration_behavior="create_prorations")
    apply_params(phase, given, leave=_SET_SEPARATELY)
    phase["default_tax_rates"] = read_rates(work, given.get("default_tax_rates"), f"{param}[default_tax_rates]")
    phase.update(items=items, discounts=_stacked(given), start_date=start, end_date=end)
    phase["currency"] = currency or prices[0]["currency"]
    if given.get("trial"):
        phase["trial_end"] = end
    return phase


def _build_item(work: Work, given: Body, price: Body, param: str) -> Body:
    shown: Body = {
        "billing_thresholds": None,
        "discounts": _stacked(given),
        "metadata": given.get("metadata") or {},
        "price": price["id"],
        "tax_rates": read_rates(work, given.get("tax_rates"), f"{param}[tax_rates]"),
    }
    if price["recurring"]["usage_type"] != "metered":
        shown["quantity"] = int(given.get("quantity") or 1)
    elif given.get("quantity") not in (None, ""):
        raise refuse("You can't set a quantity for a metered price.", f"{param}[quantity]")
    return shown


def _end_of(given: Body, start: int, recurring: Body) -> int:
    """Return a phase's own end, or the end after its duration, or after one interval of its price."""
    if given.get("end_date"):
        return int(given["end_date"])
    length = given.get("duration") or recurring
    return add_intervals(start, length["interval"], int(length.get("interval_count") or 1))


def _stacked(given: Body) -> list[Body]:
    names = ("coupon", "discount", "promotion_code")
    return [{name: item.get(name) for name in names} for item in given.get("discounts") or []]
