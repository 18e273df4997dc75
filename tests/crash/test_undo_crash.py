"""An undo that is killed and run again reverses everything once, and the state matches Stripe."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from crash_harness import ACTED, STORING, SandboxProcess, Shop

POINTS = (
    "after the plan is written",
    "after the intent is durable",
    ACTED,
    "after the answer",
    "after the outcome is durable",
)


def write(business, customers, amount):
    business.rows("customers", *customers, columns="id text, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    business.rows("plans", ("team",), columns="code text")
    business.sync("plans", resource="product", key="code", fields={"name": "code", "id": "code"})
    business.rows("prices", ("team", amount), columns="code text, amount int")
    fields = {
        "product": {"sync": "plans", "key": "code"},
        "currency": {"value": "usd"},
        "unit_amount": "amount",
        "lookup_key": "code",
    }
    business.sync("prices", resource="price", key="code", fields=fields)


@pytest.fixture
def shop(tmp_path, nursery):
    with closing(SandboxProcess()) as stripe:
        yield Shop.made_in(tmp_path, stripe, nursery)


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        (POINTS[-1], 1),
        *(pytest.param(point, 1, marks=pytest.mark.slow) for point in POINTS[:-1]),
        *(pytest.param(point, nth, marks=pytest.mark.long) for nth in (2, 3) for point in POINTS),
    ],
)
def test_a_killed_undo_is_completed_by_the_next_one(shop, point, nth):
    check_killed_undo(shop, point, nth)


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        pytest.param(ACTED, 2, marks=pytest.mark.slow),
        *(pytest.param(point, 1, marks=pytest.mark.slow) for point in POINTS),
        *(pytest.param(point, nth, marks=pytest.mark.slow) for nth in (1, 4) for point in STORING[:2]),
        *(pytest.param(point, nth, marks=pytest.mark.long) for nth in (2, 3, 6) for point in (*POINTS, *STORING)),
    ],
)
def test_a_killed_undo_is_completed_on_a_machine_without_the_state(shop, tmp_path, point, nth):
    """The state is on an object store, and the killed runner's disk is gone."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    shop.business.set(state=bucket.as_uri())
    shop.environment = {"CRASH_FOLDS_OFTEN": "yes"}
    shop.forgets = True

    check_killed_undo(shop, point, nth)


def check_killed_undo(shop, point, nth):
    """A run, its undo that is killed, and the undo again: all is as it was before the run, and the state knows it."""
    stripe = shop.stripe
    write(shop.business, [("1", "a@example.com"), ("2", "b@example.com")], 100)
    assert shop.run()
    before = {kind: plain(stripe.objects(kind)) for kind in ("customer", "product")}
    (old,) = stripe.objects("price")
    write(shop.business, [("1", "A@example.com"), ("2", "B@example.com"), ("3", "c@example.com")], 200)
    assert shop.run()
    run_id = last_run(shop)

    while not shop.run(point, nth, ("undo", run_id, "--yes")) and shop.counts.kills < 3:
        pass
    # A later occurrence of an instant may not come: several changes can share one commit.
    assert shop.counts.kills or nth > 1
    assert shop.run(command=("undo", run_id, "--yes"))

    assert {kind: plain(stripe.objects(kind)) for kind in ("customer", "product")} == before
    prices = {body["id"]: body for body in stripe.objects("price")}
    assert len(prices) == 2
    assert [body["id"] for body in prices.values() if body["active"]] == [old["id"]]
    assert prices[old["id"]]["lookup_key"] == "team"
    recorded = {(row[0], row[1]): row[3] for row in shop.records()}
    assert recorded["prices", "team"] == old["id"]
    assert ("customers", "3") not in recorded
    plan = shop.business.cli("plan", "--output", "json")
    found = sorted((c["sync"], c["action"], c["key"]) for c in json.loads(plan.out)["changes"])
    assert found == [
        ("customers", "create", "3"),
        ("customers", "update", "1"),
        ("customers", "update", "2"),
        ("prices", "archive", "team"),
        ("prices", "replace", "team"),
    ]


def plain(bodies):
    return sorted(json.dumps({**body, "updated": None}, sort_keys=True) for body in bodies)


def last_run(shop):
    return json.loads(shop.business.cli("runs", "--output", "json", "--limit", "1").out.splitlines()[0])["run"]
