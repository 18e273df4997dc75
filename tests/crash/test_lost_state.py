"""A state that is lost: our tags in Stripe give back what every kind of object was made from, each exactly once."""

from __future__ import annotations

import shutil

import duckdb
import pytest
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


@pytest.fixture(params=range(GENERATIONS), ids=lambda number: f"generation {number}")
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
    canceled = {quote["id"] for quote in shop.stripe.objects("quote") if quote["status"] == "canceled"}
    assert {row[2] for row in set(after) - set(before)} <= canceled
    assert planned == []
    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []
    assert records_of(shop) == after


def test_without_a_rebuild_a_run_takes_every_object_over_and_sends_nothing(shop):
    before = records_of(shop)
    shop.state.unlink()

    ran = shop.cli("run", "--yes")

    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []
    assert records_of(shop) == before


def test_a_state_that_comes_back_from_its_export_is_the_same_to_the_last_row(shop, tmp_path):
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


def test_all_that_is_forgotten_is_found_again_and_nothing_is_made_twice(shop):
    before = records_of(shop)
    for name in TAGGABLE:
        assert shop.cli("state", "forget", name, "--all").exit_code == 0

    forgotten = records_of(shop)
    ran = shop.cli("run", "--yes")

    assert forgotten == []
    assert ran.exit_code == 0, ran.text
    assert shop.write_calls() == []
    assert records_of(shop) == before


def test_a_backup_older_than_its_objects_and_a_rebuild_make_nothing_twice(customers, tmp_path):
    people = ((1, "a@example.com", "Ann"), (2, "b@example.com", "Bob"))
    customers.rows("customers", *people, columns="id int, email text, name text")
    assert customers.cli().exit_code == 0
    backup = shutil.copy(customers.state, tmp_path / "backup")
    customers.rows("customers", *people, (3, "c@example.com", "Cem"), columns="id int, email text, name text")
    assert customers.cli().exit_code == 0
    customers.write_calls()
    shutil.copy(backup, customers.state)

    rebuilt = customers.cli("state", "rebuild")
    ran = customers.cli()

    assert (rebuilt.exit_code, ran.exit_code) == (0, 0)
    assert customers.write_calls() == []
    assert customers.stripe.count("customer") == 3
    assert len(records_of(customers)) == 3
