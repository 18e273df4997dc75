"""A run whose calls are answered by something else than Stripe: it is never all well while Stripe differs."""

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
# A lie of every sort and a call of every kind. What is made of each answer, `gateway/test_hostile_answers.py` shows.
ALWAYS = {
    ("a 303 to the same place", 1, "a deletion"),
    ("a 307 to a stranger", None, "an update"),
    ("an empty object", None, "a creation"),
    ("another object of the kind", None, "a deletion"),
}
EVERY = [(lie, count, kind) for lie, count in (*((lie, None) for lie in LIES), (LIES[0], 1)) for kind in KINDS]


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


@pytest.mark.parametrize(
    ("lie", "count", "kind"),
    [pytest.param(*case, marks=[] if case in ALWAYS else [pytest.mark.slow]) for case in EVERY],
)
def test_a_lie_is_never_all_well_while_stripe_differs(changed, lie, kind, count):
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


@pytest.mark.parametrize("lie", ["an empty object", pytest.param("a 302 to the same place", marks=pytest.mark.slow)])
def test_a_list_that_is_not_stripes_makes_nothing_twice(shop, lie):
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
    shop.check_that_all_is_well()
