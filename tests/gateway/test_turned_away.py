"""Calls that Stripe rejects with a 429 have had no effect, so they are never `unknown`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from dbt_stripe_sync.model.calls import Verdict
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.sandbox import Fault
from dbt_stripe_sync.stripe_api.retry import MOST_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable


def a_customer(stripe):
    return stripe.send("customer", "create", key=str(uuid4()), name="Ann").body["id"]


def a_product(stripe):
    return stripe.send("product", "create", key=str(uuid4()), name="Tea").body["id"]


def a_subscription(stripe):
    recurring = {"interval": "month"}
    price = stripe.send(
        "price",
        "create",
        key=str(uuid4()),
        currency="usd",
        unit_amount=5,
        product=a_product(stripe),
        recurring=recurring,
    ).body["id"]
    given = {"customer": a_customer(stripe), "items": [{"price": price}]}
    return stripe.send("subscription", "create", key=str(uuid4()), **given).body["id"]


def an_invoice(stripe):
    return stripe.send("invoice", "create", key=str(uuid4()), customer=a_customer(stripe)).body["id"]


def a_meter(stripe):
    name = f"api_{uuid4().hex[:8]}"
    given = {"event_name": name, "display_name": "API", "default_aggregation": {"formula": "sum"}}
    stripe.send("billing.meter", "create", key=str(uuid4()), **given)
    return {"event_name": name, "payload": {"stripe_customer_id": a_customer(stripe), "value": "5"}}


# What is sent: resource, operation, its object, its parameters.
WRITES = {
    "create": lambda _stripe: ("customer", "create", None, {"name": "Bob"}),
    "create in a parent": lambda stripe: (
        "customer.tax_id",
        "create",
        None,
        {"customer": a_customer(stripe), "type": "eu_vat", "value": "DE123456789"},
    ),
    "update": lambda stripe: ("customer", "update", a_customer(stripe), {"name": "Cleo"}),
    "delete": lambda stripe: ("product", "delete", a_product(stripe), {}),
    "cancel": lambda stripe: ("subscription", "cancel", a_subscription(stripe), {}),
    "action": lambda stripe: ("invoice", "finalize_invoice", an_invoice(stripe), {}),
    "meter event": lambda stripe: ("billing.meter_event", "create", None, a_meter(stripe)),
    "stream": lambda stripe: ("billing.meter_event", "stream", None, a_meter(stripe)),
}
# The paths that are turned away, where a call needs others first.
BEFORE = {"the event": "/v2/billing/meter_event_stream$", "its session": "_session$", "its meter": "/v1/billing/meters"}
TURNED_AWAY: dict[str, Callable[..., Fault]] = {
    "global rate": Fault.rate_limited,
    "endpoint concurrency": lambda **match: Fault.rate_limited("endpoint-concurrency", **match),
    "resource": lambda **match: Fault.rate_limited("resource-specific", **match),
    "lock": Fault.lock_timeout,
}


def changes(sandbox):
    return [line for line in sandbox.requests() if line.method != "GET" and line.status == 200]


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("reason", TURNED_AWAY)
def test_a_write_that_keeps_getting_429_is_rejected_and_can_be_sent_later(stripe, sandbox, kind, reason):
    resource, operation, target, params = WRITES[kind](stripe)
    sandbox.reset_requests()
    sandbox.inject(TURNED_AWAY[reason](count=None))

    away = stripe.send(resource, operation, target, key=str(uuid4()), **params)
    done_meanwhile = changes(sandbox)
    sandbox.clear_faults()
    later = stripe.send(resource, operation, target, key=str(uuid4()), **params)

    assert (away.verdict, later.verdict) == (Verdict.REFUSED, Verdict.DONE)
    assert not done_meanwhile


@pytest.mark.parametrize("part", BEFORE)
def test_a_streamed_event_that_was_not_sent_is_not_unknown(stripe, sandbox, part):
    params = a_meter(stripe)
    sandbox.reset_requests()
    sandbox.inject(Fault.rate_limited("global-rate", path=BEFORE[part], count=None))

    away = stripe.send("billing.meter_event", "stream", key=str(uuid4()), **params)
    again = stripe.call(
        resource="billing.meter_event", operation="stream", params=params, idempotency_key=str(uuid4()), repeated=True
    )

    assert away.verdict is Verdict.REFUSED
    # One that an earlier run may have sent stays open.
    assert again.verdict is Verdict.UNKNOWN
    assert not [line for line in changes(sandbox) if "stream" in line.path]


@pytest.mark.parametrize("kind", ["retrieve", "search", "list"])
def test_a_429_for_a_read_does_not_mean_that_nothing_exists(stripe, sandbox, kind):
    customer = a_customer(stripe)
    sandbox.inject(Fault.rate_limited("endpoint-rate", count=MOST_ATTEMPTS - 1))
    ask = {
        "retrieve": lambda: stripe.read("customer", "retrieve", customer),
        "search": lambda: stripe.read("customer", "search", query="name:'Ann'"),
        "list": lambda: stripe.read("customer", "list"),
    }[kind]

    assert ask().verdict is Verdict.DONE
    sandbox.inject(Fault.rate_limited("endpoint-rate", count=None))
    away = ask()

    assert (away.verdict, away.is_missing) == (Verdict.UNKNOWN, False)
    with pytest.raises(StripeError):
        stripe.pages("customer")
