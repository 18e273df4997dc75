"""The stream of meter events through the real SDK: sessions, requests, and where they go."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from gateway_clocks import VirtualClock

from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.sandbox import Fault, Sandbox
from dbt_stripe_sync.stripe_api.gateway import Gateway
from dbt_stripe_sync.stripe_api.rate import METER_EVENT_STREAM, Gate, RateLimits
from dbt_stripe_sync.stripe_api.retry import MOST_ATTEMPTS

STREAM = "/v2/billing/meter_event_stream"
SESSION = "/v2/billing/meter_event_session"
METER = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}


@pytest.fixture
def sandbox():
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def stripe(connect, sandbox):
    caller = connect(sandbox.url, sandbox.api_key)
    assert caller.send("billing.meter", "create", **METER).verdict is Verdict.DONE
    sandbox.reset_requests()
    return caller


def call_of(number, **parts):
    event = {
        "event_name": "calls",
        "identifier": f"e{number}",
        "payload": {"stripe_customer_id": "cus_1", "value": "2"},
    }
    return Call(resource="billing.meter_event", operation="stream", params={**event, **parts})


def stream(caller, *calls):
    """Send events side by side."""

    async def together():
        return await asyncio.gather(*(caller.gateway.send(call) for call in calls))

    return caller.do(together())


def requests(sandbox, path):
    return [line for line in sandbox.requests() if line.path == path]


def test_a_session_serves_many_requests_and_is_renewed_before_it_expires(stripe, sandbox, clock):
    for minutes in (0, 10, 3, 3, 10):
        clock.slept.append(minutes * 60)
        sandbox.advance(minutes * 60)
        (answer,) = stream(stripe, call_of(len(clock.slept)))
        assert (answer.verdict, answer.attempts) == (Verdict.DONE, 1)
    # The first one served until the 16th minute, when it had none left.
    assert len(requests(sandbox, SESSION)) == 2
    assert {line.status for line in sandbox.requests()} == {200}


def test_an_expired_session_is_renewed_and_its_events_are_sent_again(stripe, sandbox):
    stream(stripe, call_of(1))
    sandbox.advance(timedelta(minutes=16).total_seconds())

    (answer,) = stream(stripe, call_of(2))

    assert (answer.verdict, answer.attempts) == (Verdict.DONE, 2)
    assert [line.status for line in requests(sandbox, STREAM)] == [200, 401, 200]
    assert len(requests(sandbox, SESSION)) == 2
    assert sandbox.count("billing.meter_event") == 2


def test_concurrent_senders_share_a_session_and_full_requests(stripe, sandbox):
    answers = stream(stripe, *(call_of(n) for n in range(1_050)))

    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    assert len(requests(sandbox, SESSION)) == 1
    assert sorted(len(line.params["events"]) for line in requests(sandbox, STREAM)) == [50, *[100] * 10]
    assert len([line for line in sandbox.requests() if line.path == "/v1/billing/meters"]) == 1


def test_each_event_has_an_answer_of_its_own(stripe, sandbox):
    calls = [call_of(n) for n in range(8)]
    calls[3] = call_of(3, identifier="x" * 101)
    calls[5] = call_of(5, event_name="others")

    answers = stream(stripe, *calls)

    refused = {n: answer for n, answer in enumerate(answers) if answer.verdict is not Verdict.DONE}
    assert {n: answer.verdict for n, answer in refused.items()} == {3: Verdict.REFUSED, 5: Verdict.REFUSED}
    assert (refused[3].failure.status, refused[3].fatal) == (400, False)
    assert (refused[5].failure.type, refused[5].failure.code, refused[5].attempts) == ("not_sent", "no_meter", 0)
    assert sandbox.count("billing.meter_event") == 6


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_without_a_definite_answer_an_event_is_unknown(stripe, sandbox, acts):
    sandbox.inject(Fault.cut(after_effect=acts, path=STREAM, count=None))

    answers = stream(stripe, call_of(1), call_of(2))

    assert {answer.verdict for answer in answers} == {Verdict.UNKNOWN}
    assert {answer.attempts for answer in answers} == {MOST_ATTEMPTS}
    assert sandbox.count("billing.meter_event") == (2 if acts else 0)


def test_an_event_that_may_have_been_sent_is_not_refused_without_a_session(stripe, sandbox):
    sandbox.inject(Fault.forbidden(path=SESSION, count=None))
    again = Call(resource="billing.meter_event", operation="stream", params=call_of(1).params, repeated=True)

    (first,) = stream(stripe, call_of(2))
    (repeated,) = stream(stripe, again)

    assert (first.verdict, first.fatal) == (Verdict.REFUSED, True)
    assert repeated.verdict is Verdict.UNKNOWN
    assert requests(sandbox, STREAM) == []


def test_nothing_is_sent_if_the_meters_cannot_be_read(stripe, sandbox):
    sandbox.inject(Fault.cut(method="GET", path="^/v1/billing/meters$", count=None))

    (answer,) = stream(stripe, call_of(1))

    assert (answer.verdict, answer.failure.type) == (Verdict.REFUSED, "not_sent")
    assert sandbox.writes() == []
    sandbox.clear_faults()
    (later,) = stream(stripe, call_of(1))
    assert later.verdict is Verdict.DONE


def test_a_meter_created_meanwhile_is_soon_found(stripe, clock):
    stream(stripe, call_of(1))
    stripe.send("billing.meter", "create", key="other", **{**METER, "event_name": "others"})

    (early,) = stream(stripe, call_of(2, event_name="others"))
    clock.slept.append(5.0)
    (later,) = stream(stripe, call_of(2, event_name="others"))

    assert (early.verdict, later.verdict) == (Verdict.REFUSED, Verdict.DONE)


def test_the_stream_uses_its_own_host(clock):
    gateway = Gateway("sk_test_12345678", "https://api.stripe.com", RateLimits.unlimited(), clock)
    other = Gateway("sk_test_12345678", "http://127.0.0.1:1", RateLimits.unlimited(), clock)

    async def bases(gateway):
        _, client = gateway._open()
        await gateway.close()
        return client._requestor._options.base_addresses

    assert asyncio.run(bases(gateway))["meter_events"] == "https://meter-events.stripe.com"
    assert asyncio.run(bases(other)) == {**asyncio.run(bases(gateway)), "api": other._address} | {
        "meter_events": other._address
    }


# ── pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def leave(limits, calls):
    """When the requests of some endpoints leave."""
    clock = VirtualClock()
    left: dict[str, list[float]] = {}

    async def one(gate, endpoint):
        async with gate.turn(endpoint) as at:
            left.setdefault(endpoint, []).append(at)

    async def everyone():
        gate = Gate(limits, clock)
        await asyncio.gather(*(one(gate, endpoint) for endpoint in calls))

    clock.run(everyone())
    return left


def test_live_streams_have_a_budget_of_their_own():
    left = leave(RateLimits.of_account(livemode=True), [METER_EVENT_STREAM] * 160 + ["customer.create"] * 40)
    assert max(left[METER_EVENT_STREAM]) == pytest.approx(2.0, abs=0.1)
    assert max(left["customer.create"]) == pytest.approx(2.0, abs=0.1)


def test_a_sandboxs_stream_counts_toward_the_accounts_limit():
    left = leave(RateLimits.of_account(livemode=False), [METER_EVENT_STREAM] * 20 + ["customer.create"] * 20)
    assert max(max(times) for times in left.values()) == pytest.approx(2.0, abs=0.1)
