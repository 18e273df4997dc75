"""Builds the SELECT for some columns of a model, and matches requested names with columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dbt_stripe_sync.model.nodes import RowSource


class SourceColumn(Struct, frozen=True, kw_only=True):
    """A column in the warehouse.

    `sql` is the expression that reads it, with a cast if it needs one. `form` rewrites the expression's text if the
    warehouse has its own notation for a value. `is_number` means that the text is an exact number.
    """

    name: str
    type: str
    sql: str
    form: Callable[[str], str] | None = None
    is_number: bool = False


def double_quoted(name: str) -> str:
    """An identifier as standard SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


def backquoted(name: str) -> str:
    """An identifier as BigQuery and Databricks quote it (a backquote is doubled in Databricks, illegal in BigQuery)."""
    return "`" + name.replace("`", "``") + "`"


def from_clause(source: RowSource, alias: str = "source_rows") -> str:
    """The relation, a subquery for its rows that match `where`, or an ephemeral model's SQL as a subquery.

    Raises `WarehouseError` (`relation-missing`) if the source has neither a relation nor SQL.
    """
    if source.relation is not None and source.where is not None:
        # In a subquery, because the condition could otherwise refer to aliases in the select list, which ClickHouse
        # prefers to columns.
        return f"(SELECT * FROM {source.relation} WHERE {source.where}) {alias}"
    if source.relation is not None:
        return f"{source.relation} {alias}"
    if source.sql is None:
        raise WarehouseError(
            Problem(
                code="relation-missing",
                summary=f"model `{source.name}` has neither a relation nor compiled SQL",
                where=Location(model=source.name),
                hint=f"run `dbt compile -s {source.name}`",
            )
        )
    # The line break keeps a comment at the end of the SQL from swallowing the parenthesis.
    return f"(\n{source.sql.strip().rstrip(';')}\n) {alias}"


def select_of(source: RowSource, found: Mapping[str, SourceColumn], quote: Callable[[str], str] = double_quoted) -> str:
    """A SELECT for columns that were matched, each with its requested name as the alias."""
    selected = ", ".join(f"{column.sql} AS {quote(name)}" for name, column in found.items())
    return f"SELECT {selected} FROM {from_clause(source)}"


def forms_of(found: Mapping[str, SourceColumn]) -> dict[str, Callable[[str], str]]:
    """The functions that rewrite the texts of some columns, by requested name."""
    return {name: column.form for name, column in found.items() if column.form is not None}


def match_columns(source: RowSource, columns: Sequence[SourceColumn]) -> dict[str, SourceColumn]:
    """Each requested name with its column: an exact match, or else the only match that ignores case.

    Raises `WarehouseError` (`unknown-column`) with a problem for every missing column.
    """
    exact = {column.name: column for column in columns}
    folded: dict[str, list[SourceColumn]] = {}
    for column in columns:
        folded.setdefault(column.name.casefold(), []).append(column)
    found: dict[str, SourceColumn] = {}
    problems: list[Problem] = []
    for name in source.columns:
        alike = folded.get(name.casefold(), [])
        if name in exact:
            found[name] = exact[name]
        elif len(alike) == 1:
            found[name] = alike[0]
        else:
            problems.append(_unknown_column(source, name, [column.name for column in alike or columns]))
    if problems:
        raise WarehouseError(problems)
    return found


def _unknown_column(source: RowSource, name: str, columns: Sequence[str]) -> Problem:
    return Problem(
        code="unknown-column",
        summary=f"model `{source.name}` has no column `{name}`",
        where=Location(model=source.name),
        hint="columns are " + ", ".join(f"`{column}`" for column in columns),
    )
