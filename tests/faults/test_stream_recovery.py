"""Streamed events with an unknown outcome, with hours or days in between."""

from __future__ import annotations

from datetime import timedelta

import pytest
from usage import by_hand

from dbt_stripe_sync.sandbox import Fault

STREAM = "^/v2/billing/meter_event_stream$"
EVENTS = 30


@pytest.fixture
def metered(shop):
    """A customer with many usage events that are streamed, none of them sent yet."""
    assert shop.run().exit_code == 0
    shop.business.rows("meters", ("calls",), columns="id text")
    meter = {"event_name": "id", "display_name": "id", "default_aggregation.formula": {"value": "sum"}}
    shop.business.sync("meters", resource="billing.meter", key="id", fields=meter, on_removed="deactivate")
    assert shop.run().exit_code == 0
    shop.business.table("usage", f"SELECT 'u' || range AS id, 1 AS customer, range + 1 AS n FROM range({EVENTS})")
    event = {
        "event_name": {"value": "calls"},
        "payload.stripe_customer_id": {"sync": "customers", "key": "customer"},
        "payload.value": "n",
    }
    options = {"stream": True}
    shop.business.sync("usage", resource="billing.meter_event", key="id", fields=event, after="meters", options=options)
    return shop


def leave_open(shop, *, acts):
    """A run whose events get no answer that says what became of them."""
    shop.stripe.inject(Fault.status_code(500, after_effect=acts, count=None, path=STREAM))
    ran = shop.run()
    shop.stripe.clear_faults()
    assert (ran.exit_code, shop.open_intents()) == (1, EVENTS), ran.text


def pass_time(shop, by):
    """Time for the runs and for Stripe alike."""
    shop.clock.move(by)
    shop.stripe.advance(by.total_seconds())


def streamed(shop):
    """How many events each request of the stream held, since the last look."""
    sizes = [len(line.params["events"]) for line in shop.stripe.writes() if line.path.endswith("_stream")]
    shop.stripe.reset_requests()
    return sizes


@pytest.mark.parametrize("hours", [0, 22])
@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_events_without_an_answer_are_sent_again_together_and_count_once(metered, acts, hours):
    leave_open(metered, acts=acts)
    pass_time(metered, timedelta(hours=hours))
    streamed(metered)

    ran = metered.run()

    assert ran.exit_code == 0, ran.text
    assert streamed(metered) == [EVENTS]
    assert metered.stripe.count("billing.meter_event") == EVENTS
    assert metered.open_intents() == 0


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_events_that_stripe_no_longer_deduplicates_are_settled_by_what_their_meter_has_counted(metered, acts):
    leave_open(metered, acts=acts)
    pass_time(metered, timedelta(days=2))
    streamed(metered)

    ran = metered.run()

    assert ran.exit_code == 0, ran.text
    assert sum(streamed(metered)) == (0 if acts else EVENTS)
    assert metered.stripe.count("billing.meter_event") == EVENTS
    assert metered.open_intents() == 0


@pytest.mark.parametrize("acts", [True, False], ids=["done", "not done"])
def test_a_second_attempt_without_an_answer_does_not_extend_stripes_deduplication_window(metered, acts):
    leave_open(metered, acts=acts)
    pass_time(metered, timedelta(hours=20))
    leave_open(metered, acts=False)
    pass_time(metered, timedelta(hours=20))
    streamed(metered)

    ran = metered.run()

    assert ran.exit_code == 0, ran.text
    assert sum(streamed(metered)) == (0 if acts else EVENTS)


def test_an_event_that_may_have_been_sent_is_not_rejected_for_a_later_reason(metered):
    leave_open(metered, acts=True)
    (meter,) = metered.stripe.objects("billing.meter")
    by_hand(metered.business).v1.billing.meters.deactivate(meter["id"])
    streamed(metered)

    metered.run()

    assert streamed(metered) == []
    assert metered.open_intents() == EVENTS


def test_events_of_an_old_plan_are_not_sent_outside_stripes_window(metered):
    metered.business.table(
        "usage",
        "SELECT 'u' || range AS id, 1 AS customer, range AS n, now() - to_days(34 * range::int) AS at FROM range(2)",
    )
    sync = metered.business.models["usage"]["meta"]["stripe_sync"]
    metered.business.sync("usage", **{**sync, "fields": {**sync["fields"], "timestamp": "at"}})
    file = metered.business.root / "plan.json"
    planned = metered.run("plan", "--out", str(file))
    metered.clock.move(timedelta(days=2))

    ran = metered.run("apply", str(file))

    assert planned.exit_code == 0, planned.text
    assert ran.exit_code == 1
    assert "`timestamp` is more than 35 days in the past" in ran.text
    assert streamed(metered) == [1]
