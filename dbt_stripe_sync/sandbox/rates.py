"""Stripe's rate limits as sliding one-second windows (docs.stripe.com/rate-limits)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.sandbox.errors import rate_limited

if TYPE_CHECKING:
    from collections.abc import Mapping

WINDOW_SECONDS = 1.0


class RateLimits(Struct, frozen=True, kw_only=True):
    """Requests per second: per account in live mode and in a sandbox, per endpoint, and for the endpoints listed.

    An endpoint is a named operation (`customer.create`). In `endpoints`, `*.search` stands for every operation of that
    name. In live mode, the endpoints in `apart` don't count toward the account's limit; in a sandbox they do
    (docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api).
    """

    live: int = 100
    test: int = 25
    endpoint: int = 25
    endpoints: Mapping[str, int] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()

    @staticmethod
    def stripe() -> RateLimits:
        """The limits that Stripe documents."""
        return RateLimits(
            endpoints={
                "*.search": 20,
                "billing.meter_event.create": 1_000,
                "billing.meter_event_stream.create": 10_000,
            },
            apart=frozenset({"billing.meter_event.create", "billing.meter_event_stream.create"}),
        )

    def of(self, endpoint: str) -> int:
        """Return the limit of one endpoint."""
        own = self.endpoints.get(endpoint)
        if own is None:
            own = self.endpoints.get(f"*.{endpoint.rsplit('.', 1)[-1]}", self.endpoint)
        return own


# A guess: `rate-limits`.
class RateGate:
    """Counts the requests of one account in one mode."""

    def __init__(self, limits: RateLimits, *, livemode: bool) -> None:
        self._limits = limits
        self._apart = limits.apart if livemode else frozenset[str]()
        self._account = _Window(limits.live if livemode else limits.test)
        self._endpoints: dict[str, _Window] = {}

    def enter(self, endpoint: str, now: float) -> None:
        """Count one request. Raises a 429 `ApiError` above the limit; rejected requests don't count."""
        window = self._endpoints.get(endpoint)
        if window is None:
            window = self._endpoints[endpoint] = _Window(self._limits.of(endpoint))
        counted = endpoint not in self._apart
        if counted and self._account.full(now):
            raise rate_limited("global-rate")
        if window.full(now):
            raise rate_limited("endpoint-rate")
        if counted:
            self._account.add(now)
        window.add(now)


class _Window:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: deque[float] = deque()

    def full(self, now: float) -> bool:
        times = self._times
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        return len(times) >= self._limit

    def add(self, now: float) -> None:
        self._times.append(now)
