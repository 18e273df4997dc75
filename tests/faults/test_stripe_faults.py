"""Each fault of Stripe and of the network, once and permanently, and the next run."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from fault_table import CREATION, GONE, MISMATCH, NEVER_THERE, SLOW, STRIPE_FAULTS

from dbt_stripe_sync.sandbox import Fault, Sandbox

pytestmark = pytest.mark.usefixtures("impatient")
each_fault = pytest.mark.parametrize("fault", STRIPE_FAULTS, ids=lambda fault: fault.name)


def said(ran, seen):
    return [text for text in seen if text not in ran.text]


@each_fault
def test_a_fault_that_happens_once_costs_only_time(shop, fault):
    shop.stripe.inject(fault.fault(count=1, **CREATION))

    ran = shop.run()

    if fault.once:
        assert ran.exit_code == 0, ran.text
        assert len(shop.creations()) == len({line.idempotency_key for line in shop.creations()}) + 1
    else:
        assert ran.exit_code == 1
        assert said(ran, fault.seen) == []
        assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


@each_fault
def test_a_fault_that_lasts_is_reported_and_the_next_run_succeeds(shop, fault):
    shop.stripe.inject(fault.fault(count=None, **CREATION))

    ran = shop.run()

    assert ran.exit_code == 1
    assert said(ran, fault.seen) == []
    tries = [line.idempotency_key for line in shop.creations()]
    if fault.attempts is not None:
        assert len(tries) == fault.attempts * len(set(tries)) == fault.attempts * 3
    assert shop.stripe.count("customer") == (3 if fault.acts else 0)
    assert shop.open_intents() == (3 if fault.lasting == "unknown" else 0)
    assert shop.records() == {}
    shop.stripe.clear_faults()
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


@each_fault
def test_an_update_during_a_fault_is_done_once(shop, fault):
    shop.run()
    shop.business.table("customers", "SELECT id, email, name || '!' AS name FROM customers")
    shop.stripe.inject(fault.fault(count=None, method="POST", path="^/v1/customers/"))

    ran = shop.run()

    assert ran.exit_code == 1
    assert said(ran, fault.seen) == []
    shop.stripe.clear_faults()
    assert shop.run().exit_code == 0
    assert sorted(found["name"] for found in shop.stripe.objects("customer")) == ["Ann!", "Bob!", "Cem!"]
    shop.check_nothing_is_left_open()


def test_a_missing_permission_stops_only_its_own_sync(shop):
    shop.business.rows("products", ("p1", "Desk"), columns="id text, name text")
    shop.business.sync("products", resource="product", key="id", fields={"name": "name"})
    shop.stripe.inject(Fault.forbidden(count=None, **CREATION))

    ran = shop.run()

    assert ran.exit_code == 1
    assert (shop.stripe.count("customer"), shop.stripe.count("product")) == (0, 1)


def test_an_unreachable_stripe_stops_the_run_before_anything_is_sent(shop):
    shop.stripe.stop()

    ran = shop.run()

    assert ran.exit_code == NEVER_THERE.exit_code
    assert said(ran, NEVER_THERE.seen) == []
    shop.stripe.start()
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


def test_if_stripe_goes_away_during_a_run_the_next_run_settles_everything(shop):
    shop.stripe.inject(Fault.latency(0.3, count=None, **CREATION))

    def go():
        while not shop.creations():
            time.sleep(0.01)
        shop.stripe.stop()

    going = threading.Thread(target=go)
    going.start()
    ran = shop.run()
    going.join()

    assert ran.exit_code == GONE.exit_code
    assert said(ran, GONE.seen) == []
    shop.stripe.clear_faults()
    shop.stripe.start()
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()


def test_a_key_reused_for_something_else_is_abandoned(shop):
    shop.stripe.inject(Fault.cut(after_effect=False, count=None, **CREATION))
    shop.run()
    shop.stripe.clear_faults()
    key = shop.creations()[0].idempotency_key
    use_key(shop.stripe, key)

    ran = shop.run()

    assert ran.exit_code == MISMATCH.exit_code
    assert said(ran, MISMATCH.seen) == []
    assert shop.run().exit_code == 0
    remove_what_is_not_ours(shop.stripe)
    shop.check_nothing_is_left_open()


def test_a_very_slow_answer_is_waited_for(shop):
    shop.stripe.inject(Fault.latency(0.3, count=None, **CREATION))

    ran = shop.run()

    assert ran.exit_code == SLOW.exit_code, ran.text
    assert said(ran, SLOW.seen) == []
    assert len(shop.creations()) == 3
    shop.check_nothing_is_left_open()


def use_key(stripe: Sandbox, key: str) -> None:
    """Let somebody else's call have a key."""
    send(stripe, "POST", "/v1/customers", {"name": "stranger"}, key)


def remove_what_is_not_ours(stripe: Sandbox) -> None:
    for found in stripe.objects("customer"):
        if found["name"] == "stranger":
            send(stripe, "DELETE", f"/v1/customers/{found['id']}", {})


def send(stripe: Sandbox, method: str, path: str, form: dict[str, str], key: str | None = None) -> None:
    headers = {"Authorization": f"Bearer {stripe.api_key}", **({"Idempotency-Key": key} if key else {})}
    data = urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(stripe.url + path, data, headers, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        answer.read()
