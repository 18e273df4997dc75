"""Meter events over the v2 stream: few requests, every row once, and early rejections where possible."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from usage import EVENT_FIELDS, METER, NOW, by_hand, events, meters, run, sent

from dbt_stripe_sync.sandbox import Fault
from dbt_stripe_sync.stripe_api.catalog import Resource

STREAM = "/v2/billing/meter_event_stream"
SESSION = "/v2/billing/meter_event_session"
STREAMED = {"stream": True}


def streamed(business, *rows, **meta):
    events(business, *rows, options=STREAMED, **meta)


def many(business, count, fields=EVENT_FIELDS):
    """So many events, each of a value of its own."""
    business.table(
        "events",
        "SELECT 'e' || range AS id, 'api' AS meter, now() AS happened_at, 'c1' AS customer_id, range AS amount "
        f"FROM range({count})",
    )
    business.sync("events", resource="billing.meter_event", key="id", fields=fields, after=["meters"], options=STREAMED)


def batches(business):
    """How many events each request of the stream held, since the last look."""
    sizes = [len(line.params["events"]) for line in business.stripe.requests() if line.path == STREAM]
    business.stripe.reset_requests()
    return sizes


def changes_of(business):
    return json.loads(business.cli("plan", "--format", "json", "--show-values").out)["changes"]


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_full_requests_carry_the_events_and_every_row_counts_once(metered):
    run(metered)
    many(metered, 250)
    metered.write_calls()

    run(metered)

    assert metered.write_calls() == [f"POST {SESSION}", *[f"POST {STREAM}"] * 3]
    assert sorted(Decimal(event["payload"]["value"]) for event in sent(metered).values()) == list(range(250))
    run(metered)
    assert metered.write_calls() == []


def test_a_full_batch_is_sent_in_one_request(metered):
    run(metered)
    many(metered, 100)
    metered.write_calls()

    run(metered)

    assert batches(metered) == [100]


def test_only_new_rows_of_a_model_that_grows_are_sent(metered):
    many(metered, 3)
    run(metered)
    many(metered, 5)
    metered.write_calls()

    run(metered)

    assert batches(metered) == [2]
    assert set(sent(metered)) == {f"shop/events/e{n}" for n in range(5)}


def test_what_is_sent_is_what_the_plan_shows(metered):
    run(metered)
    at = NOW - timedelta(days=3, seconds=7)
    streamed(metered, ("e1", "api", at, "c1", Decimal("123456789.012345")))
    (change,) = changes_of(metered)

    run(metered)

    (request,) = [line for line in metered.stripe.requests() if line.path == STREAM]
    (event,) = request.params["events"]
    (call,) = change["calls"]
    (customer,) = metered.stripe.objects("customer")
    assert call["operation"] == "stream"
    assert call["params"]["timestamp"] == int(at.timestamp())
    assert Decimal(call["params"]["payload"]["value"]) == Decimal("123456789.012345")
    assert event == {
        "event_name": "api",
        "identifier": "shop/events/e1",
        "payload": {"stripe_customer_id": customer["id"], "value": "123456789.012345"},
        "timestamp": f"{at:%Y-%m-%dT%H:%M:%S}Z",
    }
    assert sent(metered)["shop/events/e1"]["timestamp"] == int(at.timestamp())


def test_numbers_and_booleans_of_a_payload_are_sent_as_text(metered):
    run(metered)
    metered.rows(
        "events", ("e1", "c1", 7, True, None), columns="id text, customer_id text, n int, paid boolean, x text"
    )
    fields = {
        "event_name": {"value": "api"},
        "payload.stripe_customer_id": EVENT_FIELDS["payload.stripe_customer_id"],
        "payload.value": "n",
        "payload.paid": "paid",
        "payload.region": "x",
    }
    metered.sync("events", resource="billing.meter_event", key="id", fields=fields, options=STREAMED)

    run(metered)

    payload = sent(metered)["shop/events/e1"]["payload"]
    assert {name: value for name, value in payload.items() if name != "stripe_customer_id"} == {
        "value": "7",
        "paid": "true",
    }


def test_the_plan_counts_requests_and_names_the_trade_offs(metered):
    run(metered)
    many(metered, 250)

    planned = metered.cli("plan")

    assert "About 3 writes" in planned.text
    assert "one that it drops later looks sent" in planned.text
    assert "v1.billing.meter.error_report_triggered" in planned.text


def test_rows_that_were_sent_one_by_one_are_not_streamed_again(metered):
    events(metered, ("e1", "api", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(2)))
    run(metered)
    metered.write_calls()
    streamed(metered, ("e1", "api", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(2)))

    ran = run(metered)

    assert metered.write_calls() == []
    assert "has changed since it was written" not in ran.text


@pytest.mark.parametrize(
    ("option", "reason"), [({"stream": "yes"}, "bad-option"), ({"straem": True}, "unknown-option")]
)
def test_an_invalid_option_is_reported_like_any_other(metered, option, reason):
    events(metered, options=option)

    ran = metered.cli("parse")

    assert ran.exit_code == 2
    assert f"error[{reason}]" in ran.text


# ── what goes wrong on the way ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        Fault.cut(after_effect=False, path=STREAM),
        Fault.cut(after_effect=True, path=STREAM),
        Fault.not_json(path=STREAM),
        Fault.status_code(503, after_effect=True, path=STREAM),
        Fault.rate_limited("endpoint-rate", path=STREAM),
        Fault.unauthorized(path=STREAM),
        Fault.cut(path=SESSION),
        Fault.status_code(503, path=SESSION),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.path.rpartition('_')[2]} {fault.after_effect}",
)
def test_a_request_that_has_to_be_sent_again_counts_once(metered, fault):
    run(metered)
    many(metered, 20)
    metered.stripe.inject(fault)

    run(metered)

    assert sorted(Decimal(event["payload"]["value"]) for event in sent(metered).values()) == list(range(20))
    metered.write_calls()
    run(metered)
    assert metered.write_calls() == []


@pytest.mark.parametrize("path", [STREAM, SESSION], ids=["stream", "session"])
@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_the_next_run_finds_out_what_happened_to_a_request(metered, path, acts):
    run(metered)
    many(metered, 20)
    metered.stripe.inject(Fault.status_code(500, after_effect=acts, path=path))

    first = metered.cli()
    batches(metered)
    run(metered)

    assert first.exit_code == 1
    assert "20 unresolved" in first.text
    assert batches(metered) == [20]
    assert sorted(Decimal(event["payload"]["value"]) for event in sent(metered).values()) == list(range(20))


def test_a_session_that_stripe_considers_expired_is_renewed_once(metered):
    run(metered)
    many(metered, 3)
    metered.stripe.inject(Fault.unauthorized(path=STREAM, count=2))
    metered.write_calls()

    refused = metered.cli()

    assert refused.exit_code == 1
    assert "Stripe does not accept the key" in refused.text
    assert metered.write_calls() == [f"POST {SESSION}", f"POST {STREAM}"] * 2
    run(metered)
    assert len(sent(metered)) == 3


def test_a_key_that_may_not_stream_stops_the_sync_alone(metered):
    run(metered)
    many(metered, 3)
    meters(metered, ("api", "API calls"))
    metered.stripe.inject(Fault.forbidden(path=SESSION, count=None))

    ran = metered.cli()

    assert ran.exit_code == 1
    assert sent(metered) == {}
    assert [meter["display_name"] for meter in metered.stripe.objects("billing.meter")] == ["API calls"]


def test_state_that_was_lost_within_a_day_counts_nothing_twice(metered):
    many(metered, 5)
    run(metered)
    metered.state.unlink()
    metered.sync("meters", **METER, match=["event_name"])

    run(metered)

    assert batches(metered) == [5, 5]
    assert len(sent(metered)) == 5


def test_events_that_were_sent_one_by_one_are_known_to_the_stream(metered):
    events(metered, ("e1", "api", NOW, "c1", Decimal(1)))
    run(metered)
    metered.state.unlink()
    metered.sync("meters", **METER, match=["event_name"])
    streamed(metered, ("e1", "api", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(2)))

    run(metered)

    assert set(sent(metered)) == {"shop/events/e1", "shop/events/e2"}


# ── rows that are not right ──────────────────────────────────────────────────────────────────────────────────────


def test_of_a_request_that_stripe_refuses_only_the_bad_rows_are_rejected(metered, monkeypatch):
    monkeypatch.setattr(Resource, "broken_rules", lambda *_, **__: ())  # a rule of Stripe's that is not known here
    run(metered)
    metered.table(
        "events",
        "SELECT 'e' || range AS id, 'api' AS meter, now() AS happened_at, 'c1' AS customer_id, 1 AS amount, "
        "CASE WHEN range IN (17, 63) THEN repeat('x', 101) || range ELSE 'u' || range END AS identifier "
        "FROM range(100)",
    )
    fields = {**EVENT_FIELDS, "identifier": "identifier"}
    metered.sync("events", resource="billing.meter_event", key="id", fields=fields, options=STREAMED)

    ran = metered.cli()

    assert ran.exit_code == 1
    assert set(sent(metered)) == {f"u{n}" for n in range(100) if n not in {17, 63}}
    assert "98 created" in ran.text
    assert "2 rejected" in ran.text
    assert "at most 100 characters" in ran.text
    metered.write_calls()
    metered.cli()
    # The good ones are done: only the two are tried again, together and then one by one.
    assert batches(metered) == [2, 1, 1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("bad", "apl", NOW, "c1", "1"), "no active meter has the event's name"),
        (("bad", "api", NOW, "c1", "many"), "`payload.value` of the event is not a number"),
        (("bad", "api", NOW, "c1", "nan"), "`payload.value` of the event is not a number"),
        (("bad", "api", NOW, "c1", None), "`payload.value` of the event is not a number"),
        (("bad", "api", NOW, None, "1"), "the event names no customer"),
    ],
)
def test_an_event_that_stripe_would_drop_later_is_rejected_alone_and_never_sent(metered, row, reason):
    run(metered)
    columns = "id text, meter text, happened_at timestamptz, customer_id text, amount text"
    metered.rows("events", row, ("good", "api", NOW, "c1", "1.5"), columns=columns)
    metered.sync("events", resource="billing.meter_event", key="id", fields=EVENT_FIELDS, options=STREAMED)
    metered.write_calls()

    ran = metered.cli()

    assert ran.exit_code == 1
    assert reason in ran.text
    assert "rejected" in ran.text
    assert set(sent(metered)) == {"shop/events/good"}
    assert batches(metered) == [1]


@pytest.mark.parametrize("at", [NOW - timedelta(days=35, minutes=1), NOW + timedelta(days=1)])
def test_an_event_outside_stripes_window_is_not_a_change(metered, at):
    run(metered)
    streamed(metered, ("e1", "api", at, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(1)))

    ran = metered.cli()

    assert ran.exit_code == 1
    assert "Stripe rejects this time" in ran.text
    assert set(sent(metered)) == {"shop/events/e2"}


def test_the_meters_own_names_of_customer_and_value_are_what_is_looked_for(metered):
    fields = {
        **METER["fields"],
        "customer_mapping.event_payload_key": {"value": "payer"},
        "value_settings.event_payload_key": {"value": "amount"},
    }
    del fields["customer_mapping"]
    metered.sync("meters", **{**METER, "fields": {**fields, "customer_mapping.type": {"value": "by_id"}}})
    own = {
        "event_name": "meter",
        "payload.payer": EVENT_FIELDS["payload.stripe_customer_id"],
        "payload.amount": "amount",
        "payload.value": "id",
    }
    streamed(metered, ("e1", "api", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", None), fields=own)

    ran = metered.cli()

    assert ran.exit_code == 1
    assert set(sent(metered)) == {"shop/events/e1"}


def test_a_meter_that_counts_events_needs_no_value(metered):
    fields = {**METER["fields"], "default_aggregation.formula": {"value": "count"}}
    metered.sync("meters", **{**METER, "fields": fields})
    no_value = {name: source for name, source in EVENT_FIELDS.items() if name != "payload.value"}
    streamed(metered, ("e1", "api", NOW, "c1", Decimal(1)), fields=no_value)

    run(metered)

    assert set(sent(metered)) == {"shop/events/e1"}


def test_a_meter_of_the_same_run_is_known(metered):
    run(metered)
    meters(metered, ("api", "Calls"), ("gb", "Traffic"))
    streamed(metered, ("e1", "gb", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(1)))

    run(metered)

    assert {event["event_name"] for event in sent(metered).values()} == {"gb", "api"}


def test_events_of_an_inactive_meter_are_not_sent(metered):
    run(metered)
    (meter,) = metered.stripe.objects("billing.meter")
    by_hand(metered).v1.billing.meters.deactivate(meter["id"])
    streamed(metered, ("e1", "api", NOW, "c1", Decimal(1)))
    metered.write_calls()

    ran = metered.cli()

    assert "no active meter has the event's name" in ran.text
    assert metered.write_calls() == []


def test_a_key_that_may_not_read_meters_streams_without_looking_at_them(metered):
    run(metered)
    streamed(metered, ("e1", "api", NOW, "c1", Decimal(1)))
    metered.stripe.inject(Fault.forbidden(method="GET", path="^/v1/billing/meters$", count=None))

    run(metered)

    assert set(sent(metered)) == {"shop/events/e1"}


@pytest.mark.parametrize("store_values", [True, False])
def test_events_of_a_renamed_sync_are_unchanged_and_cost_no_second_read(metered, store_values):
    metered.set(store_values=store_values)
    streamed(metered, ("e1", "api", NOW, "c1", 3))
    run(metered)
    assert metered.cli("state", "mv", "events", "usage").exit_code == 0
    streamed(metered, ("e1", "api", NOW, "c1", 3), ("e2", "api", NOW, "c1", 4), name="usage")

    renamed = run(metered)
    again = run(metered)

    assert len(sent(metered)) == 2
    assert "has changed" not in renamed.text + again.text
    streamed(metered, ("e1", "api", NOW, "c1", 5), ("e2", "api", NOW, "c1", 4), name="usage")
    assert "the row has changed since it was written" in run(metered).text
