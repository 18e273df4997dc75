"""A lost state is rebuilt from the tags in Stripe, for every kind of object, each exactly once."""

from __future__ import annotations

import shutil
from typing import Any

import duckdb
import pytest
import stripe
from crash_shop import GENERATIONS, SYNCS, write_generation

# Those that Stripe lists, and that have metadata for our tag.
TAGGABLE = (
    "products",
    "prices",
    "customers",
    "coupons",
    "codes",
    "tax_rates",
    "shipping",
    "subs",
    "invoices",
    "lines",
    "quotes",
    "features",
    "links",
)


def records_of(business):
    with duckdb.connect(str(business.state), read_only=True) as state:
        query = "SELECT sync, key, stripe_id, removed FROM records WHERE NOT removed ORDER BY ALL"
        return state.execute(query).fetchall()


@pytest.fixture(
    params=[0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, GENERATIONS))],
    ids=lambda number: f"generation {number}",
)
def shop(request, business):
    """A shop with every kind of object that has our tag; up to two generations of changes lie behind it."""
    for number in range(request.param + 1):
        write_generation(business, number, TAGGABLE)
        ran = business.cli("run", "--yes")
        assert ran.exit_code == 0, ran.text
    business.write_calls()
    return business


def test_after_a_rebuild_a_run_sends_nothing_and_knows_every_object(shop):
    before = records_of(shop)
    shop.state.unlink()

    rebuilt = shop.cli("state", "rebuild")
    after = records_of(shop)
    planned = shop.plan()
    ran = shop.cli("run", "--yes")

    assert {name for name in SYNCS if name in {row[0] for row in before}} == set(TAGGABLE)
    assert rebuilt.exit_code == 0, rebuilt.text
    assert set(before) <= set(after)
    # One that was canceled when its row left still has the row's tag: it is known again, and nothing is done with it.
    objects = [*shop.stripe.objects("quote"), *shop.stripe.objects("subscription")]
    canceled = {made["id"] for made in objects if made["status"] == "canceled"}
    assert {row[2] for row in set(after) - set(before)} <= canceled
    assert planned == []
    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []
    assert records_of(shop) == after


def test_without_a_rebuild_a_run_adopts_every_object_and_sends_nothing(shop):
    before = records_of(shop)
    shop.state.unlink()

    ran = shop.cli("run", "--yes")

    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []
    assert records_of(shop) == before


def test_a_state_restored_from_its_export_is_identical(shop, tmp_path):
    def everything():
        with duckdb.connect(str(shop.state), read_only=True) as state:
            tables = ("meta", "records", "intents", "runs", "outcomes")
            return {table: state.sql(f"SELECT * FROM {table} ORDER BY ALL").to_arrow_table() for table in tables}

    exported = shop.cli("state", "export", str(tmp_path / "kept"))
    before = everything()
    shop.state.unlink()
    imported = shop.cli("state", "import", str(tmp_path / "kept"))
    after = everything()
    ran = shop.cli("run", "--yes")

    assert exported.exit_code == imported.exit_code == 0, imported.text
    assert all(table.num_rows for name, table in before.items() if name != "intents")
    assert after == before
    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []


def test_forgotten_records_are_found_again_and_nothing_is_created_twice(shop):
    before = records_of(shop)
    for name in TAGGABLE:
        assert shop.cli("state", "forget", name, "--all").exit_code == 0

    forgotten = records_of(shop)
    ran = shop.cli("run", "--yes")

    assert forgotten == []
    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []
    assert records_of(shop) == before


@pytest.mark.telling
def test_a_backup_that_is_older_than_its_objects_creates_nothing_twice(customers, tmp_path):
    people = ((1, "a@example.com", "Ann"), (2, "b@example.com", "Bob"))
    customers.rows("customers", *people, columns="id int, email text, name text")
    assert customers.cli().exit_code == 0
    backup = shutil.copy(customers.state, tmp_path / "backup")
    customers.rows("customers", *people, (3, "c@example.com", "Cem"), columns="id int, email text, name text")
    assert customers.cli().exit_code == 0
    customers.write_calls()
    shutil.copy(backup, customers.state)

    refused = customers.cli()
    rebuilt = customers.cli("state", "rebuild")
    ran = customers.cli()

    assert refused.exit_code == 2
    assert (
        "error[state-behind]: the state is older than what was sent: 1 customer object carries the tag" in refused.text
    )
    assert (rebuilt.exit_code, ran.exit_code) == (0, 0)
    assert customers.write_calls() == []
    assert customers.stripe.count("customer") == 3
    assert len(records_of(customers)) == 3


def test_a_backup_with_the_plan_that_was_made_from_it_creates_nothing_twice(customers, tmp_path):
    assert customers.cli().exit_code == 0
    people = ((1, "a@example.com", "Ann"), (2, "b@example.com", "Bob"), (3, "c@example.com", "Cem"))
    rows = (*people, (4, "d@example.com", "Dee"))
    customers.rows("customers", *rows, columns="id int, email text, name text")
    plan = str(tmp_path / "plan.jsonl")
    assert customers.cli("plan", "--out", plan).exit_code == 0
    backup = shutil.copy(customers.state, tmp_path / "backup")
    assert customers.cli("apply", plan).exit_code == 0
    shutil.copy(backup, customers.state)

    refused = customers.cli("apply", plan)

    assert refused.exit_code == 2
    assert "state-behind" in refused.text
    assert customers.stripe.count("customer") == 4


@pytest.fixture
def priced(customers):
    """A price, which is a subscription's, and a backup of the state from before the price and its customer changed."""
    customers.rows("products", ("p", "Desk"), columns="id text, name text")
    customers.sync("products", resource="product", key="id", fields={"name": "name"})
    customers.sync(
        "prices",
        resource="price",
        key="id",
        fields={
            "product": {"sync": "products", "key": "product"},
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "recurring.interval": {"value": "month"},
        },
    )
    customers.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer"},
            "items": [{"price": {"sync": "prices", "key": "price"}}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
        },
        options={"replace": True},
    )
    return customers


def sell(business, *, cents, customer):
    business.rows("prices", ("m", "p", cents), columns="id text, product text, cents int")
    business.rows("subs", ("s", customer, "m"), columns="id text, customer int, price text")


def test_a_backup_from_before_a_replacement_replaces_nothing_twice(priced, tmp_path):
    sell(priced, cents=1000, customer=1)
    assert priced.cli().exit_code == 0
    backup = shutil.copy(priced.state, tmp_path / "backup")
    sell(priced, cents=1200, customer=2)
    assert priced.cli().exit_code == 0
    after = records_of(priced)
    priced.write_calls()
    shutil.copy(backup, priced.state)

    refused = priced.cli()
    assert priced.cli("state", "rebuild").exit_code == 0
    ran = priced.cli()

    assert (refused.exit_code, ran.exit_code) == (2, 0), refused.text + ran.text
    assert "state-behind" in refused.text
    assert priced.write_calls() == []
    assert records_of(priced) == after


def test_a_hand_made_copy_does_not_block_a_replacement(priced):
    sell(priced, cents=1000, customer=1)
    assert priced.cli().exit_code == 0
    (price,) = priced.stripe.objects("price")
    client = stripe.StripeClient(priced.stripe.api_key, base_addresses={"api": priced.stripe.url})
    copy: Any = {name: price[name] for name in ("currency", "product", "metadata", "unit_amount")}
    client.v1.prices.create(copy | {"recurring": {"interval": "month"}})

    sell(priced, cents=1200, customer=1)
    ran = priced.cli()

    assert ran.exit_code == 0, ran.text
    assert sorted(p["unit_amount"] for p in priced.stripe.objects("price") if p["active"]) == [1000, 1200]
