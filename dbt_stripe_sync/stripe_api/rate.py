"""How fast calls may leave: one pace for the account, one for each endpoint, both found again after Stripe says no.

Calls are paced, not counted in windows: two of one endpoint leave at least `1 / rate` apart, so that no second, wherever
it begins, holds more than the rate (docs.stripe.com/rate-limits).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.stripe_api.ports import Clock

# docs.stripe.com/rate-limits: requests a second.
LIVE_ACCOUNT = 100.0
TEST_ACCOUNT = 25.0
ENDPOINT = 25.0
SEARCH = 20.0
METER_EVENTS = 1_000.0
# What is kept free for other traffic of the account, unless the settings say otherwise.
DEFAULT_SHARE = 0.8
# After a refusal a pace is halved; each success gives a hundredth of its limit back.
BACK_OFF = 0.5
RECOVERY = 0.01
SLOWEST = 1.0
UNLIMITED = float("inf")
METER_EVENT_ENDPOINTS = frozenset({"billing.meter_event.create", "v2.billing.meter_event_stream.create"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Requests a second that we allow ourselves. `per_endpoint` names endpoints as `customer.create`."""

    account: float = TEST_ACCOUNT * DEFAULT_SHARE
    endpoint: float = ENDPOINT * DEFAULT_SHARE
    search: float = SEARCH * DEFAULT_SHARE
    meter_events: float = METER_EVENTS * DEFAULT_SHARE
    per_endpoint: Mapping[str, float] = field(default_factory=dict)
    concurrency: int = 64

    @classmethod
    def of_account(cls, *, livemode: bool, share: float = DEFAULT_SHARE) -> RateLimits:
        """A share of what Stripe gives a live or a sandbox account."""
        account = LIVE_ACCOUNT if livemode else TEST_ACCOUNT
        return cls(
            account=account * share, endpoint=ENDPOINT * share, search=SEARCH * share, meter_events=METER_EVENTS * share
        )

    @classmethod
    def unlimited(cls) -> RateLimits:
        """No limits of ours: for a local server that has none."""
        return cls(account=UNLIMITED, endpoint=UNLIMITED, search=UNLIMITED, meter_events=UNLIMITED)

    def of_endpoint(self, endpoint: str) -> float:
        """The limit of one endpoint."""
        if endpoint in self.per_endpoint:
            return self.per_endpoint[endpoint]
        if endpoint in METER_EVENT_ENDPOINTS:
            return self.meter_events
        return self.search if endpoint.endswith(".search") else self.endpoint


@dataclass(slots=True)
class Pace:
    """When the next call may leave. `rate` moves between `SLOWEST` and `limit`, in calls a second."""

    limit: float
    rate: float = field(init=False)
    next_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.rate = self.limit

    def take(self, at: float) -> None:
        """A call leaves at this time."""
        self.next_at = at + (0.0 if self.rate == UNLIMITED else 1.0 / self.rate)

    def refused(self) -> None:
        """Stripe has said that this was too fast."""
        current = self.rate if self.rate != UNLIMITED else TEST_ACCOUNT
        self.rate = max(SLOWEST, current * BACK_OFF)

    def accepted(self) -> None:
        """A call went through."""
        if self.rate < self.limit:
            step = self.limit * RECOVERY if self.limit != UNLIMITED else self.rate * RECOVERY
            self.rate = min(self.limit, self.rate + step)


class Pacer:
    """Gives every call its time, endpoint by endpoint, under the account's pace.

    A call waits for its endpoint first and takes its place in the account's line only when it could leave, so that a
    slow endpoint does not hold up the others.
    """

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self.account = Pace(limits.account)
        self._endpoints: dict[str, Pace] = {}

    def endpoint(self, name: str) -> Pace:
        """The pace of one endpoint."""
        return self._endpoints.setdefault(name, Pace(self._limits.of_endpoint(name)))

    async def acquire(self, endpoint: str) -> None:
        """Wait until a call of this endpoint may leave."""
        own = self.endpoint(endpoint)
        # Meter events have a budget of their own (docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api).
        shared = None if endpoint in METER_EVENT_ENDPOINTS else self.account
        await self._wait_for(own)
        if shared is not None:
            await self._wait_for(shared)

    def refused(self, endpoint: str, reason: str | None) -> None:
        """Stripe has answered 429: slow down what it names (`global-rate`, `endpoint-rate` …)."""
        if reason is not None and reason.startswith("global"):
            self.account.refused()
        elif reason is not None:
            self.endpoint(endpoint).refused()

    def accepted(self, endpoint: str) -> None:
        """A call went through."""
        self.endpoint(endpoint).accepted()
        self.account.accepted()

    async def _wait_for(self, pace: Pace) -> None:
        now = self._clock.monotonic()
        leaves_at = max(now, pace.next_at)
        pace.take(leaves_at)
        if leaves_at > now:
            await self._clock.sleep(leaves_at - now)
