"""The SQL for engines that can't be run here, stored as text in `rendered/`; run this file to rewrite it.

The SQL for DuckDB and PostgreSQL is stored, too, so that a change can be compared with what really runs.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from sqlglot import parse

from dbt_stripe_sync.model.hashes import HashedChild, HashedRows, HashMark
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.diff_dialects import DIALECTS
from dbt_stripe_sync.warehouse.hash_copy import HashCopy
from dbt_stripe_sync.warehouse.hash_table import HashTables
from dbt_stripe_sync.warehouse.registry import COMPARING
from dbt_stripe_sync.warehouse.row_diffs import WarehouseRowDiffs

RENDERED = Path(__file__).parent / "rendered"
BACKQUOTED = {"bigquery", "spark", "databricks"}
TYPES = {"id": "bigint", "term": "text", "amount": "numeric", "tags": "array<string>", "sub": "bigint", "seats": "int"}


class Described:
    """A warehouse that says what its columns are, and runs nothing."""

    def __init__(self, types):
        self._types = types

    def columns(self, source):
        del source
        return self._types

    def rows(self, source):
        """Whether it can hash is all that it is asked."""
        return pa.table({name: [True] for name in source.columns}).to_reader()


class Noted:
    """A connection that notes its statements; its table of marks is empty."""

    def __init__(self):
        self.statements = []

    def begin(self):
        pass

    commit = rollback = begin

    def has_schema(self, schema):
        del schema
        return False

    def tables(self, schema):
        del schema
        return frozenset()

    def execute(self, sql):
        self.statements.append(sql)

    def read(self, sql):
        self.statements.append(sql)

    def stage(self, name, rows):
        del rows
        return name


def rows(kind):
    mark = "`" if kind in BACKQUOTED else '"'
    relation = f"{mark}shop{mark}.{mark}plans{mark}"
    lines = HashedChild(
        source=RowSource(name="lines", relation=None, sql="select * from lines -- all", columns=("sub", "seats")),
        on=("sub",),
        parent_on=("id",),
    )
    return HashedRows(
        sync="it's a sync",
        source=RowSource(name="plans", relation=relation, sql=None, columns=("id", "term", "amount", "tags")),
        key=("id", "term"),
        salt="salt",
        children=(lines,),
    )


def render(kind):
    """Every statement that an engine gets."""
    diffs = WarehouseRowDiffs(Described(TYPES), kind, "stripe_sync")
    asked = rows(kind)
    (lines,) = asked.children
    statements = [
        diffs.all_rows(asked).sql,
        diffs.no_rows(asked).sql,
        *([diffs.digest(asked).sql] if diffs.has_digest else []),
        diffs.differing(asked, "state", ['["1","it\'s"]', '["2","a\\\\b"]']).sql,
        diffs.children(lines, ["1", "2"]).sql,
    ]
    connection = Noted()
    copy = HashCopy(connection, HashTables(schema="stripe_sync", dialect=DIALECTS[kind]))
    mark = HashMark(state_id="state", rows=3, digest="2.0:7")
    copy.prepare()
    copy.replace(asked.sync, mark, None)
    copy.change(asked.sync, mark, None, lambda _: mark)
    import duckdb

    return ";\n\n".join([*statements, *connection.statements]).replace(duckdb.__version__, "VERSION") + ";\n"


@pytest.mark.parametrize("kind", COMPARING)
def test_each_engine_gets_the_expected_statements(kind):
    assert render(kind) == (RENDERED / f"{kind}.sql").read_text(), "python tests/warehouse_diff/test_rendered_sql.py"


@pytest.mark.parametrize("kind", COMPARING)
def test_each_engine_gets_statements_in_its_dialect(kind):
    """Parsed as the engine's own words, with a text in quotes that ends where it should."""
    statements = parse(render(kind), dialect=DIALECTS[kind].sqlglot)

    assert len(statements) > 10
    assert not [statement for statement in statements if type(statement).__name__ == "Command"]


def test_each_kind_that_compares_has_one_dialect():
    assert set(COMPARING) == set(DIALECTS)


def test_a_column_without_an_exact_text_form_is_compared_locally():
    diffs = WarehouseRowDiffs(Described({**TYPES, "amount": "double precision"}), "redshift", "stripe_sync")
    assert "double precision" in diffs.reason_against(rows("redshift"))
    assert WarehouseRowDiffs(Described(TYPES), "redshift", "stripe_sync").reason_against(rows("redshift")) is None


@pytest.mark.parametrize("type_", ["timestamp with time zone", "numeric", "double precision", "citext", "character(3)"])
def test_a_key_whose_text_depends_on_the_engine_is_compared_locally(type_):
    diffs = WarehouseRowDiffs(Described({**TYPES, "term": type_}), "postgres", "stripe_sync")
    assert "key" in diffs.reason_against(rows("postgres"))


if __name__ == "__main__":
    RENDERED.mkdir(exist_ok=True)
    for name in COMPARING:
        (RENDERED / f"{name}.sql").write_text(render(name))
