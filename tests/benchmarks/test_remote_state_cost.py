"""What a state on an object store costs: requests and time for 1,000 changes at the pace of a live account."""

from __future__ import annotations

import time

import pytest
from business import Business

from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.state.remote import objects as store
from dbt_stripe_sync.state.remote import replica

ROWS = 1_000
PACE = 80
# Seconds that a request to a store in the same region takes.
STORE_SECONDS = 0.03

pytestmark = pytest.mark.benchmark_figures


@pytest.fixture
def business(tmp_path, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    with Sandbox() as stripe:
        business = Business(root=tmp_path / "shop", stripe=stripe)
        business.set(account_per_second=PACE, endpoint_per_second=PACE)
        business.rows("customers", (0, "zero@example.com"), columns="id int, email text")
        business.sync("customers", resource="customer", key="id", fields={"email": "email"})
        yield business


def timed(business):
    began = time.monotonic()
    ran = business.cli()
    assert ran.exit_code == 0, ran.text
    return time.monotonic() - began


def many(business):
    rows = ", ".join(f"({n}, '{n}@example.com')" for n in range(ROWS + 1))
    business.table("customers", f"SELECT * FROM (VALUES {rows}) AS t(id, email)")


def test_what_1000_changes_cost(business, tmp_path, monkeypatch):
    timed(business)
    many(business)
    local = timed(business)

    opened = []
    open_objects, put, get = replica.open_objects, store.Objects._put, store.Objects.get

    def counted(place):
        opened.append(open_objects(place))
        return opened[-1]

    def slow(original):
        def late(*arguments):
            time.sleep(STORE_SECONDS)
            return original(*arguments)

        return late

    monkeypatch.setattr(replica, "open_objects", counted)
    monkeypatch.setattr(store.Objects, "_put", slow(put))
    monkeypatch.setattr(store.Objects, "get", slow(get))
    business.root.joinpath(".stripe_sync").rename(tmp_path / "away")
    with Sandbox() as stripe:
        business.stripe = stripe
        business.set(state=f"file://{tmp_path}/store")
        business.rows("customers", (0, "zero@example.com"), columns="id int, email text")
        timed(business)
        print(f"first run: {opened[-1].requests}")
        many(business)
        remote = timed(business)
        print(f"{ROWS:,} changes: {opened[-1].requests}, {remote:.1f} s; local {local:.1f} s")
        nothing = timed(business)
        print(f"nothing to do: {opened[-1].requests}, {nothing:.1f} s")
