"""The figures of a plan are those of the run: what the local Stripe has counted of both is what they have said.

Every kind of object of `crash_shop`, from nothing, changed, replaced, removed and brought back; with a state that was
lost, with steps that are owed, and with objects that were there before.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from business import by_hand
from crash_shop import GENERATIONS, SYNCS, write_generation

from dbt_stripe_sync.sandbox import Fault

SAID = re.compile(r"(?:About ([\d,]+) writes?, [^;.]*|No writes)(?:; planning took ([\d,]+) reads?)?\.")
MADE = re.compile(r"([\d,]+) requests? \(([\d,]+) writes?, ([\d,]+) reads?\)")


@dataclass(frozen=True)
class Counted:
    """Requests that changed something, and those that did not."""

    writes: int
    reads: int


def number(text):
    return int((text or "0").replace(",", ""))


def counted(business):
    requests = business.stripe.requests()
    writes = sum(line.method != "GET" for line in requests)
    reads = sum(line.method == "GET" for line in requests)
    business.stripe.reset_requests()
    return Counted(writes, reads)


def planned(business):
    """What a plan says that it will take and has taken, in text and in JSON."""
    business.stripe.reset_requests()
    said = SAID.search(" ".join(business.cli("plan").out.split()))
    foretold = Counted(number(said[1]), number(said[2]))
    seen = counted(business)
    assert seen.writes == 0
    assert foretold.reads == seen.reads
    document = json.loads(business.cli("plan", "--output", "json").out)
    assert sum(sync["calls"] for sync in document["syncs"]) == foretold.writes
    assert document["reads"] == foretold.reads
    return foretold


def made(business):
    """What a run says that it has sent."""
    business.stripe.reset_requests()
    said = MADE.search(" ".join(business.cli("run", "--yes").out.split()))
    told = Counted(number(said[2]), number(said[3]))
    assert number(said[1]) == told.writes + told.reads
    assert counted(business) == told
    return told


@pytest.mark.timeout(900)
def test_a_run_sends_what_the_plan_predicts(business):
    for generation in range(GENERATIONS):
        write_generation(business, generation)
        foretold = planned(business)
        assert foretold.writes > len(SYNCS) / 2

        assert made(business) == foretold, generation

        assert planned(business).writes == 0
    business.state.unlink()
    foretold = planned(business)
    assert made(business) == foretold


@pytest.fixture
def offers(business):
    """Products and prices with a lookup key."""

    def write(*, amount):
        business.rows("products", ("p1", "Desk"), ("p2", "Chair"), columns="id text, name text")
        business.rows("prices", ("m1", "p1", amount), ("m2", "p2", amount), columns="id text, product text, amount int")
        business.sync("products", resource="product", key="id", fields={"name": "name"}, match=["name"])
        business.sync(
            "prices",
            resource="price",
            key="id",
            fields={
                "product": {"sync": "products", "key": "product"},
                "currency": {"value": "usd"},
                "unit_amount": "amount",
                "lookup_key": "id",
            },
            match=["lookup_key"],
            on_removed="archive",
        )

    business.write_offers = write
    return business


def test_existing_objects_are_predicted_as_adopted(offers):
    offers.write_offers(amount=1000)
    offers.cli("run")
    offers.state.unlink()
    for path, kind in (("products", "product"), ("prices", "price")):
        for body in offers.stripe.objects(kind):
            by_hand(offers, f"{path}/{body['id']}", **{"metadata[dbt_stripe_sync]": ""})
    offers.write_offers(amount=1200)

    foretold = planned(offers)

    assert foretold.writes > 0
    assert made(offers) == foretold


@pytest.mark.telling
def test_owed_steps_are_predicted_with_the_rest(offers):
    offers.write_offers(amount=1000)
    offers.cli("run")
    offers.write_offers(amount=1200)
    foretold = planned(offers)
    assert foretold.writes == 4, "a new price and the old one's end, twice"
    old = [body["id"] for body in offers.stripe.objects("price")]
    for stripe_id in old:
        offers.stripe.inject(Fault.status_code(400, path=f"^/v1/prices/{stripe_id}$", method="POST"))
    assert made(offers).writes == foretold.writes

    foretold = planned(offers)

    assert foretold.writes == 2
    assert made(offers) == foretold
    assert planned(offers).writes == 0
