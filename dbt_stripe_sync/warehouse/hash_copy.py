"""Writes the warehouse's copy of the state's hashes.

A table is only trusted if it has a mark. The mark is withdrawn before the table changes and written again at the end,
so that an interrupted change is detected even without transactions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.model.hashes import HashMark
from dbt_stripe_sync.warehouse.hash_table import MARK_TYPES, MARKS, column, newest_marks
from dbt_stripe_sync.warehouse.log import transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

    from dbt_stripe_sync.warehouse.hash_table import HashTables
    from dbt_stripe_sync.warehouse.log import LogConnection

STAGED = "stripe_sync_staged"
# A table whose rows can't be deleted is recreated after this many additions.
MAX_ADDITIONS = 50
# The digest of a withdrawn mark, which no state has: the contents of the table are unknown.
_WITHDRAWN = ""


class HashCopy:
    """Writes the copy. Every method raises `WarehouseError`."""

    def __init__(self, connection: LogConnection, tables: HashTables) -> None:
        self._connection = connection
        self._tables = tables
        self._marks: dict[tuple[str, str], tuple[int, HashMark]] = {}

    def prepare(self) -> None:
        """Create the schema and the table of marks if they are missing, and read the marks."""
        with transaction(self._connection):
            if not self._connection.has_schema(self._tables.schema):
                schema = exp.Table(db=exp.to_identifier(self._tables.schema, quoted=True))
                self._execute(exp.Create(this=schema, kind="SCHEMA", exists=True))
            if MARKS in self._connection.tables(self._tables.schema):
                query = self._tables.render(self._tables.marks())
                self._marks = newest_marks(self._connection.read(query).read_all().to_pylist())
            else:
                self._execute(self._tables.create(self._tables.table(MARKS), MARK_TYPES))

    def mark(self, state_id: str, sync: str) -> HashMark | None:
        """The copy's mark for a sync, or None."""
        _, mark = self._marks.get((state_id, sync), (0, None))
        return mark

    def is_whole(self, state_id: str, sync: str) -> bool:
        """Whether the table has as many hashes as its mark says. Someone may have emptied or dropped it."""
        mark = self.mark(state_id, sync)
        known = self._tables.hashes(state_id, sync).subquery("known")
        query = exp.select(exp.Count(this=exp.Star()).as_("hashes", quoted=True)).from_(known)
        try:
            with transaction(self._connection):
                ((count,),) = self._connection.read(self._tables.render(query)).read_all().to_pydict().values()
        except WarehouseError:
            return False
        return mark is not None and int(count) == mark.rows

    def can_change(self, state_id: str, sync: str) -> bool:
        """Whether single hashes can be changed, so that the table need not be rewritten."""
        version, mark = self._marks.get((state_id, sync), (0, None))
        is_old = not self._tables.dialect.deletes and version % MAX_ADDITIONS == MAX_ADDITIONS - 1
        return mark is not None and mark.digest != _WITHDRAWN and not is_old

    def replace(self, sync: str, mark: HashMark, rows: pa.RecordBatchReader) -> None:
        """Replace the whole table of a sync with these rows (`key`, `row_hash`)."""
        table = self._tables.of(mark.state_id, sync)
        with self._changing(sync, mark):
            self._connection.execute(self._tables.drop(table))
            self._execute(self._tables.create(table.copy(), self._tables.types))
            with self._staged(rows) as staged:
                self._insert(table, staged, {"is_live": exp.true()}, mark.state_id, sync)
            if self._tables.dialect.analyzes:
                # Without statistics, PostgreSQL may sort the whole model for the next comparison: three times as slow.
                self._connection.execute(self._tables.analyze(table))

    def change(
        self, sync: str, wanted: HashMark, rows: pa.RecordBatchReader, after: Callable[[pa.RecordBatchReader], HashMark]
    ) -> bool:
        """Change some rows (`key`, `row_hash`, `is_live`), and return whether the copy then has the mark `wanted`.

        `after` computes the resulting mark from the copy's current rows with these keys. If it isn't `wanted`, nothing
        is changed.
        """
        state_id = wanted.state_id
        with transaction(self._connection), self._staged(rows) as staged:
            known = self._tables.hashes(state_id, sync).subquery("known")
            key = exp.column("key", "known", quoted=True)
            had = (
                exp.select(key, exp.column("row_hash", "known", quoted=True))
                .from_(known)
                .join(staged, on=key.eq(exp.column("key", "staged", quoted=True)), join_alias="staged")
            )
            if after(self._connection.read(self._tables.render(had))) != wanted:
                return False
            with self._changing(sync, wanted, in_transaction=True):
                table = self._tables.of(state_id, sync)
                if self._tables.dialect.deletes:
                    among = column("key").isin(query=exp.select(column("key")).from_(staged))
                    self._execute(exp.delete(table).where(among))
                    live = exp.select(column("key"), column("row_hash")).from_(staged).where(column("is_live"))
                    self._insert(table, live.subquery("live"), {}, state_id, sync)
                else:
                    self._insert(table, staged, {"is_live": column("is_live")}, state_id, sync)
            return True

    def cancel(self) -> None:
        """Cancel the running statement, from another thread."""
        self._connection.cancel()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _changing(self, sync: str, mark: HashMark, *, in_transaction: bool = False) -> Iterator[None]:
        if not in_transaction:
            with transaction(self._connection), self._changing(sync, mark, in_transaction=True):
                yield
            return
        self._set_mark(sync, HashMark(state_id=mark.state_id, rows=0, digest=_WITHDRAWN))
        yield
        self._set_mark(sync, mark)

    def _set_mark(self, sync: str, mark: HashMark) -> None:
        version = self._version(mark.state_id, sync) + 1
        values = [mark.state_id, sync, self._tables.name_of(mark.state_id, sync), mark.rows, mark.digest, version]
        marks = self._tables.table(MARKS)
        self._execute(
            exp.insert(
                exp.values([tuple(values)]),
                marks,
                columns=[exp.to_identifier(name, quoted=True) for name in MARK_TYPES],
            )
        )
        if self._tables.dialect.deletes:
            older = exp.and_(column("state_id").eq(mark.state_id), column("sync").eq(sync), column("version") < version)
            self._execute(exp.delete(marks.copy()).where(older))
        self._marks[mark.state_id, sync] = (version, mark)

    def _version(self, state_id: str, sync: str) -> int:
        version, _ = self._marks.get((state_id, sync), (0, None))
        return version

    def _insert(
        self, table: exp.Table, source: exp.Table | exp.Subquery, more: Mapping[str, exp.Expr], state_id: str, sync: str
    ) -> None:
        version = exp.Literal.number(self._version(state_id, sync))
        values = {"key": column("key"), "row_hash": column("row_hash"), **more, "version": version}
        names = list(self._tables.types)
        query = exp.select(*(values[name] for name in names)).from_(source)
        self._execute(exp.insert(query, table.copy(), columns=[exp.to_identifier(name, quoted=True) for name in names]))

    @contextmanager
    def _staged(self, rows: pa.RecordBatchReader) -> Iterator[exp.Table]:
        named = self._connection.stage(STAGED, rows)
        yield exp.Table(this=exp.Var(this=named))
        self._connection.execute(f"DROP TABLE {named}")

    def _execute(self, statement: exp.Expr) -> None:
        self._connection.execute(self._tables.render(statement))
