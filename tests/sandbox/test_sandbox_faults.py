"""Injected faults, and what Stripe stores after them."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import stripe

from dbt_stripe_sync.sandbox import Fault, RateLimits, Sandbox

KEY = {"idempotency_key": "k"}


def test_a_cut_before_the_effect_leaves_nothing(api, sandbox):
    sandbox.inject(Fault.cut(after_effect=False))
    with pytest.raises(stripe.APIConnectionError):
        api.customers.create({}, KEY)
    assert sandbox.count("customer") == 0

    api.customers.create({}, KEY)
    assert sandbox.count("customer") == 1


def test_a_cut_after_the_effect_leaves_the_object_and_the_key_finds_it(api, sandbox):
    sandbox.inject(Fault.cut())
    with pytest.raises(stripe.APIConnectionError):
        api.customers.create({}, KEY)

    assert sandbox.count("customer") == 1
    assert api.customers.create({}, KEY).id == sandbox.objects("customer")[0]["id"]
    assert sandbox.count("customer") == 1
    assert sandbox.writes()[0].status is None


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_500_is_replayed_for_its_key(api, sandbox, after_effect):
    sandbox.inject(Fault.status_code(500, after_effect=after_effect))
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            api.customers.create({}, KEY)
        assert failed.value.http_status == 500
    assert sandbox.writes()[1].replayed
    assert sandbox.count("customer") == (1 if after_effect else 0)


@pytest.mark.parametrize("after_effect", [False, True])
def test_a_503_is_not_saved(api, sandbox, after_effect):
    sandbox.inject(Fault.status_code(503, after_effect=after_effect))
    with pytest.raises(stripe.APIError):
        api.customers.create({}, KEY)
    api.customers.create({}, KEY)
    assert sandbox.count("customer") == 1
    assert sandbox.writes()[1].replayed is after_effect


@pytest.mark.parametrize("reason", ["global-rate", "global-concurrency", "endpoint-rate", "resource-specific"])
def test_a_429_names_its_reason_and_is_not_saved(api, sandbox, reason):
    sandbox.inject(Fault.rate_limited(reason))
    with pytest.raises(stripe.RateLimitError) as limited:
        api.customers.create({}, KEY)
    assert limited.value.headers["Stripe-Rate-Limited-Reason"] == reason
    assert "Retry-After" not in limited.value.headers
    assert limited.value.error.code == "rate_limit"
    assert api.customers.create({}, KEY).id


def test_a_lock_timeout_has_no_reason(api, sandbox):
    sandbox.inject(Fault.lock_timeout())
    with pytest.raises(stripe.RateLimitError) as limited:
        api.customers.create({}, KEY)
    assert limited.value.error.code == "lock_timeout"
    assert "Stripe-Rate-Limited-Reason" not in limited.value.headers


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.conflict(), 409), (Fault.unauthorized(), 401), (Fault.forbidden(), 403)]
)
def test_other_errors_do_not_use_up_the_key(api, sandbox, fault, status):
    sandbox.inject(fault)
    with pytest.raises(stripe.StripeError) as refused:
        api.customers.create({}, KEY)
    assert refused.value.http_status == status
    assert api.customers.create({}, KEY).id


def test_an_answer_can_be_something_other_than_json(api, sandbox):
    sandbox.inject(Fault.not_json())
    with pytest.raises(stripe.APIError, match="Invalid response body"):
        api.customers.create({}, KEY)
    assert sandbox.count("customer") == 1


def test_a_hang_ends_with_a_dropped_connection(api, sandbox):
    sandbox.inject(Fault.hang(seconds=0.05))
    with pytest.raises(stripe.APIConnectionError):
        api.customers.create({}, KEY)
    assert sandbox.count("customer") == 1


def test_a_key_in_flight_is_a_conflict(api, sandbox):
    sandbox.inject(Fault.latency(0.3))
    slow = threading.Thread(target=lambda: api.customers.create({}, KEY))
    slow.start()
    while not sandbox.requests():
        time.sleep(0.005)
    with pytest.raises(stripe.StripeError) as conflict:
        api.customers.create({}, KEY)
    slow.join()

    assert conflict.value.http_status == 409
    assert conflict.value.error.code == "idempotency_key_in_use"
    assert sandbox.count("customer") == 1


def test_a_fault_hits_only_what_it_names(api, sandbox):
    sandbox.inject(Fault.status_code(500, method="POST", path=r"^/v1/customers$", skip=1, count=2))
    api.products.create({"name": "x"})
    api.customers.create({})
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            api.customers.create({})
    api.customers.create({})
    assert sandbox.count("customer") == 2


def test_rate_limits_count_a_sliding_second_per_account_and_endpoint(clock, client_of):
    limits = RateLimits(test=5, endpoint=3, endpoints={"*.search": 1, "product.create": 10})
    with Sandbox(rate_limits=limits, clock=clock) as sandbox:
        api = client_of(sandbox).v1
        reasons = []

        def attempt(call):
            try:
                call()
            except stripe.RateLimitError as limited:
                reasons.append(limited.headers["Stripe-Rate-Limited-Reason"])

        for _ in range(4):
            attempt(lambda: api.customers.create({}))
        assert reasons == ["endpoint-rate"]
        for _ in range(3):
            attempt(lambda: api.products.create({"name": "x"}))
        assert reasons == ["endpoint-rate", "global-rate"]
        clock.seconds += 1
        api.customers.create({})
        attempt(lambda: api.customers.search({"query": "name:'x'"}))
        attempt(lambda: api.customers.search({"query": "name:'x'"}))
        assert reasons[2:] == ["endpoint-rate"]


@pytest.mark.parametrize(("key", "taken"), [("sk_live_sandbox0000", 60), ("sk_test_sandbox0000", 24)])
def test_live_meter_events_have_a_budget_of_their_own(clock, client_of, key, taken):
    with Sandbox(rate_limits=RateLimits.stripe(), clock=clock) as sandbox:
        api = client_of(sandbox, key).v1
        api.billing.meters.create(
            {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
        )
        for n in range(60):
            event = {"event_name": "calls", "payload": {"stripe_customer_id": "cus_1", "value": "1"}}
            with contextlib.suppress(stripe.RateLimitError):
                api.billing.meter_events.create({**event, "identifier": str(n)})
        assert sandbox.count("billing.meter_event", livemode=key.startswith("sk_live")) == taken


def test_stopping_drops_hanging_requests(client_of):
    sandbox = Sandbox().start()
    sandbox.inject(Fault.hang())
    failed = []

    def call():
        try:
            client_of(sandbox).v1.customers.create({})
        except stripe.APIConnectionError as error:
            failed.append(error)

    waiting = threading.Thread(target=call)
    waiting.start()
    while not sandbox.requests():
        time.sleep(0.005)
    sandbox.stop()
    waiting.join(5)
    assert failed
