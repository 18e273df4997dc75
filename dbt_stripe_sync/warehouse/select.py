"""The SELECT that reads some columns of a model, and how a column that was asked for is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location, Problem, WarehouseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dbt_stripe_sync.model.nodes import RowSource


class SourceColumn(Struct, frozen=True, kw_only=True):
    """A column as the warehouse has it.

    `sql` is the expression that reads it, with a cast if it needs one. `form` rewrites the text of the expression if
    the warehouse has its own notation for a value. `is_number` says that the text is an exact number.
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
    """The relation, its rows that `where` wants, or the ephemeral model's SQL as a subquery, under `alias`.

    Raises `WarehouseError` (`relation-missing`) where the source has neither.
    """
    if source.relation is not None and source.where is not None:
        # A condition with the select list could refer to its aliases (ClickHouse prefers them to columns).
        return f"(SELECT * FROM {source.relation.rendered} WHERE {source.where}) {alias}"
    if source.relation is not None:
        return f"{source.relation.rendered} {alias}"
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
    """SQL for columns that were found already, each under the name that it was asked for."""
    selected = ", ".join(f"{column.sql} AS {quote(name)}" for name, column in found.items())
    return f"SELECT {selected} FROM {from_clause(source)}"


def forms_of(found: Mapping[str, SourceColumn]) -> dict[str, Callable[[str], str]]:
    """How the texts of some columns are rewritten once they are read."""
    return {name: column.form for name, column in found.items() if column.form is not None}


def match_columns(source: RowSource, columns: Sequence[SourceColumn]) -> dict[str, SourceColumn]:
    """Each wanted name with its column: the same name, else the only one that differs in nothing but case.

    Raises `WarehouseError` (`unknown-column`) with every column that is not there.
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
