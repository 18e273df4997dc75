"""Names the tables of the warehouse's copy of the state's hashes: one for each sync, and one of marks."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from sqlglot import exp

from dbt_stripe_sync.model.hashes import HashMark

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbt_stripe_sync.warehouse.diff_dialects import DiffDialect

MARKS = "row_hash_marks"
MARK_TYPES = {
    "state_id": "text",
    "sync": "text",
    "table_name": "text",
    "hashes": "bigint",
    "digest": "text",
    "version": "bigint",
}


class HashTables(Struct, frozen=True, kw_only=True):
    """Names and SQL for the copy's tables in one schema."""

    schema: str
    dialect: DiffDialect

    def name_of(self, state_id: str, sync: str) -> str:
        """The name of a sync's table of hashes. It is derived, because a sync's name may not be a valid table name."""
        return f"row_hashes_{sha256(f'{state_id}/{sync}'.encode()).hexdigest()[:16]}"

    def table(self, name: str) -> exp.Table:
        """A table of the schema."""
        return exp.table_(exp.to_identifier(name, quoted=True), db=exp.to_identifier(self.schema, quoted=True))

    def of(self, state_id: str, sync: str) -> exp.Table:
        """The table of a sync's hashes."""
        return self.table(self.name_of(state_id, sync))

    def marks(self) -> exp.Select:
        """A query for all marks."""
        return exp.select(*map(column, MARK_TYPES)).from_(self.table(MARKS))

    def hashes(self, state_id: str, sync: str) -> exp.Select:
        """A query for the copy's keys, each once, with their hashes. NULL means that the row must be compared again."""
        table = self.of(state_id, sync)
        if self.dialect.deletes:
            return exp.select(column("key"), column("row_hash")).from_(table)
        return (
            exp.select(column("key"), _newest("row_hash").as_("row_hash", quoted=True))
            .from_(table)
            .group_by(column("key"))
            .having(_newest("is_live"))
        )

    def create(self, table: exp.Table, types: Mapping[str, str]) -> exp.Create:
        """A statement that creates a table with these columns and types."""
        columns = [
            exp.ColumnDef(this=exp.to_identifier(name, quoted=True), kind=exp.DataType.build(kind))
            for name, kind in types.items()
        ]
        return exp.Create(this=exp.Schema(this=table, expressions=columns), kind="TABLE", exists=True)

    def drop(self, table: exp.Table) -> str:
        """A statement that drops a table if it exists."""
        return f"DROP TABLE IF EXISTS {self.render(table)}"

    def analyze(self, table: exp.Table) -> str:
        """A statement that collects the statistics of a table, by which the engine plans its queries."""
        return f"ANALYZE {self.render(table)}"

    @property
    def types(self) -> Mapping[str, str]:
        """The columns of a table of hashes, with their types."""
        types = {"key": "text", "row_hash": "bigint"}
        return types if self.dialect.deletes else {**types, "is_live": "boolean", "version": "bigint"}

    def render(self, statement: exp.Expr) -> str:
        """A statement as SQL in the engine's dialect."""
        return statement.sql(dialect=self.dialect.sqlglot)


def newest_marks(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, HashMark]]:
    """The newest mark of each state and sync, with its version."""
    found: dict[tuple[str, str], tuple[int, HashMark]] = {}
    for row in sorted(rows, key=lambda row: int(row["version"])):
        mark = HashMark(state_id=row["state_id"], rows=int(row["hashes"]), digest=row["digest"])
        found[row["state_id"], row["sync"]] = (int(row["version"]), mark)
    return found


def column(name: str) -> exp.Column:
    """A column of one of the tables."""
    return exp.column(exp.to_identifier(name, quoted=True))


def _newest(name: str) -> exp.Expr:
    return exp.Anonymous(this="MAX_BY", expressions=[column(name), column("version")])
