"""The allowed rate is used, and reached again after rejections: a minute of calls on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from gateway_clocks import VirtualClock

from dbt_stripe_sync.stripe_api.rate import Gate, RateLimits

MINUTE = 60.0
KINDS = ("customer.create", "product.create", "price.create", "subscription.create", "customer.update")
# Seconds that Stripe takes for an answer.
TAKES = 0.3


class Refusing:
    """A Stripe that refuses what comes in some seconds, and a minute or more of calls that are sent to it."""

    def __init__(self, limits, kinds, *, refuses=(0.0, 0.0), reason="global-rate", clock=None):
        self.clock = clock or VirtualClock()
        self.gate = Gate(limits, self.clock)
        self.kinds = kinds
        self.refuses = refuses
        self.reason = reason
        self.left = []

    async def _keep_calling(self, endpoint, until):
        while self.clock.monotonic() < until:
            async with self.gate.turn(endpoint) as at:
                self.left.append(at)
                await self.clock.sleep(TAKES)
            if self.refuses[0] <= at < self.refuses[1]:
                self.gate.refused(endpoint, self.reason, at)
            else:
                self.gate.accepted(endpoint)

    def run(self, seconds):
        """Keep more calls waiting than may leave."""

        async def everybody():
            callers = [self._keep_calling(kind, seconds) for kind in self.kinds for _ in range(30)]
            await asyncio.gather(*callers)

        self.clock.run(everybody())
        return self.left

    def calls(self, start, end):
        return sum(1 for at in self.left if start <= at < end)


def most_in_a_second(times):
    times, most, first = sorted(times), 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - 1.0 + 1e-9:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("livemode", [True, False], ids=["live", "test"])
def test_the_accounts_rate_is_used_for_a_minute_and_never_exceeded(livemode):
    limits = RateLimits.of_account(livemode=livemode)
    stripe = Refusing(limits, KINDS)

    left = stripe.run(MINUTE)

    assert stripe.calls(0, MINUTE) >= 0.95 * limits.account * MINUTE
    assert most_in_a_second(left) <= limits.account


class BusyClock(VirtualClock):
    """The clock of a machine that lets this program wait for a quarter of every second: who wakes then, wakes late."""

    async def sleep(self, seconds):
        wakes = self.seconds + seconds
        late = max(0.0, int(wakes) + 0.25 - wakes)
        await super().sleep(seconds + late)


def test_on_a_busy_machine_most_of_the_rate_is_used_and_never_exceeded():
    limits = RateLimits(account=100, endpoint=25)
    stripe = Refusing(limits, KINDS[:4], clock=BusyClock())

    left = stripe.run(MINUTE)

    assert stripe.calls(0, MINUTE) >= 0.95 * limits.account * MINUTE
    assert most_in_a_second(left) <= limits.account


def test_one_endpoints_rate_is_used_for_a_minute_and_never_exceeded():
    limits = RateLimits.of_account(livemode=True)
    stripe = Refusing(limits, KINDS[:1])

    left = stripe.run(MINUTE)

    assert stripe.calls(0, MINUTE) >= 0.95 * limits.endpoint * MINUTE
    assert most_in_a_second(left) <= limits.endpoint


def test_endpoints_share_the_account_fairly():
    stripe = Refusing(RateLimits(account=20, endpoint=20), KINDS)
    by_kind: Counter[str] = Counter()
    original = stripe.gate.accepted

    def count(endpoint):
        by_kind.update([endpoint])
        original(endpoint)

    stripe.gate.accepted = count

    stripe.run(MINUTE)

    assert max(by_kind.values()) - min(by_kind.values()) <= 0.2 * max(by_kind.values())


@pytest.mark.parametrize("reason", ["global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency"])
def test_the_rate_recovers_after_a_burst_of_rejections(reason):
    limits = RateLimits.of_account(livemode=True)
    stripe = Refusing(limits, KINDS, refuses=(10.0, 12.0), reason=reason)

    left = stripe.run(2.5 * MINUTE)

    assert stripe.calls(80, 140) >= 0.95 * limits.account * MINUTE
    assert most_in_a_second(left) <= limits.account


def test_a_burst_of_rejections_slows_calls_down_at_once():
    limits = RateLimits.of_account(livemode=True)
    stripe = Refusing(limits, KINDS, refuses=(10.0, 12.0))

    stripe.run(MINUTE)

    assert stripe.calls(12, 13) <= 0.5 * limits.account


def test_a_share_kept_free_is_never_used():
    limits = RateLimits.of_account(livemode=True, share=0.4)
    stripe = Refusing(limits, KINDS)

    left = stripe.run(MINUTE)

    assert stripe.calls(0, MINUTE) >= 0.95 * 40 * MINUTE
    assert most_in_a_second(left) <= 40
