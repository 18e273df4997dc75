"""Usage-based billing to test with: meters, and the events of an append-only model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import stripe

from dbt_stripe_sync.sandbox import Sandbox

METER: dict[str, Any] = {
    "resource": "billing.meter",
    "key": "id",
    "fields": {
        "event_name": "id",
        "display_name": "label",
        "default_aggregation.formula": {"value": "sum"},
        "customer_mapping": {"type": {"value": "by_id"}, "event_payload_key": {"value": "stripe_customer_id"}},
        "value_settings.event_payload_key": {"value": "value"},
    },
}
EVENT_FIELDS = {
    "event_name": "meter",
    "timestamp": "happened_at",
    "payload.stripe_customer_id": {"sync": "customers", "key": "customer_id"},
    "payload.value": "amount",
}
EVENT_COLUMNS = "id text, meter text, happened_at timestamptz, customer_id text, amount decimal(38, 12)"
NOW = datetime.now(UTC).replace(microsecond=0)


def run(business):
    ran = business.cli()
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


def by_hand(business):
    return stripe.StripeClient(Sandbox.api_key, base_addresses={"api": business.stripe.url})


def meters(business, *rows, **meta):
    business.rows("meters", *rows, columns="id text, label text")
    business.sync("meters", **METER, **meta)


def events(business, *rows, fields=EVENT_FIELDS, **meta):
    business.rows("events", *rows, columns=EVENT_COLUMNS)
    business.sync("events", resource="billing.meter_event", key="id", fields=fields, after=["meters"], **meta)


def sent(business):
    return {event["identifier"]: event for event in business.stripe.objects("billing.meter_event")}
