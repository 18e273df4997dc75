"""The local Stripe's high-throughput API for meter events: sessions, and a stream that validates events later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import stripe

from dbt_stripe_sync.sandbox import Fault, RateLimits, Sandbox

METER = {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
EVENT = {"event_name": "calls", "identifier": "e1", "payload": {"stripe_customer_id": "cus_1", "value": "2"}}
MINUTE, DAY = 60, 86_400


def client(sandbox, key):
    addresses: Any = {"api": sandbox.url, "meter_events": sandbox.url}
    return stripe.StripeClient(key, base_addresses=addresses, max_network_retries=0)


@pytest.fixture
def account(sandbox):
    account = client(sandbox, sandbox.api_key)
    account.v1.billing.meters.create(METER)
    return account


@pytest.fixture
def send(sandbox, account):
    """Streams events under a session of its own."""
    session = account.v2.billing.meter_event_session.create()
    streaming = client(sandbox, session.authentication_token).v2.billing.meter_event_stream
    return lambda *events, **params: streaming.create({"events": list(events), **params})


def failure(call, *arguments):
    with pytest.raises(stripe.StripeError) as caught:
        call(*arguments)
    return caught.value


def test_a_session_lasts_a_quarter_of_an_hour_by_the_sandboxs_clock(sandbox, account, send, clock):
    session = account.v2.billing.meter_event_session.create()
    now = datetime.fromtimestamp(clock.seconds, UTC)
    times = [datetime.fromisoformat(text) for text in (session.created, session.expires_at)]
    assert times == [now, now + timedelta(minutes=15)]
    assert session.object == "v2.billing.meter_event_session"
    send(EVENT)
    clock.seconds += 15 * MINUTE
    expired = failure(send, {**EVENT, "identifier": "e2"})
    assert isinstance(expired, stripe.TemporarySessionExpiredError)
    assert (expired.http_status, expired.code) == (401, "billing_meter_event_session_expired")
    assert sandbox.count("billing.meter_event") == 1


@pytest.mark.parametrize("key", ["token_unknown", Sandbox.api_key, ""])
def test_only_a_session_token_is_valid_for_the_stream(sandbox, account, key):  # noqa: ARG001 - the account has a meter
    streaming = client(sandbox, key or " ").v2.billing.meter_event_stream
    assert failure(streaming.create, {"events": [EVENT]}).http_status == 401


def test_a_token_is_valid_only_for_the_stream(sandbox, account):
    token = account.v2.billing.meter_event_session.create().authentication_token
    assert failure(client(sandbox, token).v1.customers.list).http_status == 401


def test_a_read_only_key_gets_no_session(sandbox):
    create = client(sandbox, "rk_test_read00000000").v2.billing.meter_event_session.create
    assert failure(create).http_status == 403


def test_events_of_different_modes_and_accounts_never_mix(sandbox):
    for key in ("sk_live_other0000", "sk_test_acct_abc_1234"):
        account = client(sandbox, key)
        account.v1.billing.meters.create(METER)
        token = account.v2.billing.meter_event_session.create().authentication_token
        client(sandbox, token).v2.billing.meter_event_stream.create({"events": [EVENT]})
    assert sandbox.count("billing.meter_event") == 0
    assert sandbox.count("billing.meter_event", livemode=True) == 1
    assert sandbox.count("billing.meter_event", account="acct_abc") == 1


def test_an_identifier_counts_once_a_day_however_it_is_sent(sandbox, account, send, clock):
    account.v1.billing.meter_events.create(EVENT)
    send(EVENT, {**EVENT, "identifier": "e2"}, {**EVENT, "identifier": "e2"})
    assert sandbox.count("billing.meter_event") == 2
    again = failure(account.v1.billing.meter_events.create, {**EVENT, "identifier": "e2"})
    assert "already exists with identifier e2" in str(again)
    before = sandbox.objects("billing.meter_event")
    clock.seconds += DAY
    token = account.v2.billing.meter_event_session.create().authentication_token
    client(sandbox, token).v2.billing.meter_event_stream.create({"events": [EVENT]})
    made = {event["identifier"]: event["created"] for event in sandbox.objects("billing.meter_event")}
    assert made["e1"] == before[0]["created"] + DAY


def test_an_invalid_event_is_dropped_silently(sandbox, send, clock):
    late = datetime.fromtimestamp(clock.seconds - 36 * DAY, UTC).isoformat()
    wrong = [
        {**EVENT, "identifier": "w1", "event_name": "others"},
        {**EVENT, "identifier": "w2", "payload": {"value": "2"}},
        {**EVENT, "identifier": "w3", "payload": {"stripe_customer_id": "cus_1", "value": "two"}},
        {**EVENT, "identifier": "w4", "payload": {"stripe_customer_id": "cus_1", "value": "1234567890.1234567"}},
        {**EVENT, "identifier": "w5", "timestamp": late},
    ]
    send(EVENT, *wrong)
    assert [event["identifier"] for event in sandbox.objects("billing.meter_event")] == ["e1"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"events": []}, "between 1 and 100"),
        ({"events": [{**EVENT, "identifier": str(n)} for n in range(101)]}, "between 1 and 100"),
        ({"events": [{**EVENT, "color": "red"}]}, "unknown parameter: events[0][color]"),
        ({"events": [EVENT], "color": "red"}, "unknown parameter: color"),
        ({"events": [{**EVENT, "timestamp": "noon"}]}, "events[0].timestamp"),
        ({"events": [{**EVENT, "timestamp": 1_780_000_000}]}, "Invalid string"),
        ({"events": [{**EVENT, "payload": {"value": 2}}]}, "Invalid string"),
        ({"events": [{**EVENT, "identifier": "x" * 101}]}, "events[0].identifier"),
        ({"events": [{"payload": {}}]}, "Missing required param: events[0][event_name]"),
        ({}, "Missing required param: events"),
    ],
)
def test_an_invalid_event_rejects_the_whole_request(sandbox, account, params, message):
    token = account.v2.billing.meter_event_session.create().authentication_token
    good = params.get("events") and {**params, "events": [*params["events"], {**EVENT, "identifier": "good"}]}
    refused = failure(client(sandbox, token).v2.billing.meter_event_stream.create, good or params)
    assert refused.http_status == 400
    assert message in str(refused)
    assert set(refused.json_body["error"]) <= {"code", "message", "type", "doc_url"}
    assert sandbox.count("billing.meter_event") == 0


def test_a_body_that_is_not_json_is_refused(sandbox, account):  # noqa: ARG001 - the account has a meter
    import urllib.error
    import urllib.request

    asked = urllib.request.Request(  # noqa: S310 - the local Stripe
        f"{sandbox.url}/v2/billing/meter_event_session",
        data=b"a=1",
        headers={"Authorization": f"Bearer {sandbox.api_key}"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked)  # noqa: S310 - the local Stripe
    assert refused.value.code == 400
    assert "could not parse JSON" in orjson.loads(refused.value.read())["error"]["message"]


def test_a_failed_request_is_executed_again_under_its_key(sandbox, account):
    token = account.v2.billing.meter_event_session.create().authentication_token
    streaming = client(sandbox, token).v2.billing.meter_event_stream
    sandbox.inject(Fault.status_code(500, path="meter_event_stream"))
    options = {"idempotency_key": "k1"}
    with pytest.raises(stripe.APIError):
        streaming.create({"events": [EVENT]}, options)
    streaming.create({"events": [EVENT]}, options)
    assert sandbox.count("billing.meter_event") == 1


def test_the_stream_and_sessions_outlive_a_restart(tmp_path, clock):
    file = tmp_path / "sandbox.db"
    with Sandbox(data_file=file, clock=clock) as first:
        account = client(first, first.api_key)
        account.v1.billing.meters.create(METER)
        token = account.v2.billing.meter_event_session.create().authentication_token
    with Sandbox(data_file=file, clock=clock) as second:
        client(second, token).v2.billing.meter_event_stream.create({"events": [EVENT]})
    with Sandbox(data_file=file, clock=clock) as third:
        assert third.count("billing.meter_event") == 1


def test_the_stream_has_a_budget_of_its_own_in_live_mode(clock):
    with Sandbox(rate_limits=RateLimits.stripe(), clock=clock) as sandbox:
        account = client(sandbox, "sk_live_other0000")
        account.v1.billing.meters.create(METER)
        token = account.v2.billing.meter_event_session.create().authentication_token
        streaming = client(sandbox, token).v2.billing.meter_event_stream
        for n in range(110):
            streaming.create({"events": [{**EVENT, "identifier": str(n)}]})
        assert {line.status for line in sandbox.requests()} == {200}
