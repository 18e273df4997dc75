"""Runs the statements of `diff: warehouse` for Snowflake on fakesnow, in its own environment, and prints the results.

The SQL, its order and the reads are the program's own; only the connection is fakesnow's.
"""

from __future__ import annotations

import json
from typing import Any

import fakesnow
import pyarrow as pa
import snowflake.connector
import sqlglot
from sqlglot import exp

from dbt_stripe_sync.model.errors import Problem, WarehouseError
from dbt_stripe_sync.model.hashes import ROW_HASH, ROW_KEY, ROW_KIND, HashedChild, HashedRows, HashMark
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.diff_dialects import DIALECTS
from dbt_stripe_sync.warehouse.hash_copy import HashCopy
from dbt_stripe_sync.warehouse.hash_table import HashTables
from dbt_stripe_sync.warehouse.plain_writer import PlainWriter
from dbt_stripe_sync.warehouse.row_diffs import WarehouseRowDiffs
from dbt_stripe_sync.warehouse.select import from_clause

STATE, SYNC = "state", "it's a sync"
TYPES = {"id": "fixed", "term": "text", "amount": "fixed", "tags": "array", "SUB": "fixed", "SEATS": "fixed"}


class Fake:
    """Implements `Warehouse` and `WritableWarehouse` over a cursor."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def columns(self, source: RowSource) -> dict[str, str]:
        """Those of the models are known; those of a query come with their names alone."""
        self.execute(f"SELECT * FROM {from_clause(source)} LIMIT 0")
        return {column.name: TYPES.get(column.name, "text") for column in self._cursor.description}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """What a query gives."""
        self.execute(f"SELECT * FROM {from_clause(source)}")
        names = [column.name for column in self._cursor.description]
        columns = list(zip(*self._cursor.fetchall(), strict=True)) or [() for _ in names]
        return pa.table(dict(zip(names, map(list, columns), strict=True))).to_reader()

    def execute(self, sql: str) -> None:
        """Raises `WarehouseError`."""
        try:
            self._cursor.execute(_with_signed_hashes(sql))
        except snowflake.connector.errors.ProgrammingError as error:
            raise WarehouseError(Problem(code="relation-missing", summary=f"{error}: {sql}")) from None

    def close(self) -> None:
        """There is nothing to close."""


def _with_signed_hashes(sql: str) -> str:
    """fakesnow's HASH is a number without a sign, Snowflake's has one."""
    if "HASH(" not in sql:
        return sql

    def signed(node: exp.Expr) -> exp.Expr:
        is_hash = isinstance(node, exp.Anonymous) and node.name == "HASH"
        return exp.Mod(this=node.copy(), expression=exp.Literal.number(2**63 - 1)) if is_hash else node

    return sqlglot.parse_one(sql, dialect="snowflake").transform(signed).sql(dialect="snowflake")


def rows_of(salt: str = "salt") -> HashedRows:
    """A model with a key of two columns, and a child model."""
    relation = '"shop"."plans"'
    lines = RowSource(name="lines", relation=None, sql='select * from "shop".lines -- all', columns=("SUB", "SEATS"))
    return HashedRows(
        sync=SYNC,
        source=RowSource(name="plans", relation=relation, sql=None, columns=("id", "term", "amount", "tags")),
        key=("id", "term"),
        salt=salt,
        children=(HashedChild(source=lines, on=("SUB",), parent_on=("id",)),),
    )


def main() -> None:
    """A first run, one without a change, one with changes of every kind, and the report of each."""
    said: dict[str, Any] = {}
    with fakesnow.patch():
        cursor = snowflake.connector.connect(database="db", schema="public").cursor()
        for statement in (
            'create schema "shop"',
            'create table "shop"."plans" ("id" bigint, "term" text, "amount" number(12, 2), "tags" array)',
            'create table "shop".lines (sub bigint, seats int)',
            "insert into \"shop\".\"plans\" select 1, 'm', 1.5, array_construct('a', null)",
            'insert into "shop"."plans" select 2, \'a"b\', 2.5, array_construct()',
            'insert into "shop"."plans" select 3, null, null, null',
            'insert into "shop"."plans" select 4, \'m\', 4.5, null',
            'insert into "shop".lines values (1, 1), (1, 2), (4, 4)',
        ):
            cursor.execute(statement)
        fake, tables = Fake(cursor), HashTables(schema="stripe_sync", dialect=DIALECTS["snowflake"])

        def diffs() -> WarehouseRowDiffs:
            return WarehouseRowDiffs(fake, "snowflake", "stripe_sync")

        def copy() -> HashCopy:
            made = HashCopy(PlainWriter(fake, tables), tables)
            made.prepare()
            return made

        def differing(*also: str) -> list[list[Any]]:
            found = fake.rows(diffs().differing(rows_of(), STATE, also)).read_all().to_pylist()
            return sorted(([row[ROW_KIND], row[ROW_KEY]] for row in found), key=str)

        def hashes() -> pa.Table:
            """The rows with a key, as a first run accepts them."""
            read = fake.rows(diffs().all_rows(rows_of())).read_all().to_pylist()
            keyed = [row for row in read if row["term"] is not None]
            return pa.table(
                {
                    "key": [json.dumps([str(row["id"]), row["term"]], separators=(",", ":")) for row in keyed],
                    "row_hash": pa.array([int(row[ROW_HASH]) for row in keyed], pa.int64()),
                }
            )

        said["marks before"] = diffs().mark(STATE, SYNC) is None
        mark = HashMark(state_id=STATE, rows=3, digest="2.0:7")
        copy().replace(SYNC, mark, hashes().to_reader())
        said["believed"] = diffs().mark(STATE, SYNC) == mark and copy().is_whole(STATE, SYNC)
        said["no change"] = differing()
        said["asked for"] = differing('["1","m"]')
        cursor.execute('update "shop"."plans" set "tags" = array_construct(\'a\') where "id" = 1')
        cursor.execute('delete from "shop"."plans" where "id" = 2')
        cursor.execute('insert into "shop"."plans" select 5, \'m\', 5.5, null')
        cursor.execute('update "shop".lines set seats = 5 where sub = 4')
        said["changes"] = differing()
        now = hashes()
        live = now.append_column("is_live", [[True] * now.num_rows])
        gone = pa.table({"key": ['["2","a\\"b"]'], "row_hash": pa.array([None], pa.int64()), "is_live": [False]})
        staged = pa.concat_tables([live, gone])
        after = HashMark(state_id=STATE, rows=3, digest="2.0:9")
        said["refused"] = copy().change(SYNC, after, staged.to_reader(), after=lambda _: mark)
        said["still believed"] = diffs().mark(STATE, SYNC) == mark
        said["changed"] = copy().change(SYNC, after, staged.to_reader(), after=lambda had: _noted(had, said, after))
        said["believed then"] = diffs().mark(STATE, SYNC) == after and copy().is_whole(STATE, SYNC)
        said["after"] = differing()
        said["lines"] = fake.rows(diffs().children(rows_of().children[0], ["1"])).read_all().num_rows
    print(json.dumps(said))


def _noted(had: pa.RecordBatchReader, said: dict[str, Any], mark: HashMark) -> HashMark:
    said["had"] = sorted(had.read_all().column("key").to_pylist())
    return mark


if __name__ == "__main__":
    main()
