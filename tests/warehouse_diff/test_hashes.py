"""The hash of a row changes whenever the row reads differently: values of every type, on the real engines.

The same on Spark is in `tests/adapters/test_spark_hashes.py`.
"""

from __future__ import annotations

from contextlib import closing

import pytest
from hash_values import BEFORE, ROWS, TYPES, check_all, check_one_hash_a_row, one_column_each, values_sql
from hypothesis import HealthCheck, given, settings
from logged import DuckDBBusiness, PostgresBusiness, drop

from dbt_stripe_sync.model.hashes import ROW_HASH, HashedRows
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse import open_warehouse
from dbt_stripe_sync.warehouse.registry import open_row_diffs


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def engine(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("hashes")
    if request.param == "duckdb":
        made = DuckDBBusiness(root=root, stripe=None)
    else:
        made = PostgresBusiness(root=root, stripe=None, server=request.getfixturevalue("postgres"))
    yield request.param, made
    drop(made)


def hashed_rows(engine, rows, salt="salt"):
    """What is read of each row beside its hash."""
    kind, made = engine
    types = TYPES[kind]
    columns = ", ".join(f'"{name}" {of}' for name, of in types.items())
    insert = f"INSERT INTO m VALUES {values_sql(kind, rows)}"
    made.do("DROP TABLE IF EXISTS m", *BEFORE[kind], f"CREATE TABLE m ({columns})", insert)
    relation = f'"{made.schema}"."m"'
    source = RowSource(name="m", relation=relation, sql=None, columns=tuple(types))
    with closing(open_warehouse(made.profile, project_root=made.root, adapter=None)) as warehouse:
        diffs = open_row_diffs(made.profile, "stripe_sync", warehouse)
        asked = HashedRows(sync="s", source=source, key=("whole",), salt=salt)
        read = warehouse.rows(diffs.all_rows(asked)).read_all().to_pylist()
    return [(repr(sorted(row.items())), hashed) for row in read for hashed in [row.pop(ROW_HASH)]]


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_different_rows_have_different_hashes(engine, rows):
    check_one_hash_a_row(hashed_rows(engine, rows))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(row=ROWS.map(lambda rows: rows[0]), others=ROWS.map(lambda rows: rows[1]))
def test_each_column_by_itself_changes_the_hash(engine, row, others):
    check_one_hash_a_row(hashed_rows(engine, one_column_each(row, others)))


def test_hashes_depend_on_the_column_and_the_salt_and_treat_documents_as_text(engine):
    check_all(engine[0], lambda rows, salt="salt": hashed_rows(engine, rows, salt))
