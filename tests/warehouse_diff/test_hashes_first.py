"""The warehouse hashes the rows of a large table: a run reads the hashes, and then only the rows that differ."""

from __future__ import annotations

import json

import pytest
from copied import people, write
from logged import DuckDBBusiness, PostgresBusiness, drop
from test_agreement import STEPS, History

from dbt_stripe_sync.engine.plan.comparing import Comparing
from dbt_stripe_sync.engine.stage import hashes_first
from dbt_stripe_sync.engine.stage.extract import CountingWarehouse
from dbt_stripe_sync.model.hashes import DIGEST, ROW_COUNT, ROW_HASH, ROW_KEY

HASHES = (ROW_KEY, ROW_HASH)


@pytest.fixture(params=["duckdb", "postgres"])
def shop(request, tmp_path, stripe, monkeypatch):
    """No models yet; eight rows are a large table."""
    monkeypatch.setattr(hashes_first, "MANY_RECORDS", 4)
    made = (
        DuckDBBusiness(root=tmp_path / "shop", stripe=stripe)
        if request.param == "duckdb"
        else PostgresBusiness(root=tmp_path / "shop", stripe=stripe, server=request.getfixturevalue("postgres"))
    )
    made.set(account_per_second=100_000, endpoint_per_second=100_000)
    yield made
    drop(made)


@pytest.fixture
def queried(monkeypatch):
    """Which columns each query of a run asks for."""
    asked: list[tuple[str, ...]] = []
    original = CountingWarehouse.rows

    def rows(self, source):
        asked.append(tuple(source.columns))
        return original(self, source)

    monkeypatch.setattr(CountingWarehouse, "rows", rows)
    return asked


def emails(shop):
    return sorted(customer["email"] for customer in shop.stripe.objects("customer"))


def test_only_hashes_of_unchanged_rows_are_read(customers, read, queried):
    customers.cli()
    queried.clear()
    read.take()

    assert "unchanged" in customers.cli().out

    assert queried[0] == HASHES
    assert read.take() == {"customers": 8}


def test_the_rows_that_differ_are_read_and_written(customers, read, queried):
    customers.cli()
    queried.clear()
    read.take()

    write(customers, people(9, n7="new@example.com")[1:])
    ran = customers.cli()

    assert ran.exit_code == 0
    # Eight hashes; a new row and a changed one. What is gone needs no row.
    assert read.take() == {"customers": 8 + 2}
    assert [columns == HASHES for columns in queried] == [True, False]
    assert emails(customers) == sorted(email for _, email in people(9, n7="new@example.com")[1:])
    assert "unchanged" in customers.cli().out


def test_counts_cover_the_whole_model(customers):
    customers.cli()
    write(customers, people(8, n1="x@example.com"))
    customers.do("INSERT INTO customers VALUES (NULL, 'nobody@example.com')")

    plan = json.loads(customers.cli("plan", "--format", "json").out)

    (counts,) = plan["syncs"]
    assert (counts["rows"], counts["same"], counts["rejected"]) == (9, 7, 1)
    assert [problem["code"] for problem in plan["problems"]] == ["null-key"]


def test_a_small_table_that_grows_stays_unchanged(customers, read, queried, monkeypatch):
    monkeypatch.setattr(hashes_first, "MANY_RECORDS", 1_000)
    customers.cli()
    assert HASHES not in queried
    monkeypatch.setattr(hashes_first, "MANY_RECORDS", 4)
    read.take()

    customers.cli()

    assert read.take() == {"customers": 8}, "the hashes are the same ones, and no row is read for its values"


@pytest.mark.parametrize("twice", [(3, "p3@example.com"), (3, "other@example.com")], ids=["same", "other"])
def test_a_duplicate_key_is_found_though_one_row_is_unchanged(customers, twice):
    customers.cli()
    write(customers, [*people(8), twice])

    plan = json.loads(customers.cli("plan", "--format", "json").out)

    assert [problem["code"] for problem in plan["problems"]] == ["duplicate-key"]
    assert plan["changes"] == []


def test_a_view_is_queried_once(customers, queried):
    customers.cli()
    customers.do("ALTER TABLE customers RENAME TO base", "CREATE VIEW customers AS SELECT * FROM base")
    customers.models["customers"]["materialized"] = "view"
    customers.write_manifest()
    queried.clear()

    assert "unchanged" in customers.cli().out

    assert [set(columns) for columns in queried] == [{"id", "email"}]


def test_beyond_a_number_of_differences_all_rows_are_read_at_once(customers, read, monkeypatch):
    monkeypatch.setattr(hashes_first, "MAX_DIFFERING", 2)
    customers.cli()
    read.take()
    write(customers, people(8, n1="a@example.com", n2="b@example.com", n3="c@example.com"))

    customers.cli()

    assert read.take() == {"customers": 8 + 8}
    assert emails(customers) == sorted(
        email for _, email in people(8, n1="a@example.com", n2="b@example.com", n3="c@example.com")
    )


def test_a_state_without_values_sends_no_salt_to_the_warehouse(customers, queried):
    customers.set(store_values=False)
    customers.cli()
    queried.clear()

    assert "unchanged" in customers.cli().out

    assert [set(columns) for columns in queried] == [{"id", "email"}]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_server_without_the_hash_function_is_read_in_full(customers, queried):
    rename = "ALTER FUNCTION pg_catalog.{}(record, bigint) RENAME TO {}"
    customers.do(rename.format("hash_record_extended", "hash_of_another_name"))
    try:
        customers.cli()
        assert "unchanged" in customers.cli().out
    finally:
        customers.do(rename.format("hash_of_another_name", "hash_record_extended"))

    assert [set(columns) for columns in queried] == [{"id", "email"}] * 2


def test_a_key_whose_type_has_several_text_forms_is_compared_locally(customers, queried):
    customers.do("ALTER TABLE customers ALTER COLUMN id TYPE numeric")
    customers.cli()
    queried.clear()

    assert "unchanged" in customers.cli().out

    assert HASHES not in queried
    assert len(customers.stripe.objects("customer")) == 8


@pytest.fixture
def settled(customers, read, queried):
    """A project whose last run found nothing to change."""
    customers.cli()
    assert "unchanged" in customers.cli().out
    read.take()
    queried.clear()
    return customers


def test_after_a_run_without_changes_one_digest_is_read(settled, read, queried):
    assert "8 unchanged" in settled.cli().out

    assert queried == [(ROW_COUNT, DIGEST), (ROW_HASH, "id", "email")]
    assert read.take() == {"customers": 1}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE customers SET email = 'new@example.com' WHERE id = 7", (1, 0, 0)),
        ("UPDATE customers c SET email = o.email FROM customers o WHERE c.id = 7 - o.id AND c.id IN (3, 4)", (2, 0, 0)),
        ("INSERT INTO customers VALUES (9, 'p9@example.com')", (1, 0, 0)),
        ("DELETE FROM customers WHERE id = 3", (0, 1, 0)),
        ("UPDATE customers SET id = 9 WHERE id = 3", (1, 1, 0)),
        ("INSERT INTO customers VALUES (NULL, 'p9@example.com')", (0, 0, 1)),
        ("INSERT INTO customers SELECT * FROM customers", (0, 0, 16)),
        ("UPDATE customers SET id = 4, email = 'p4@example.com' WHERE id = 3", (0, 1, 2)),
    ],
)  # fmt: skip
def test_a_digest_shows_each_kind_of_change(settled, queried, change, expected):
    settled.do(change)

    (counts,) = json.loads(settled.cli("plan", "--format", "json").out)["syncs"]

    assert queried[:2] == [(ROW_COUNT, DIGEST), HASHES]
    kinds = ("create", "update", "delete")
    created, updated, deleted = (counts["changes"].get(kind, 0) for kind in kinds)
    assert (created + updated, deleted, counts["rejected"]) == expected


def planned(shop, many):
    """The plan where a table of `many` records is large, and thought to be unchanged."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashes_first, "MANY_RECORDS", many)
        patch.setattr(Comparing, "_likely_unchanged", lambda *_: True)
        plan = json.loads(shop.cli("plan", "--format", "json", "--show-values").out)
    names = ("sync", "rows", "same", "rejected", "held", "changes", "calls")
    counts = [{name: counts[name] for name in names} for counts in plan["syncs"]]
    return plan["changes"], counts, sorted((problem["code"], problem["summary"]) for problem in plan["problems"])


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    "seed", [pytest.param(1, marks=pytest.mark.slow), *(pytest.param(n, marks=pytest.mark.long) for n in (2, 3))]
)
def test_plans_are_the_same_after_any_history(shop, seed):
    history = History(shop, seed)
    assert shop.cli().exit_code == 0
    for number in range(STEPS):
        history.step()

        assert planned(shop, 1) == planned(shop, 1_000_000), f"after step {number}"

        shop.cli("run", "--yes", *(["--refresh"] if number % 5 == 4 else []))
