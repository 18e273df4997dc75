"""Checks Stripe Billing's rules for prices, items and phases within one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.stripe_api.rules.rule import Fault
from dbt_stripe_sync.stripe_api.rules.together import is_given, needs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.stripe_api.rules.rule import Spot

_DAY = 86_400
_AMOUNTS = ("unit_amount", "unit_amount_decimal", "custom_unit_amount")


class OptionAmounts(Struct, frozen=True):
    """Each of a price's `currency_options` has the same kind of amounts as the price itself."""

    says: str = "each has `tiers` if the price has them, otherwise one of the amounts"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault for each option with other amounts or none, unless the price's scheme is unknown."""
        # Only a request that creates a price contains the price's own currency.
        is_new = "currency" in spot.hash
        scheme = spot.value_of("billing_scheme") or ("per_unit" if is_new else None)
        if not isinstance(value, dict) or scheme is None:
            return
        known = spot.known.get("currency_options") or {}
        for currency, option in value.items():
            if not isinstance(option, dict):
                continue
            here = (currency,)
            tiers, amounts = option.get("tiers"), [name for name in _AMOUNTS if is_given(option.get(name))]
            if scheme == "tiered" and amounts:
                yield _does_not_go(amounts[0], scheme, here)
            elif scheme != "tiered" and tiers:
                yield Fault(
                    reason="is allowed only with `billing_scheme: tiered`",
                    message="You may not specify `tiers` when `billing_scheme=per_unit`.",
                    within=(*here, "tiers"),
                )
            elif len(amounts) > 1:
                yield Fault(
                    reason=f"has {' and '.join(f'`{name}`' for name in amounts)}, which exclude each other",
                    message=f"You may only specify one of these parameters: {', '.join(amounts)}.",
                    code="parameters_exclusive",
                    hint="map one of them",
                    within=(*here, amounts[1]),
                )
            elif not amounts and not tiers and currency.lower() not in known and (is_new or known):
                missing = needs(("tiers",) if scheme == "tiered" else _AMOUNTS)
                yield Fault(
                    reason=missing.reason,
                    message=missing.message,
                    code=missing.code,
                    hint=missing.hint,
                    within=(*here, *missing.within),
                )


class DistinctPrices(Struct, frozen=True):
    """No two items of a subscription have the same price."""

    says: str = "no two items have the same price"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault for each item whose price is also an earlier item's."""
        if not isinstance(value, list):
            return
        seen = []
        for index, item in enumerate(value):
            price = item.get("price") if isinstance(item, dict) and not item.get("deleted") else None
            if not is_given(price):
                continue
            if price in seen:
                yield Fault(
                    reason="is also the price of another item, and Stripe accepts each price once",
                    message=f"Cannot add multiple subscription items with the same price: {price}",
                    hint="add up the quantities in the model",
                    within=(str(index), "price"),
                )
            seen.append(price)


class OneCurrency(Struct, frozen=True):
    """The prices described in a list have one currency: the request's, if it names one."""

    says: str = "all `price_data` in one currency: the request's, if it names one"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault for each item whose currency differs from the first one."""
        named = spot.hash.get("currency")
        first = named.lower() if isinstance(named, str) and named else None
        for index, item in enumerate(value if isinstance(value, list) else []):
            data = item.get("price_data") if isinstance(item, dict) else None
            currency = data.get("currency") if isinstance(data, dict) else None
            if not isinstance(currency, str):
                continue
            first = first or currency.lower()
            if currency.lower() != first:
                yield Fault(
                    reason="differs from the currency of the other prices, and Stripe accepts only one",
                    message=f"The price specified only supports `{currency}`. This doesn't match the expected "
                    f"currency: `{first}`.",
                    hint="use one currency for all items",
                    within=(str(index), "price_data", "currency"),
                )


class PhasesInOrder(Struct, frozen=True):
    """Each phase of a schedule starts when the previous one ends, and ends after it starts."""

    says: str = "each phase ends after it starts, and starts when the previous one has ended"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault for each phase that ends before it starts, or when it starts."""
        if not isinstance(value, list):
            return
        # A schedule without a start date starts now.
        start = _moment(spot.hash.get("start_date", "now" if spot.is_whole else None), spot)
        for index, phase in enumerate(value):
            if not isinstance(phase, dict):
                return
            begins = _moment(phase.get("start_date"), spot) or start
            end = _moment(phase.get("end_date"), spot)
            if end is not None and begins is not None and end <= begins:
                yield Fault(
                    reason="must be after the start of its phase",
                    message="A phase must end after it starts.",
                    within=(str(index), "end_date"),
                )
            start = begins + _at_least(phase.get("duration")) if end is None and begins is not None else end


class TrialOfPhase(Struct, frozen=True):
    """If a whole phase is a trial, the trial ends with the phase. A phase with a trial has no anchor at its start."""

    says: str = "with `trial: true`, `trial_end` is `end_date`; with a trial, the anchor is not `phase_start`"

    def find(self, value: Any, _spot: Spot) -> Iterator[Fault]:
        """Yield a fault for a different end of the trial, and one for an anchor at the start."""
        if not isinstance(value, dict):
            return
        end, trial_end = value.get("end_date"), value.get("trial_end")
        if value.get("trial") is True and trial_end is not None and end is not None and trial_end != end:
            yield Fault(
                reason="must be the phase's `end_date` if `trial` is true",
                message="`trial_end` must match the phase's `end_date` when combined with `trial=true`.",
                hint="leave it out",
                within=("trial_end",),
            )
        if value.get("billing_cycle_anchor") == "phase_start" and (value.get("trial") or is_given(trial_end)):
            yield Fault(
                reason="can't be `phase_start` in a phase with a trial",
                message="`billing_cycle_anchor` cannot be set to `phase_start` if this phase specifies a trial.",
                hint="leave it out",
                within=("billing_cycle_anchor",),
            )


def _does_not_go(name: str, scheme: str, within: tuple[str, ...]) -> Fault:
    return Fault(
        reason=f"is not allowed with `billing_scheme: {scheme}`",
        message=f"You may not specify `{name}` when `billing_scheme={scheme}`.",
        within=(*within, name),
    )


def _moment(value: Any, spot: Spot) -> int | None:
    """Return a time in Unix seconds, or None if the value isn't a time or times aren't checked."""
    if value == "now":
        return spot.now
    return value if isinstance(value, int) and not isinstance(value, bool) and value else None


def _at_least(duration: Any) -> int:
    """Return the minimum duration of a phase in seconds."""
    if not isinstance(duration, dict):
        return 0
    count = duration.get("interval_count")
    days = {"day": 1, "week": 7, "month": 28, "year": 365}.get(str(duration.get("interval")), 0)
    return days * _DAY * (count if isinstance(count, int) else 1)
