"""Usage-based billing: meters follow their rows, and every row of an append-only model counts once."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from usage import EVENT_COLUMNS, EVENT_FIELDS, METER, NOW, by_hand, events, meters, run, sent

from dbt_stripe_sync.sandbox import Fault, FaultKind

USAGE = Path(__file__).parent.parent / "docs" / "usage.md"


# ── meters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_meter_is_created_and_only_its_name_can_change(metered):
    run(metered)
    (made,) = metered.stripe.objects("billing.meter")
    meters(metered, ("api", "API calls"))
    metered.write_calls()

    run(metered)

    (meter,) = metered.stripe.objects("billing.meter")
    assert (made["event_name"], made["status"], made["default_aggregation"]) == ("api", "active", {"formula": "sum"})
    assert (meter["id"], meter["display_name"]) == (made["id"], "API calls")
    assert metered.write_calls() == [f"POST /v1/billing/meters/{made['id']}"]


def test_a_meter_that_counts_differently_is_rejected(metered):
    run(metered)
    fields = {**METER["fields"], "default_aggregation.formula": {"value": "count"}}
    metered.sync("meters", **{**METER, "fields": fields})

    ran = metered.cli()

    assert ran.exit_code == 1
    assert "the way a meter counts is fixed at creation" in ran.text


def test_a_meter_is_deactivated_and_reactivated_with_its_row(metered):
    meters(metered, ("api", "Calls"), ("gb", "Traffic"), on_removed="deactivate")
    run(metered)
    by_name = {meter["event_name"]: meter["id"] for meter in metered.stripe.objects("billing.meter")}
    meters(metered, ("api", "Calls"), on_removed="deactivate")
    run(metered)
    away = {meter["event_name"]: meter["status"] for meter in metered.stripe.objects("billing.meter")}
    metered.write_calls()
    run(metered)
    quiet = metered.write_calls()
    meters(metered, ("api", "Calls"), ("gb", "Gigabytes"), on_removed="deactivate")

    run(metered)

    back = {meter["event_name"]: meter for meter in metered.stripe.objects("billing.meter")}
    assert away == {"api": "active", "gb": "inactive"}
    assert quiet == []
    assert (back["gb"]["id"], back["gb"]["status"], back["gb"]["display_name"]) == (
        by_name["gb"],
        "active",
        "Gigabytes",
    )
    metered.write_calls()
    run(metered)
    assert metered.write_calls() == []


def test_a_meter_that_returned_under_a_rejected_name_is_deactivated_when_its_row_leaves_again(metered):
    meters(metered, ("api", "Calls"), ("gb", "Traffic"), on_removed="deactivate")
    run(metered)
    meters(metered, ("api", "Calls"), on_removed="deactivate")
    run(metered)
    metered.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/billing/meters/[^/]+$"))
    meters(metered, ("api", "Calls"), ("gb", "Gigabytes"), on_removed="deactivate")
    assert metered.cli().exit_code == 1
    metered.stripe.clear_faults()
    meters(metered, ("api", "Calls"), on_removed="deactivate")

    run(metered)

    statuses = {meter["event_name"]: meter["status"] for meter in metered.stripe.objects("billing.meter")}
    assert statuses == {"api": "active", "gb": "inactive"}


def test_a_meter_that_was_activated_by_hand_is_not_activated_twice(metered):
    meters(metered, ("api", "Calls"), ("gb", "Traffic"), on_removed="deactivate")
    run(metered)
    (gb,) = [meter["id"] for meter in metered.stripe.objects("billing.meter") if meter["event_name"] == "gb"]
    meters(metered, ("api", "Calls"), on_removed="deactivate")
    run(metered)
    by_hand(metered).v1.billing.meters.reactivate(gb)
    meters(metered, ("api", "Calls"), ("gb", "Traffic"), on_removed="deactivate")
    metered.write_calls()

    run(metered)

    assert metered.write_calls() == []


def test_what_the_documentation_shows_is_synced(metered):
    block = USAGE.read_text().split("```yaml\n")[1].split("```")[0]
    syncs = {model["name"]: model["config"]["meta"]["stripe_sync"] for model in yaml.safe_load(block)["models"]}
    del metered.models["meters"]
    metered.table("stripe_customers", "SELECT 'c1' AS customer_id, 'c@example.com' AS email")
    metered.table("stripe_meters", "SELECT 'api_calls' AS event_name, 'Calls' AS label")
    metered.table("stripe_usage", "SELECT 'e1' AS event_id, now() AS happened_at, 'c1' AS customer_id, 1.5 AS amount")
    for name, sync in syncs.items():
        metered.sync(name, **sync)

    run(metered)

    assert sent(metered)["shop/stripe_usage/e1"]["payload"]["value"] == "1.5"


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_row_of_an_append_only_model_counts_once(metered):
    events(metered, ("e1", "api", NOW, "c1", Decimal(3)), ("e2", "api", NOW, "c1", Decimal(4)))
    run(metered)
    metered.write_calls()
    events(metered, *[(f"e{n}", "api", NOW, "c1", Decimal(n + 2)) for n in (1, 2, 3)])

    run(metered)

    assert metered.write_calls() == ["POST /v1/billing/meter_events"]
    assert set(sent(metered)) == {"shop/events/e1", "shop/events/e2", "shop/events/e3"}
    assert [Decimal(event["payload"]["value"]) for _, event in sorted(sent(metered).items())] == [3, 4, 5]


def test_values_and_times_are_sent_exactly(metered):
    at = NOW - timedelta(days=3, seconds=7)
    events(
        metered,
        ("e1", "api", at, "c1", Decimal("0.000000000001")),
        ("e2", "api", at, "c1", Decimal("123456789.012345")),
    )

    run(metered)

    made = sent(metered)
    (customer,) = metered.stripe.objects("customer")
    assert made["shop/events/e1"]["payload"] == {"stripe_customer_id": customer["id"], "value": "0.000000000001"}
    assert made["shop/events/e2"]["payload"]["value"] == "123456789.012345000000"
    assert {event["timestamp"] for event in made.values()} == {int(at.timestamp())}


@pytest.mark.parametrize("options", [{}, {"stream": True}], ids=["one by one", "streamed"])
def test_a_value_with_more_digits_than_stripe_counts_is_rejected_alone(metered, options):
    many, few = Decimal("1234567890.123456"), Decimal("123456789.012345")
    events(metered, ("e1", "api", NOW, "c1", many), ("e2", "api", NOW, "c1", few), options=options)

    ran = metered.cli()

    assert ran.exit_code == 1
    assert "has more than 15 significant digits" in ran.text
    assert set(sent(metered)) == {"shop/events/e2"}


def test_an_identifier_of_the_users_own_is_kept_and_a_long_key_gets_a_digest(metered):
    events(metered, ("k" * 200, "api", NOW, "c1", Decimal(1)))
    run(metered)
    (digest,) = sent(metered)
    metered.rows("events", ("mine", "api", NOW, "c1", Decimal(1)), columns=EVENT_COLUMNS)
    events(metered, ("mine", "api", NOW, "c1", Decimal(1)), fields={**EVENT_FIELDS, "identifier": "id"})

    run(metered)

    assert digest.startswith("sha256:")
    assert len(digest) <= 100
    assert set(sent(metered)) == {digest, "mine"}


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (
            NOW - timedelta(days=35, minutes=1),
            "`timestamp` is more than 35 days in the past, and Stripe rejects this time",
        ),
        (NOW + timedelta(days=1), "`timestamp` is more than 5 minutes in the future, and Stripe rejects this time"),
    ],
)
def test_an_event_outside_stripes_window_is_rejected_alone_and_never_sent(metered, at, reason):
    run(metered)
    events(
        metered,
        ("e1", "api", at, "c1", Decimal(1)),
        ("e2", "api", NOW - timedelta(days=34, hours=23), "c1", Decimal(1)),
        ("e3", "api", NOW + timedelta(minutes=4), "c1", Decimal(1)),
    )
    metered.write_calls()

    ran = metered.cli()

    assert ran.exit_code == 1
    assert reason in ran.text
    assert "[e1]" in ran.text
    assert set(sent(metered)) == {"shop/events/e2", "shop/events/e3"}
    assert len(metered.write_calls()) == 2


def test_a_sent_event_may_leave_stripes_window(metered):
    events(metered, ("e1", "api", NOW, "c1", Decimal(1)))
    run(metered)
    events(metered, ("e1", "api", NOW - timedelta(days=90), "c1", Decimal(1)))

    ran = run(metered)

    assert "the row has changed since it was written, and the sync's mode is `insert`" in ran.text
    assert len(sent(metered)) == 1


def test_events_that_stripe_already_has_count_as_sent_after_a_lost_state(metered):
    events(metered, ("e1", "api", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(2)))
    run(metered)
    metered.state.unlink()
    metered.sync("meters", **METER, match=["event_name"])

    run(metered)
    metered.write_calls()
    run(metered)

    assert len(sent(metered)) == 2
    assert metered.write_calls() == []


def test_an_event_whose_answer_was_a_failure_counts_once(metered):
    run(metered)
    events(metered, ("e1", "api", NOW, "c1", Decimal(1)))
    path = "/v1/billing/meter_events"
    metered.stripe.inject(
        Fault(kind=FaultKind.STATUS, method="POST", path=path, status=500, after_effect=True, count=1)
    )

    first = metered.cli()
    run(metered)

    assert first.exit_code == 1
    assert len(sent(metered)) == 1


def test_an_event_without_a_meter_is_reported_in_stripes_words(metered):
    events(metered, ("e1", "nothing", NOW, "c1", Decimal(1)), ("e2", "api", NOW, "c1", Decimal(1)))

    ran = metered.cli()

    assert ran.exit_code == 1
    assert set(sent(metered)) == {"shop/events/e2"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_a_number_is_rejected_before_it_is_sent(metered, value):
    run(metered)
    metered.rows("events", ("e1", "c1", value), ("e2", "c1", 1.5), columns="id text, customer_id text, amount double")
    fields = {**EVENT_FIELDS, "event_name": {"value": "api"}}
    del fields["timestamp"]
    metered.sync("events", resource="billing.meter_event", key="id", fields=fields)
    metered.write_calls()

    ran = metered.cli()

    assert ran.exit_code == 1
    assert "`payload.value` is not finite" in ran.text
    assert [event["payload"]["value"] for event in sent(metered).values()] == ["1.5"]
    assert len(metered.write_calls()) == 1


def test_live_events_have_a_faster_pace_than_other_calls(metered, monkeypatch):
    # With the pace of any other endpoint, 20 a second, this would take 15 seconds.
    metered.settings.clear()
    metered.set(live_targets=["dev"])
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_sandbox000000000000")
    # Stripe takes one event of a customer and a meter at a time, so they are of many customers.
    metered.rows("customers", *[(f"c{n}", "a@example.com") for n in range(20)], columns="id text, email text")
    run(metered)
    events(metered, *[(f"e{n}", "api", NOW, f"c{n % 20}", Decimal(1)) for n in range(300)])
    began = time.monotonic()

    run(metered)

    assert metered.stripe.count("billing.meter_event", livemode=True) == 300
    assert time.monotonic() - began < 8
