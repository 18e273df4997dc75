"""Checks of times and durations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.foreseen import Window
from dbt_stripe_sync.stripe_api.rules.rule import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.stripe_api.rules.rule import Spot

# How far a time may be in the past and in the future; `lifecycles` takes its windows from here.
WINDOWS: Mapping[str, Mapping[str, Window]] = {
    "billing.meter_event": {"timestamp": Window(past=timedelta(days=35), ahead=timedelta(minutes=5))},
}
# Leap years and clocks differ, so values this close to a bound are left to Stripe.
_DAY = timedelta(days=1)


class InFuture(Struct, frozen=True):
    """A time is in the future."""

    says: str = "in the future"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it isn't, unless times aren't checked."""
        if _is_time(value) and spot.now is not None and value <= spot.now:
            yield Fault(
                reason="is in the past, and Stripe requires a time in the future",
                message="Invalid timestamp: must be an integer Unix timestamp in the future.",
            )


class InPast(Struct, frozen=True):
    """A time isn't in the future."""

    says: str = "not in the future"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it is, unless times aren't checked."""
        if _is_time(value) and spot.now is not None and value > spot.now:
            yield Fault(
                reason="is in the future, and Stripe requires a time in the past",
                message="Invalid timestamp: must be an integer Unix timestamp in the past.",
            )


class InWindow(Struct, frozen=True):
    """A time is within a window. `early` and `late` are Stripe's codes for a time outside."""

    window: Window
    early: str
    late: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"at most {_span(self.window.past)} back and {_span(self.window.ahead)} ahead"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it isn't, unless times aren't checked."""
        if not _is_time(value) or spot.now is None:
            return
        if value < spot.now - self.window.past.total_seconds():
            yield Fault(
                reason=f"is more than {_span(self.window.past)} in the past",
                message="The timestamp is too far in the past.",
                code=self.early,
                hint="filter older rows out of the model: Stripe no longer accepts them",
            )
        elif value > spot.now + self.window.ahead.total_seconds():
            yield Fault(
                reason=f"is more than {_span(self.window.ahead)} in the future",
                message="The timestamp is in the future.",
                code=self.late,
                hint="send it later; a time without a zone counts as UTC",
            )


class YearsOld(Struct, frozen=True):
    """A date of birth, as `day`, `month` and `year`, is more than this many years in the past."""

    years: int

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"more than {self.years} years ago"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it isn't, unless times aren't checked."""
        parts = [value.get(name) for name in ("year", "month", "day")] if isinstance(value, dict) else []
        if spot.now is None or not parts or not all(_is_time(part) for part in parts):
            return
        today = datetime.fromtimestamp(spot.now, UTC)
        if tuple(parts) > (today.year - self.years, today.month, today.day):
            yield Fault(
                reason=f"is less than {self.years} years ago",
                message=f"Cardholders must be older than {self.years} years old.",
            )


class WithinYears(Struct, frozen=True):
    """A time is at most this many years in the future. `message` is Stripe's, if known."""

    years: int
    message: str = ""

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"at most {self.years} years in the future"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it is later, unless times aren't checked."""
        if _is_time(value) and spot.now is not None and value > _years_after(spot.now, self.years):
            yield Fault(
                reason=f"is more than {self.years} years in the future, and Stripe rejects this time",
                message=self.message or f"Invalid timestamp: can be no more than {self.years} years in the future.",
                hint="times are Unix seconds: milliseconds would be about 50,000 years off",
            )


@dataclass(frozen=True, slots=True)
class MaxInterval:
    """A number of intervals spans at most this many years. `most` is the maximum number by interval."""

    years: int
    most: Mapping[str, int] = field(hash=False)

    @property
    def says(self) -> str:
        """The rule in words."""
        return "at most " + ", ".join(f"{count:,} with `{interval}`" for interval, count in self.most.items())

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it spans more."""
        interval = str(spot.hash.get("interval"))
        most = self.most.get(interval)
        if _is_time(value) and most is not None and value > most:
            yield Fault(
                reason=f"is longer than {self.years} year{'s' if self.years > 1 else ''}: at most {most:,} with "
                f"`interval: {interval}`",
                message=f"Invalid integer: the interval can be at most {self.years} year(s) ({most} {interval}s).",
            )


class NotBefore(Struct, frozen=True):
    """A time isn't before a sibling's time."""

    sibling: str

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"not before `{self.sibling}`"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it is."""
        other = spot.hash.get(self.sibling)
        if _is_time(value) and _is_time(other) and value < int(other or 0):
            yield Fault(
                reason=f"is before `{self.sibling}`", message=f"Invalid period: must not end before `{self.sibling}`."
            )


def max_interval(years: int) -> MaxInterval:
    """Return the check for a number of years, with the maximum in each of Stripe's intervals."""
    # Stripe doesn't give a maximum in days; a leap year has one more.
    return MaxInterval(years, {"year": years, "month": 12 * years, "week": 52 * years, "day": 365 * years + 1})


def _span(span: timedelta) -> str:
    return f"{span.days} days" if span.days else f"{int(span.total_seconds()) // 60} minutes"


def _is_time(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _years_after(now: int, years: int) -> float:
    """Return the time this many years later, plus a day for leap years and differing clocks."""
    moment = datetime.fromtimestamp(now, UTC)
    try:
        later = moment.replace(year=moment.year + years)
    except ValueError:  # the 29th of February
        later = moment.replace(year=moment.year + years, day=28)
    return (later + _DAY).timestamp()
