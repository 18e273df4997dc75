"""Rows of a DB-API cursor become Arrow tables, exactly and in bounded memory."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbt_stripe_sync.warehouse.dbapi_rows import build_reader, fetched

NAIVE = datetime(2026, 2, 28, 1, 2, 3)
AWARE = datetime(2026, 2, 28, 2, 0, tzinfo=timezone(timedelta(hours=2)))


def read(*values):
    """One column, each value in a batch of its own."""
    return build_reader(["v"], [[(value,)] for value in values]).read_all()


@pytest.mark.parametrize(
    ("values", "kind", "arrived"),
    [
        ([True, None], pa.bool_(), [True, None]),
        ([1, -(2**63) + 1], pa.int64(), [1, -(2**63) + 1]),
        ([1, 2**64], pa.string(), ["1", str(2**64)]),
        ([1, 10**40], pa.string(), ["1", "1" + "0" * 40]),
        ([Decimal("1.50"), 2], pa.string(), ["1.50", "2"]),
        ([Decimal("1E+3"), Decimal("0.001")], pa.string(), ["1000", "0.001"]),
        ([Decimal("1.5"), Decimal("NaN")], pa.string(), ["1.5", "NaN"]),
        ([Decimal(10**37), Decimal("0.12")], pa.string(), ["1" + "0" * 37, "0.12"]),
        ([0.1, 2], pa.float64(), [0.1, 2.0]),
        ([0.1, 2**60], pa.string(), ["0.1", str(2**60)]),
        ([0.1, Decimal("0.10")], pa.string(), ["0.1", "0.10"]),
        (["a", 1, True, None], pa.string(), ["a", "1", "true", None]),
        ([b"a", memoryview(b"b"), bytearray(b"c")], pa.binary(), [b"a", b"b", b"c"]),
        ([date(2026, 2, 28)], pa.date32(), [date(2026, 2, 28)]),
        ([time(1, 2, 3)], pa.time64("us"), [time(1, 2, 3)]),
        ([time(1, 2, tzinfo=UTC)], pa.string(), ["01:02:00+00:00"]),
        ([NAIVE], pa.timestamp("us"), [NAIVE]),
        ([AWARE], pa.timestamp("us", tz="UTC"), [AWARE]),
        ([NAIVE, AWARE], pa.string(), ["2026-02-28T01:02:03", "2026-02-28T00:00:00+00:00"]),
        ([date(2026, 2, 28), NAIVE], pa.string(), ["2026-02-28", "2026-02-28T01:02:03"]),
        ([timedelta(days=1)], pa.string(), ["P1D"]),
        ([UUID(int=1)], pa.string(), ["00000000-0000-0000-0000-000000000001"]),
        ([{"a": Decimal("1.50")}, [1, "x"]], pa.json_(), ['{"a":"1.50"}', '[1,"x"]']),
        ([{"at": AWARE}], pa.json_(), ['{"at":"2026-02-28T00:00:00+00:00"}']),
        ([["a"], "text"], pa.string(), ['["a"]', "text"]),
        ([None, None], pa.string(), [None, None]),
        ([None] * 3 + [7], pa.int64(), [None, None, None, 7]),
    ],
)
def test_a_column_gets_a_type_that_holds_every_value_exactly(values, kind, arrived):
    table = read(*values)

    assert table.schema.field("v").type == kind
    assert table.column("v").to_pylist() == arrived


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False) | st.integers() | st.none(), max_size=20))
def test_a_number_is_never_rounded(values):
    arrived = read(*values).column("v").to_pylist()

    assert [None if value is None else Decimal(value) for value in arrived] == values


def test_an_empty_result_still_has_its_columns():
    table = build_reader(["a", "b"], []).read_all()

    assert (table.column_names, table.num_rows) == (["a", "b"], 0)


def test_rows_that_exceed_the_memory_limit_keep_their_order(monkeypatch):
    monkeypatch.setattr("dbt_stripe_sync.warehouse.dbapi_rows.SPOOL_BYTES", 1000)
    cursor = sqlite3.connect(":memory:").execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 35000) SELECT i, 'x' || i FROM n"
    )

    batches = list(build_reader(["i", "t"], fetched(cursor)))

    assert [batch.num_rows for batch in batches] == [10_000, 10_000, 10_000, 5_000]
    assert pa.Table.from_batches(batches).column("i").to_pylist() == list(range(1, 35_001))


def test_nested_values_are_json_for_the_state_store():
    incoming = read({"a": 1})  # noqa: F841 - DuckDB finds it by its name

    assert duckdb.sql("SELECT typeof(v) FROM incoming").fetchall() == [("JSON",)]


class Row(tuple[object, ...]):  # noqa: SLOT001 - the driver's has none either
    """A tuple whose parts have names, as Trino's driver makes them, who may be none or the same."""

    _names: object

    def __new__(cls, names, *values):
        row = super().__new__(cls, values)
        row._names = names
        return row


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Row(["a", "b"], 1, "x"), '{"a":1,"b":"x"}'),
        ([Row(["a"], Row(["b"], 1))], '[{"a":{"b":1}}]'),
        (Row(["a", None], 1, 2), "[1,2]"),
        (Row(["a", "a"], 1, 2), "[1,2]"),
        ((1, 2), "[1,2]"),
    ],
)
def test_a_nested_row_keeps_its_field_names(value, text):
    assert read(value).column("v").to_pylist() == [text]
