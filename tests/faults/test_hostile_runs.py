"""Runs whose calls are answered by something other than Stripe: they never report success while Stripe differs."""

from __future__ import annotations

import pytest
from hostile import ANSWERS, between

LIES = (
    "a 303 to the same place",
    "a 307 to a stranger",
    "an empty object",
    "another object of the kind",
    "an error of nobody",
)
KINDS = {"a creation": "POST /v1/customers$", "an update": "POST /v1/customers/", "a deletion": "DELETE /v1/customers/"}
# The first case is what every test run has: a redirect that turns a deletion into a read, once, and then all is honest.
CASES = [
    *((LIES[0], 1, kind) for kind in reversed(KINDS)),
    *((lie, None, kind) for lie in LIES for kind in KINDS),
]


@pytest.fixture
def changed(shop):
    """One row is new, one has changed, and one is gone."""
    business = shop.business
    meta = business.models["customers"]["meta"]["stripe_sync"]
    business.sync("customers", **meta, on_removed="delete", limits={"max_removed": 2})
    shop.run()
    business.rows(
        "customers",
        (1, "a@example.com", "Ann"),
        (2, "b@example.com", "Bo"),
        (4, "d@example.com", "Dan"),
        columns="id int, email text, name text",
    )
    business.stripe.reset_requests()
    return shop


def in_stripe(shop):
    return sorted(found["name"] for found in shop.stripe.objects("customer") if not found.get("deleted"))


@pytest.mark.parametrize(("lie", "count", "kind"), CASES)
def test_a_false_answer_is_never_reported_as_success(changed, lie, kind, count):
    real = changed.stripe
    with between(real.url) as server:
        server.lie(ANSWERS[lie], KINDS[kind], count)
        changed.business.stripe = server
        ran = changed.run()
        assert server.met
        assert server.strayed == []
        changed.business.stripe = real
        assert ran.exit_code == 1 or in_stripe(changed) == ["Ann", "Bo", "Dan"], ran.text
        if count is None:
            assert ran.exit_code == 1, ran.text
        server.be_honest()
    again = changed.run()

    assert again.exit_code == 0, again.text
    assert in_stripe(changed) == ["Ann", "Bo", "Dan"]
    assert changed.open_intents() == 0


@pytest.mark.parametrize("lie", ["an empty object", "a 302 to the same place"])
def test_a_false_list_creates_nothing_twice(shop, lie):
    shop.run()
    shop.business.state.unlink()
    real = shop.stripe
    with between(real.url) as server:
        server.lie(ANSWERS[lie], "GET /v1/customers")
        shop.business.stripe = server
        ran = shop.run()
        shop.business.stripe = real

    assert ran.exit_code == 2, ran.text
    assert "error[stripe-unreachable]" in ran.text
    assert real.count("customer") == 3
    assert shop.run().exit_code == 0
    shop.check_nothing_is_left_open()
