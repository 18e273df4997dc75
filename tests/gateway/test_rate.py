"""How fast calls leave, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

import pytest
from gateway_clocks import VirtualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.stripe_api.rate import Gate, RateLimits


def send_all(limits, calls, *, takes=0.2, arrives=None):
    """Send calls through a gate and give each endpoint's departures."""
    clock = VirtualClock()
    left = defaultdict(list)
    most: Counter[str] = Counter()

    async def one(gate, endpoint, after):
        await clock.sleep(after)
        async with gate.turn(endpoint) as at:
            left[endpoint].append(at)
            most["now"] += 1
            most["ever"] = max(most["ever"], most["now"])
            await clock.sleep(takes)
            most["now"] -= 1

    async def everyone():
        gate = Gate(limits, clock)
        await asyncio.gather(*(one(gate, e, arrives[i] if arrives else 0.0) for i, e in enumerate(calls)))

    clock.run(everyone())
    return left, most["ever"]


def most_in_a_second(times):
    times = sorted(times)
    return max(sum(1 for other in times if at <= other < at + 1.0 - 1e-9) for at in times)


@settings(max_examples=60, deadline=None)
@given(
    account=st.floats(1.0, 30.0),
    endpoint=st.floats(1.0, 30.0),
    arrivals=st.lists(st.tuples(st.sampled_from(["a.create", "b.create", "c.update"]), st.floats(0, 4)), max_size=60),
    takes=st.floats(0.0, 3.0),
)
def test_no_sliding_second_exceeds_the_rate(account, endpoint, arrivals, takes):
    limits = RateLimits(account=account, endpoint=endpoint)
    left, _ = send_all(limits, [e for e, _ in arrivals], takes=takes, arrives=[at for _, at in arrivals])
    assert sum(map(len, left.values())) == len(arrivals)
    for times in left.values():
        assert most_in_a_second(times) <= int(endpoint)
    everything = [at for times in left.values() for at in times]
    assert not everything or most_in_a_second(everything) <= int(account)


def test_four_kinds_of_call_go_four_times_as_fast_as_one():
    limits = RateLimits.of_account(livemode=True)
    one, _ = send_all(limits, ["customer.create"] * 400)
    four, _ = send_all(limits, [f"{kind}.create" for kind in ("customer", "price", "product", "coupon")] * 100)
    slowest = max(max(times) for times in four.values())
    assert max(one["customer.create"]) == pytest.approx(400 / 20, abs=0.2)
    assert slowest == pytest.approx(400 / 80, abs=0.2)


def test_a_slow_endpoint_holds_up_no_other():
    calls = ["invoice.create"] * 200 + ["customer.update"] * 20
    limits = RateLimits(account=80, endpoint=20, apart={"invoice.create": 1}, concurrency=8)
    left, _ = send_all(limits, calls)
    assert max(left["customer.update"]) <= 1.1


def test_meter_events_have_a_budget_of_their_own():
    calls = ["billing.meter_event.create"] * 1600 + ["customer.create"] * 40
    left, _ = send_all(RateLimits.of_account(livemode=True), calls, takes=0.01)
    assert max(left["billing.meter_event.create"]) == pytest.approx(2.0, abs=0.1)
    assert max(left["customer.create"]) == pytest.approx(2.0, abs=0.1)


def test_in_a_sandbox_meter_events_count_toward_the_accounts_limit():
    calls = ["billing.meter_event.create"] * 20 + ["customer.create"] * 20
    left, _ = send_all(RateLimits.of_account(livemode=False), calls, takes=0.01)
    assert max(max(times) for times in left.values()) == pytest.approx(2.0, abs=0.1)


def test_search_has_a_limit_of_its_own():
    left, _ = send_all(RateLimits.of_account(livemode=True), ["customer.search"] * 64)
    assert max(left["customer.search"]) == pytest.approx(4.0, abs=0.2)


def test_calls_in_flight_never_exceed_the_concurrency_limit():
    limits = RateLimits(account=100, endpoint=100, concurrency=7)
    _, most = send_all(limits, ["a.create", "b.create"] * 30, takes=5.0)
    assert most == 7


def test_slow_calls_leave_room_for_other_endpoints():
    limits = RateLimits(account=100, endpoint=100, concurrency=8)
    _, most = send_all(limits, ["invoice.create"] * 40, takes=60.0)
    assert most == 6
    left, _ = send_all(limits, ["invoice.create"] * 40 + ["customer.create"], takes=60.0)
    assert max(left["customer.create"]) < 1.0


def test_without_limits_nothing_waits():
    left, _ = send_all(RateLimits.unlimited(), ["a.create", "b.create"] * 32, takes=1.0)
    assert set(left["a.create"]) == set(left["b.create"]) == {0.0}


def test_a_cancelled_call_frees_its_slot():
    clock = VirtualClock()

    async def work():
        gate = Gate(RateLimits(account=1, endpoint=1, concurrency=1), clock)

        async def one():
            async with gate.turn("a.create"):
                await clock.sleep(1000.0)

        tasks = [asyncio.create_task(one()) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with gate.turn("a.create") as at:
            return at

    assert clock.run(work()) <= 1.0


# ── after a refusal ──────────────────────────────────────────────────────────────────────────────────────────────


def gate_of(clock, **limits):
    return Gate(RateLimits(**limits), clock)


@pytest.mark.parametrize(
    ("reason", "account", "own"),
    [
        ("global-rate", 40.0, 20.0),
        ("endpoint-rate", 80.0, 10.0),
        ("resource-specific", 80.0, 20.0),
        (None, 80.0, 20.0),
    ],
)
def test_a_429_lowers_only_the_limit_that_it_names(reason, account, own):
    gate = gate_of(VirtualClock(), account=80, endpoint=20)
    gate.refused("price.create", reason, 0.0)
    assert (gate.account.rate, gate.queue("price.create").pace.rate) == (account, own)
    assert gate.queue("customer.create").pace.rate == 20.0


def test_too_many_concurrent_calls_lower_the_concurrency_and_not_the_pace():
    gate = gate_of(VirtualClock(), account=80, endpoint=20, concurrency=64)
    gate.slots.taken = 40
    gate.refused("price.create", "global-concurrency", 0.0)
    gate.queue("price.create").slots.taken = 8
    gate.refused("price.create", "endpoint-concurrency", 0.0)
    assert (int(gate.slots.most), int(gate.queue("price.create").slots.most)) == (20, 4)
    assert (gate.account.rate, gate.queue("price.create").pace.rate) == (80, 20)
    for _ in range(30):
        gate.accepted("price.create")
    assert int(gate.queue("price.create").slots.most) == 8


def test_a_burst_of_429s_lowers_the_pace_once():
    clock = VirtualClock()
    gate = gate_of(clock, account=80, endpoint=20)
    clock.seconds = 5.0
    for left_at in (4.9, 4.95, 4.99, 4.999):
        gate.refused("price.create", "endpoint-rate", left_at)
    assert gate.queue("price.create").pace.rate == 10.0
    clock.seconds = 6.0
    gate.refused("price.create", "endpoint-rate", 5.5)
    assert gate.queue("price.create").pace.rate == 5.0


def test_the_pace_recovers_slowly():
    clock = VirtualClock()
    gate = gate_of(clock, account=80, endpoint=20)
    gate.refused("price.create", "global-rate", 0.0)
    rates = []
    for _ in range(30):
        clock.seconds += 1.0
        gate.accepted("price.create")
        gate.accepted("price.create")
        rates.append(gate.account.rate)
    assert rates[0] == pytest.approx(41.6)
    assert rates[:25] == sorted(rates[:25])
    assert rates[-1] == 80.0


def test_an_unlimited_pace_also_adapts_to_a_429():
    clock = VirtualClock()
    gate = Gate(RateLimits.unlimited(), clock)
    gate.refused("price.create", "global-rate", 0.0)
    assert gate.account.rate == 500.0
    for _ in range(100):
        clock.seconds += 1.0
        gate.accepted("price.create")
    assert gate.account.rate == float("inf")
