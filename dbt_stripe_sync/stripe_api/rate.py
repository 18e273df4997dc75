"""Paces calls: the account and each endpoint has a pace, which slows down after a 429 and recovers.

Calls are spread over the second. No second, wherever it starts, has more calls than the rate
(docs.stripe.com/rate-limits). A slow endpoint doesn't delay others: a call enters the account's queue only once its own
endpoint would let it go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dbt_stripe_sync.model.clock import Clock

# docs.stripe.com/rate-limits: requests per second.
LIVE_ACCOUNT = 100.0
TEST_ACCOUNT = 25.0
ENDPOINT = 25.0
SEARCH = 20.0
METER_EVENTS = 1_000.0
# 10,000 events per second (docs.stripe.com/changelog/acacia/2024-09-30/usage-based-billing-v2-meter-events-api), sent
# in requests of a hundred. The API reference counts requests where the changelog counts events; this respects both.
METER_STREAM = 100.0
# The share of Stripe's limits to use, unless the settings say otherwise. The rest is for the account's other traffic.
DEFAULT_SHARE = 0.8
# After a 429, a pace is halved. It recovers by two hundredths of its limit in each second without another one.
BACK_OFF = 0.5
RECOVERY_PER_SECOND = 0.02
SLOWEST = 1.0
UNLIMITED = float("inf")
# If a 429 arrives although there is no limit, the pace starts again from this many calls per second.
UNLIMITED_START = 1_000.0
WINDOW = 1.0
# Calls that left late, because a timer or the machine was slow, are made up for by up to this many seconds' worth of
# calls. Still, no second has more calls than the rate.
CATCH_UP_SECONDS = 0.5
# An endpoint's maximum share of the slots, so that slow calls leave some for other endpoints.
MAX_SLOT_SHARE = 0.75
METER_EVENT = "billing.meter_event.create"
METER_EVENT_STREAM = "billing.meter_event.stream"


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that calls are paced by, in requests per second.

    Endpoints are named like `customer.create`. `concurrency` is the maximum number of concurrent requests. `apart` maps
    endpoints to separate limits; their calls don't count toward the account's limit.
    """

    account: float = TEST_ACCOUNT * DEFAULT_SHARE
    endpoint: float = ENDPOINT * DEFAULT_SHARE
    search: float = SEARCH * DEFAULT_SHARE
    apart: Mapping[str, float] = msgspec.field(default_factory=dict)
    concurrency: int = 64

    @classmethod
    def of_account(cls, *, livemode: bool, share: float = DEFAULT_SHARE) -> RateLimits:
        """Return a share of Stripe's limits for a live or a sandbox account."""
        account = LIVE_ACCOUNT if livemode else TEST_ACCOUNT
        # In a sandbox, both count toward the basic limit, according to the section on rate limits in
        # docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api.
        apart = {METER_EVENT: METER_EVENTS * share, METER_EVENT_STREAM: METER_STREAM * share} if livemode else {}
        return cls(account=account * share, endpoint=ENDPOINT * share, search=SEARCH * share, apart=apart)

    @classmethod
    def unlimited(cls) -> RateLimits:
        """Return no limits, for a local server that has none."""
        return cls(account=UNLIMITED, endpoint=UNLIMITED, search=UNLIMITED)

    def of_endpoint(self, endpoint: str) -> float:
        """Return the limit of one endpoint."""
        if endpoint in self.apart:
            return self.apart[endpoint]
        return self.search if endpoint.endswith(".search") else self.endpoint


@dataclass(slots=True)
class Pace:
    """Decides when the next call may leave. `rate` is between `SLOWEST` and `limit`, in calls per second."""

    limit: float
    rate: float = field(init=False)
    _next_at: float = float("-inf")
    _moved_at: float = float("-inf")
    _left: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.rate = self.limit

    def ready_at(self) -> float:
        """Return the time from which a call may leave, in the clock's monotonic seconds."""
        if self.rate == UNLIMITED:
            return float("-inf")
        most = max(1, int(self.rate))
        if len(self._left) < most:
            return self._next_at
        return max(self._next_at, self._left[-most] + max(WINDOW, 1.0 / self.rate))

    def take(self, now: float) -> None:
        """Record that a call leaves."""
        if self.rate == UNLIMITED:
            return
        late = CATCH_UP_SECONDS if self._left else 0.0  # nothing was late before the first call
        self._next_at = max(self._next_at, now - late) + 1.0 / self.rate
        self._left.append(now)
        while len(self._left) > max(1, int(self.rate)):
            self._left.popleft()

    def refused(self, left_at: float, now: float) -> None:
        """Slow down after a 429. Calls that left before the last slowdown don't count."""
        if left_at < self._moved_at and self.rate < self.limit:
            return
        self.rate = max(SLOWEST, min(self.rate, UNLIMITED_START) * BACK_OFF)
        self._moved_at = now

    def accepted(self, now: float) -> None:
        """Recover after a successful call."""
        if self.rate >= self.limit:
            return
        step = RECOVERY_PER_SECOND * min(self.limit, UNLIMITED_START) * min(1.0, max(0.0, now - self._moved_at))
        self.rate = min(self.limit, self.rate + step)
        self._moved_at = max(now, self._moved_at)
        if self.rate >= UNLIMITED_START:
            self.rate = self.limit


@dataclass(slots=True)
class Slots:
    """Limits the number of concurrent calls. `most` is between one and `limit`."""

    limit: int
    most: float = field(init=False)
    taken: int = 0
    _lowered_at: float = float("-inf")
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.most = float(self.limit)

    async def take(self) -> None:
        """Wait for a slot."""
        while self.taken >= int(self.most):
            slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
            await slot
        self.taken += 1

    def give(self) -> None:
        """Release a slot."""
        self.taken -= 1
        # Few calls wait here, since each endpoint lets only one wait at a time. The first one to run gets the slot.
        waiting, self._waiting = self._waiting, []
        for slot in waiting:
            if not slot.done():
                slot.set_result(None)

    def refused(self, left_at: float, now: float) -> None:
        """Slow down after a call was rejected because too many were in progress."""
        if left_at >= self._lowered_at:
            self.most = max(1.0, min(self.most, self.taken) * BACK_OFF)
            self._lowered_at = now

    def accepted(self) -> None:
        """Record a successful call. After as many of them as there are slots, there is one more slot."""
        if self.most < self.limit:
            self.most = min(float(self.limit), self.most + 1.0 / self.most)


class _Queue(msgspec.Struct):
    """The queue of one endpoint. Its lock is first come, first served."""

    pace: Pace
    slots: Slots
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)


class Gate:
    """Schedules every call, and adapts to Stripe's answers."""

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self.account = Pace(limits.account)
        self.slots = Slots(limits.concurrency)
        self._lock = asyncio.Lock()
        self._queues: dict[str, _Queue] = {}

    def queue(self, endpoint: str) -> _Queue:
        """Return the queue of one endpoint."""
        queue = self._queues.get(endpoint)
        if queue is None:
            pace = Pace(self._limits.of_endpoint(endpoint))
            most = self._limits.concurrency
            if endpoint not in self._limits.apart:
                most = max(1, int(most * MAX_SLOT_SHARE))
            queue = self._queues[endpoint] = _Queue(pace, Slots(most))
        return queue

    @asynccontextmanager
    async def turn(self, endpoint: str) -> AsyncIterator[float]:
        """Wait until a call to this endpoint may leave. It holds its slot until the context ends. Yields the time."""
        queue = self.queue(endpoint)
        left_at = await self._leave(endpoint, queue)
        try:
            yield left_at
        finally:
            queue.slots.give()
            self.slots.give()

    def refused(self, endpoint: str, reason: str | None, left_at: float) -> None:
        """Slow down after a 429, as its reason says: `global-` or `endpoint-`, followed by `rate` or `concurrency`.

        Other reasons (`resource-specific`, an object's lock) don't depend on the pace.
        """
        now = self._clock.monotonic()
        whose, _, what = (reason or "").partition("-")
        queue = self.queue(endpoint)
        if what == "rate" and whose in {"global", "endpoint"}:
            (self.account if whose == "global" else queue.pace).refused(left_at, now)
        elif what == "concurrency" and whose in {"global", "endpoint"}:
            (self.slots if whose == "global" else queue.slots).refused(left_at, now)

    def accepted(self, endpoint: str) -> None:
        """Record a successful call."""
        now = self._clock.monotonic()
        queue = self.queue(endpoint)
        queue.pace.accepted(now)
        queue.slots.accepted()
        self.account.accepted(now)
        self.slots.accepted()

    async def _leave(self, endpoint: str, queue: _Queue) -> float:
        async with queue.lock:
            await queue.slots.take()
            try:
                await self._until(queue.pace)
                if endpoint in self._limits.apart:
                    # These endpoints have a separate limit (docs.stripe.com/api/billing/meter-event/create).
                    await self.slots.take()
                    now = self._clock.monotonic()
                else:
                    async with self._lock:
                        await self._until(self.account)
                        await self.slots.take()
                        now = self._clock.monotonic()
                        self.account.take(now)
            except BaseException:
                queue.slots.give()
                raise
            queue.pace.take(now)
            return now

    async def _until(self, pace: Pace) -> None:
        while (wait := pace.ready_at() - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)
