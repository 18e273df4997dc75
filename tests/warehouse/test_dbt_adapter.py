"""Rows read through dbt's own adapters, of DuckDB and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pytest
from msgspec.structs import replace
from warehouses import model, shop_model

from dbt_stripe_sync.model.errors import WarehouseError

pytest.importorskip("dbt.adapters.factory")


@pytest.fixture
def duckdb_target(tmp_path):
    with duckdb.connect(str(tmp_path / "dev.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE customers AS SELECT range AS id, 1.50::DECIMAL(9, 2) AS credit, "
            "TIMESTAMPTZ '2026-02-28 02:00+02' AS at, ['a'] AS tags, 'x' AS \"a \"\"b\"\"\" FROM range(25000)"
        )
    return {"type": "duckdb", "path": str(tmp_path / "dev.duckdb"), "schema": "main", "threads": 1}


def test_rows_are_exact_through_dbts_duckdb_adapter_which_prints_nothing(through_dbt, duckdb_target, capfd):
    warehouse = through_dbt(duckdb_target)

    table = warehouse.rows(model("customers", "ID", "credit", "at", "tags", 'a "b"')).read_all()

    assert table.num_rows == 25_000
    assert table.slice(24_999).to_pylist() == [
        {
            "ID": 24_999,
            "credit": "1.50",
            "at": datetime(2026, 2, 28, tzinfo=UTC),
            "tags": '["a"]',
            'a "b"': "x",
        }
    ]
    assert capfd.readouterr().out == ""


def test_columns_are_in_order_with_their_types(through_dbt, duckdb_target):
    assert list(through_dbt(duckdb_target).columns(model("customers"))) == ["id", "credit", "at", "tags", 'a "b"']


@pytest.mark.slow
def test_rows_are_exact_through_dbts_postgres_adapter(through_dbt, shop):
    shop.execute(
        "CREATE TABLE shop.customers AS SELECT 1 AS id, 12345678901234567890.12::numeric AS credit, "
        "timestamptz '2026-02-28 02:00+02' AS at, '{\"a\": 1}'::jsonb AS doc, NULL::int AS nothing"
    )
    warehouse = through_dbt(shop.target(threads=1))
    source = shop_model("customers", "id", "credit", "at", "doc", "nothing")

    assert warehouse.columns(source)["credit"] == "DECIMAL"
    assert warehouse.rows(source).read_all().to_pylist() == [
        {
            "id": 1,
            "credit": "12345678901234567890.12",
            "at": datetime(2026, 2, 28, tzinfo=UTC),
            "doc": '{"a":1}',
            "nothing": None,
        }
    ]


def test_an_unbuilt_model_is_named_and_the_next_one_is_read(through_dbt, shop):
    shop.execute("CREATE TABLE shop.a AS SELECT 1 AS n")
    warehouse = through_dbt(shop.target(threads=1))

    with pytest.raises(WarehouseError) as caught:
        warehouse.rows(shop_model("customers", "id"))

    assert caught.value.problems[0].code == "relation-missing"
    assert warehouse.rows(shop_model("a", "n")).read_all().to_pylist() == [{"n": 1}]


@pytest.mark.slow
def test_an_unreachable_warehouse_is_named_without_the_password(through_dbt, shop):
    with pytest.raises(WarehouseError) as caught:
        through_dbt(shop.target(host="127.0.0.1", port=1, password="hush-hush", retries=0, threads=1))

    assert str(caught.value).startswith(
        "warehouse-unreachable: PostgreSQL at 127.0.0.1:1, database `postgres` can't be reached: nothing listens"
    )
    assert "hush-hush" not in str(caught.value)


def test_a_missing_profile_is_named(through_dbt, duckdb_target):
    with pytest.raises(WarehouseError, match="warehouse-setting: the dbt profile's `nowhere` can't be loaded"):
        through_dbt(duckdb_target, profile="nowhere")


class ForgetfulCursor:
    """One whose `fetchmany` gives rows once, and no more after that, as dbt-trino's does."""

    def __init__(self, cursor):
        self._cursor = cursor
        self._fetched = None

    def __getattr__(self, name):
        return getattr(self._cursor, name)

    def execute(self, sql):
        self._cursor.execute(sql)
        self._fetched = self._cursor.fetchall()

    def fetchmany(self, size):
        rows, self._fetched = (self._fetched or [])[:size], None
        return rows


class EmptyCursor(ForgetfulCursor):
    """One that has given its rows to somebody else."""

    def fetchmany(self, _size):
        return []


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [(ForgetfulCursor, "10,000 rows arrived of 25,000"), (EmptyCursor, "0 rows arrived of an unknown number")],
)
def test_rows_lost_by_an_unknown_adapter_never_count_as_removed(
    through_dbt, duckdb_target, cursor, reason, monkeypatch
):
    from dbt_stripe_sync.warehouse import dbt_adapter
    from dbt_stripe_sync.warehouse.adapter_dialects import PLAIN

    losing = replace(PLAIN, open_cursor=lambda handle: cursor(handle.cursor()))
    monkeypatch.setattr(dbt_adapter, "dialect_of", lambda _kind: losing)

    with pytest.raises(WarehouseError, match=f"read-failed: reading model `customers` failed: {reason}"):
        through_dbt(duckdb_target).rows(model("customers", "id"))
