"""Builds the SQL with which an engine hashes a model's rows, or compares them with its copy of the state's hashes.

The SQL is built of sqlglot's expressions and rendered for the engine; `diff_dialects.py` has the parts that depend on
the engine. `hash_copy.py` writes the copy, a table of hashes and one of marks. The SQL here only reads, through the
same reader as any other query.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sqlglot import exp

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.model.hashes import (
    CHANGED,
    COUNTS,
    DIGEST,
    GONE,
    NEW,
    ROW_COUNT,
    ROW_HASH,
    ROW_KEY,
    ROW_KIND,
    TWICE,
    UNREADABLE,
)
from dbt_stripe_sync.model.nodes import RowSource
from dbt_stripe_sync.warehouse.diff_dialects import DIALECTS, TypedColumn, text
from dbt_stripe_sync.warehouse.hash_table import MARK_TYPES, MARKS, HashTables, newest_marks
from dbt_stripe_sync.warehouse.select import SourceColumn, from_clause, match_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.ports import Warehouse
    from dbt_stripe_sync.model.hashes import HashedChild, HashedRows, HashMark

NOW, KNOWN, FOUND, CHILD = "now", "known", "found", "child"


class WarehouseRowDiffs:
    """Implements `engine.ports.RowDiffs` for one kind of warehouse. Every method raises `WarehouseError`."""

    def __init__(self, warehouse: Warehouse, kind: str, schema: str) -> None:
        self._warehouse = warehouse
        self._dialect = DIALECTS[kind]
        self._tables = HashTables(schema=schema, dialect=self._dialect)
        self._columns: dict[RowSource, Mapping[str, SourceColumn]] = {}

    @property
    def hashes_first(self) -> bool:
        """Whether a query can have many keys."""
        return self._dialect.among is not None

    @property
    def has_digest(self) -> bool:
        """Whether the engine has an aggregate that combines hashes by XOR."""
        return self._dialect.has_digest

    def reason_against(self, rows: HashedRows) -> str | None:
        """Why the warehouse can't compare these rows exactly, or None."""
        keys = [(rows.source, rows.key)]
        for child in rows.children:
            keys += [(rows.source, child.parent_on), (child.source, child.on)]
        for source, names in keys:
            for name in names:
                if (kind := self._type(source, name)) not in self._dialect.key_types:
                    return f"column `{name}` of `{source.name}` is a key of type {kind}"
        for source in (rows.source, *(child.source for child in rows.children)):
            for name in source.columns:
                if (kind := self._type(source, name)).startswith(self._dialect.no_hash):
                    return f"column `{name}` of `{source.name}` has the type {kind}"
        return None if self._can_hash else "this server has no function that hashes a row"

    @cached_property
    def _can_hash(self) -> bool:
        query = self._dialect.can_hash
        if query is None:
            return True
        try:
            (row,) = (
                self._warehouse.rows(RowSource(name="can_hash", relation=None, sql=query, columns=("can_hash",)))
                .read_all()
                .to_pylist()
            )
        except WarehouseError:
            return False
        return bool(row["can_hash"])

    def mark(self, state_id: str, sync: str) -> HashMark | None:
        """The mark of the warehouse's copy for a sync, or None."""
        _, mark = self._marks.get((state_id, sync), (0, None))
        return mark

    @cached_property
    def _marks(self) -> Mapping[tuple[str, str], tuple[int, HashMark]]:
        source = self._source(f"{self._tables.schema}.{MARKS}", self._tables.marks(), *MARK_TYPES)
        try:
            return newest_marks(self._warehouse.rows(source).read_all().to_pylist())
        except WarehouseError as error:
            if error.problems[0].code not in UNREADABLE:
                raise
            return {}  # before the first run has written them, or after someone has changed the table

    def digest(self, rows: HashedRows) -> RowSource:
        """The number of rows, and the XOR of their hashes."""
        hashed = self._joined(rows, exp.select(self._hash(rows).as_(ROW_HASH, quoted=True)))
        combined = exp.BitwiseXorAgg(this=_column(ROW_HASH, NOW))
        query = exp.select(
            exp.Count(this=exp.Star()).as_(ROW_COUNT, quoted=True),
            exp.Coalesce(this=combined, expressions=[exp.Literal.number(0)]).as_(DIGEST, quoted=True),
        ).from_(hashed.subquery(NOW))
        return self._source(rows.source.name, query, ROW_COUNT, DIGEST)

    def all_rows(self, rows: HashedRows) -> RowSource:
        """Every row with its hash."""
        return self._source(rows.source.name, self._every_row(rows), ROW_HASH, *rows.source.columns)

    def no_rows(self, rows: HashedRows) -> RowSource:
        """The columns of `all_rows`, without any row."""
        return self._source(rows.source.name, self._every_row(rows).where(exp.false()), ROW_HASH, *rows.source.columns)

    def hashes(self, rows: HashedRows) -> RowSource:
        """The key and the hash of every row."""
        query = self._joined(rows, exp.select(*self._key_and_hash(rows)))
        return self._source(rows.source.name, query, ROW_KEY, ROW_HASH)

    def some_rows(self, rows: HashedRows, keys: Sequence[str]) -> RowSource:
        """The rows with some keys, each with its key and its hash. Raises `TypeError` if the engine has no `among`."""
        if self._dialect.among is None:
            raise TypeError(self._dialect.sqlglot)
        query = self._joined(rows, exp.select(*self._mapped_columns(rows), *self._key_and_hash(rows)))
        wanted = query.where(self._dialect.among(self._key(rows.source, rows.key), keys))
        return self._source(rows.source.name, wanted, ROW_KEY, ROW_HASH, *rows.source.columns)

    def differing(self, rows: HashedRows, state_id: str, also: Sequence[str]) -> RowSource:
        """Rows whose hash isn't in the copy, rows with keys in `also`, keys that are gone, and a row of counts."""
        known = self._tables.hashes(state_id, rows.sync)
        found = self._unmatched(rows, known, also).subquery(FOUND)
        key, of_rows, of_known = (_column(name, FOUND) for name in (ROW_KEY, "rows", "hashes"))
        kind = (
            exp.Case()
            .when(key.is_(exp.null()), exp.Literal.string(NEW))
            .when(of_rows > 1, exp.Literal.string(TWICE))
            .when(of_rows.copy().eq(0), exp.Literal.string(GONE))
            .when(of_known.eq(0), exp.Literal.string(NEW))
            .else_(exp.Literal.string(CHANGED))
        )
        # Read the rows a second time, because a join that spills to disk is slower if it includes their columns.
        differing = (
            exp.select(
                kind.as_(ROW_KIND, quoted=True),
                key.copy().as_(ROW_KEY, quoted=True),
                _column(ROW_HASH, FOUND).as_(ROW_HASH, quoted=True),
                *self._mapped_columns(rows),
            )
            .from_(found)
            .join(_source_table(rows.source), on=self._key(rows.source, rows.key).eq(key.copy()), join_type="left")
        )
        both = exp.union(differing, self._counts(rows, known), distinct=False)
        return self._source(rows.source.name, both, ROW_KIND, ROW_KEY, ROW_HASH, *rows.source.columns)

    def children(self, child: HashedChild, parents: Sequence[str]) -> RowSource:
        """The rows of a child model that belong to some parents, matched by the text of the columns that join them."""
        among = self._key(child.source, child.on).isin(*(exp.Literal.string(parent) for parent in parents))
        query = exp.select("*").from_(_source_table(child.source)).where(among if parents else exp.false())
        return self._source(child.source.name, query, *child.source.columns)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _every_row(self, rows: HashedRows) -> exp.Select:
        hashed = self._hash(rows).as_(ROW_HASH, quoted=True)
        return self._joined(rows, exp.select(*self._mapped_columns(rows), hashed))

    def _unmatched(self, rows: HashedRows, known: exp.Select, also: Sequence[str]) -> exp.Select:
        """Keys whose row matches no hash in the copy, or whose hash matches no row, with the numbers of both.

        Rows and hashes are joined by the hash alone, which includes the key. That is much cheaper than a join by key.
        The counts detect rows that matched another key's hash.
        """
        keys = {name: self._column_of(rows.source, name).as_(name, quoted=True) for name in rows.key}
        now = exp.select(*keys.values(), self._hash(rows).as_(ROW_HASH, quoted=True))
        hashed, of_known = _column(ROW_HASH, NOW), _column("row_hash", KNOWN)
        key = exp.Coalesce(this=_key_text([_column(name, NOW) for name in keys]), expressions=[_column("key", KNOWN)])
        wanted: exp.Expr = exp.or_(hashed.copy().is_(exp.null()), of_known.copy().is_(exp.null()))
        if also:
            wanted = exp.or_(wanted, key.copy().isin(*(exp.Literal.string(one) for one in also)))
        return (
            exp.select(
                key.as_(ROW_KEY, quoted=True),
                exp.Max(this=hashed.copy()).as_(ROW_HASH, quoted=True),
                exp.Count(this=hashed.copy()).as_("rows", quoted=True),
                exp.Count(this=_column("key", KNOWN)).as_("hashes", quoted=True),
            )
            .from_(self._joined(rows, now).subquery(NOW))
            .join(known.subquery(KNOWN), on=hashed.eq(of_known), join_type="full")
            .where(wanted)
            .group_by(key.copy())
        )

    def _counts(self, rows: HashedRows, known: exp.Select) -> exp.Select:
        """One row with the numbers of the model's rows, of rows without a key, and of hashes in the copy."""
        without_key = exp.or_(*(self._column_of(rows.source, name).is_(exp.null()) for name in rows.key))
        numbers = [
            exp.Count(this=exp.Star()),
            exp.Count(this=exp.Case().when(without_key, exp.Literal.number(1))),
            exp.select(exp.Count(this=exp.Star())).from_(known.copy().subquery(KNOWN)).subquery(),
        ]
        whole: exp.Expr = text(numbers[0])
        for number in numbers[1:]:
            joined = exp.DPipe(this=whole, expression=exp.Literal.string(" "))
            whole = exp.DPipe(this=joined, expression=text(number))
        return exp.select(
            exp.Literal.string(COUNTS).as_(ROW_KIND, quoted=True),
            whole.as_(ROW_KEY, quoted=True),
            *(exp.null().as_(name, quoted=True) for name in (ROW_HASH, *rows.source.columns)),
        ).from_(_source_table(rows.source))

    def _mapped_columns(self, rows: HashedRows) -> list[exp.Expr]:
        return [self._column_of(rows.source, name).as_(name, quoted=True) for name in rows.source.columns]

    def _key_and_hash(self, rows: HashedRows) -> list[exp.Expr]:
        key = self._key(rows.source, rows.key)
        return [key.as_(ROW_KEY, quoted=True), self._hash(rows).as_(ROW_HASH, quoted=True)]

    def _hash(self, rows: HashedRows) -> exp.Expr:
        columns = [
            TypedColumn(sql=self._column_of(rows.source, name), type=self._type(rows.source, name))
            for name in rows.source.columns
        ]
        columns += [
            TypedColumn(sql=_column("digest", f"{CHILD}{number}"), type="text") for number in range(len(rows.children))
        ]
        return self._dialect.hash_row(columns, rows.salt)

    def _joined(self, rows: HashedRows, query: exp.Select) -> exp.Select:
        """The query over the rows, each joined with a digest of its child rows that doesn't depend on their order."""
        query = query.from_(_source_table(rows.source))
        for number, child in enumerate(rows.children):
            name = f"{CHILD}{number}"
            columns = [
                TypedColumn(sql=self._column_of(child.source, column), type=self._type(child.source, column))
                for column in child.source.columns
            ]
            hashed = exp.cast(self._dialect.hash_row(columns, rows.salt), "decimal(38, 0)")
            digest = exp.DPipe(
                this=exp.DPipe(this=text(exp.Count(this=exp.Star())), expression=exp.Literal.string(":")),
                expression=text(exp.Sum(this=hashed)),
            )
            key = self._key(child.source, child.on)
            of_parents = (
                exp.select(key.as_("parent", quoted=True), digest.as_("digest", quoted=True))
                .from_(_source_table(child.source))
                .group_by(key.copy())
            )
            on = self._key(rows.source, child.parent_on).eq(_column("parent", name))
            query = query.join(of_parents.subquery(name), on=on, join_type="left")
        return query

    def _key(self, source: RowSource, names: Sequence[str]) -> exp.Expr:
        return _key_text([self._column_of(source, name) for name in names])

    def _described(self, source: RowSource) -> Mapping[str, SourceColumn]:
        if source not in self._columns:
            types = self._warehouse.columns(source)
            columns = [SourceColumn(name=name, type=kind, sql="") for name, kind in types.items()]
            self._columns[source] = match_columns(source, columns)
        return self._columns[source]

    def _type(self, source: RowSource, name: str) -> str:
        return self._described(source)[name].type.lower().split("(", 1)[0].strip()

    def _column_of(self, source: RowSource, name: str) -> exp.Column:
        return _column(self._described(source)[name].name, "source_rows")

    def _source(self, name: str, query: exp.Expr, *columns: str) -> RowSource:
        return RowSource(name=name, relation=None, sql=self._tables.render(query), columns=columns)


def _key_text(columns: Sequence[exp.Expr]) -> exp.Expr:
    """The canonical text of a key, the same as `model.sql.key_text`; NULL if a column is."""
    parts = [text(column) for column in columns]
    if len(parts) == 1:
        return parts[0]
    whole: exp.Expr = exp.Literal.string('["')
    for number, part in enumerate(parts):
        escaped: exp.Expr = part
        for mark in ("\\", '"'):
            escaped = exp.func("REPLACE", escaped, exp.Literal.string(mark), exp.Literal.string(f"\\{mark}"))
        whole = exp.DPipe(this=whole, expression=escaped)
        end = '"]' if number == len(parts) - 1 else '","'
        whole = exp.DPipe(this=whole, expression=exp.Literal.string(end))
    return whole


def _column(name: str, table: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True), table=table)


def _source_table(source: RowSource) -> exp.Table:
    """The model's relation or query as dbt renders it, with the alias `source_rows`."""
    return exp.Table(this=exp.Var(this=from_clause(source)))
