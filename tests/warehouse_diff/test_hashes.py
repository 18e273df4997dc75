"""The hash of a row is another one whenever the row reads differently: values of every type, on the real engines."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logged import DuckDBBusiness, PostgresBusiness, drop

from dbt_stripe_sync.model.hashes import ROW_HASH, HashedRows
from dbt_stripe_sync.model.nodes import Relation, RowSource
from dbt_stripe_sync.warehouse import open_warehouse
from dbt_stripe_sync.warehouse.registry import open_row_diffs

# Texts that lie next to each other must not be taken for one another: empty and null, quotes, what separates parts.
TEXTS = st.sampled_from(
    ["", "-", "null", "NULL", "1:a", "a", "a ", "A", "é", "e\u0301", "\U0001f600", "'", '"', "\\", "[1]"]
)
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 0.1, 0.1 + 2**-56, 1e300, -1e-300, float("nan"), float("inf"), -float("inf")])
SINGLES = st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e30, float("nan"), float("inf"), -float("inf")])
NUMBERS = st.sampled_from(
    [Decimal(text) for text in ("0", "1", "1.0", "1.00", "-1", "0.1", "0.10", "12345678901234567.89")]
)
INTEGERS = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)])
WHENS = st.sampled_from(
    [
        datetime(2027, 3, 28, 1, 30, tzinfo=UTC),
        datetime(2027, 3, 28, 1, 30, 0, 1, tzinfo=UTC),
        datetime(2027, 3, 28, 3, 30, tzinfo=timezone(timedelta(hours=2))),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
    ]
)
DOCUMENTS = st.sampled_from(
    [
        '{"a": 1}',
        '{"a": 1.0}',
        '{"a": "1"}',
        '{"a": null}',
        "{}",
        '{"a": [1, 2]}',
        '{"a": [[1], 2]}',
        '{"b": -0.0}',
        "[]",
        '""',
    ]
)
LISTS = st.lists(st.one_of(TEXTS, st.none()), max_size=3)


def nullable(values):
    return st.one_of(st.none(), values)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "one": nullable(TEXTS),
            "two": nullable(TEXTS),
            "number": nullable(NUMBERS),
            "whole": nullable(INTEGERS),
            "double": nullable(FLOATS),
            "single": nullable(SINGLES),
            "moment": nullable(WHENS),
            "wall": nullable(WHENS.map(lambda moment: moment.replace(tzinfo=None))),
            "day": nullable(st.sampled_from([date(2027, 3, 28), date(1, 1, 1)])),
            "clock": nullable(st.sampled_from([time(12, 34, 56), time(12, 34, 56, 1)])),
            "flag": nullable(st.booleans()),
            "document": nullable(DOCUMENTS),
            "list": nullable(LISTS),
            "raw": nullable(st.sampled_from([b"", b"\x00", b"\\x00", b"a"])),
        }
    ),
    min_size=30,
    max_size=60,
)
TYPES = {
    "duckdb": {
        "one": "VARCHAR", "two": "VARCHAR", "number": "DECIMAL(30, 4)", "whole": "INTEGER", "double": "DOUBLE",
        "single": "REAL", "moment": "TIMESTAMPTZ", "wall": "TIMESTAMP", "day": "DATE", "clock": "TIME",
        "flag": "BOOLEAN", "document": "JSON", "list": "VARCHAR[]", "raw": "BLOB",
    },
    "postgres": {
        "one": "text", "two": "varchar(40)", "number": "numeric", "whole": "integer", "double": "double precision",
        "single": "real", "moment": "timestamptz", "wall": "timestamp", "day": "date", "clock": "time",
        "flag": "boolean", "document": "jsonb", "list": "text[]", "raw": "bytea",
    },
}  # fmt: skip


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def engine(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("hashes")
    if request.param == "duckdb":
        made = DuckDBBusiness(root=root, stripe=None)
    else:
        made = PostgresBusiness(root=root, stripe=None, server=request.getfixturevalue("postgres"))
    yield request.param, made
    drop(made)


def sql(value, kind):
    if value is None:
        return "NULL"
    if isinstance(value, list):
        items = ", ".join(sql(item, "text") for item in value)
        return f"CAST([{items}] AS VARCHAR[])" if kind == "VARCHAR[]" else f"ARRAY[{items}]::text[]"
    if isinstance(value, bytes):
        return f"decode('{value.hex()}', 'hex')" if kind == "bytea" else f"unhex('{value.hex()}')"
    text = value.isoformat() if isinstance(value, datetime | date | time) else str(value)
    quoted = "'" + text.replace("'", "''") + "'"
    if kind == "text":
        return quoted
    return f"CAST({quoted} AS {kind})"


def hashed_rows(engine, rows, salt="salt"):
    """What is read of each row beside its hash."""
    kind, made = engine
    types = TYPES[kind]
    columns = ", ".join(f'"{name}" {of}' for name, of in types.items())
    values = ", ".join("(" + ", ".join(sql(row[name], of) for name, of in types.items()) + ")" for row in rows)
    made.do("DROP TABLE IF EXISTS m", f"CREATE TABLE m ({columns})", f"INSERT INTO m VALUES {values}")
    relation = Relation(database=None, schema=None, identifier="m", rendered=f'"{made.schema}"."m"')
    source = RowSource(name="m", relation=relation, sql=None, columns=tuple(types))
    with closing(open_warehouse(made.profile, project_root=made.root, adapter=None)) as warehouse:
        diffs = open_row_diffs(made.profile, "stripe_sync", warehouse)
        asked = HashedRows(sync="s", source=source, key=("whole",), salt=salt)
        read = warehouse.rows(diffs.all_rows(asked)).read_all().to_pylist()
    return [(repr(sorted(row.items())), hashed) for row in read for hashed in [row.pop(ROW_HASH)]]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_rows_that_read_differently_have_different_hashes(engine, rows):
    by_row, by_hash = defaultdict(set), defaultdict(set)
    for row, hashed in hashed_rows(engine, rows):
        assert hashed is not None
        by_row[row].add(hashed)
        by_hash[hashed].add(row)

    assert all(len(rows) == 1 for rows in by_hash.values())
    assert all(len(hashes) == 1 for hashes in by_row.values())


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(row=ROWS.map(lambda rows: rows[0]), others=ROWS.map(lambda rows: rows[1]))
def test_each_column_by_itself_changes_the_hash(engine, row, others):
    """What is the same in all columns but one."""
    variants = [row, *({**row, name: value} for name, value in others.items())]

    found = hashed_rows(engine, variants)

    assert len({hashed for _, hashed in found}) == len({read for read, _ in found})


def test_the_same_row_has_the_same_hash_in_another_session_and_another_one_under_another_salt(engine):
    rows = [dict.fromkeys(TYPES[engine[0]]) | {"one": "a", "double": -0.0, "list": ["x", None]}]

    first, again, other = (hashed_rows(engine, rows, salt) for salt in ("a", "a", "b"))

    assert first == again
    assert first[0][1] != other[0][1]


def test_columns_are_told_apart_wherever_a_text_lies(engine):
    blank = dict.fromkeys(TYPES[engine[0]])
    pairs = [
        ("a", "b"),
        ("ab", ""),
        ("", "ab"),
        ("ab", None),
        (None, "ab"),
        ("b", "a"),
        (None, None),
        ("", ""),
        ("-", None),
    ]

    found = hashed_rows(engine, [blank | {"one": one, "two": two} for one, two in pairs])

    assert len({hashed for _, hashed in found}) == len(pairs)


def test_documents_are_told_apart_by_their_text(engine):
    """Documents that a program would call equal are told apart as far as they read differently."""
    blank = dict.fromkeys(TYPES[engine[0]])
    documents = ['{"a": 1}', '{"a": 1.0}', '{"a": "1"}', json.dumps({"a": None})]

    found = hashed_rows(engine, [blank | {"document": document} for document in documents])

    assert len({hashed for _, hashed in found}) == len({read for read, _ in found})
