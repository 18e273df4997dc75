"""Defines how each DuckDB type is read, so that its values in Arrow are exact and of a plain type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.warehouse.select import double_quoted

if TYPE_CHECKING:
    import duckdb

# Types without an exact or plain type in Arrow or Python. UHUGEINT and BIGNUM can exceed 38 digits.
CASTS = {
    "hugeint": "DECIMAL(38, 0)",
    "uhugeint": "VARCHAR",
    "bignum": "VARCHAR",
    "bit": "VARCHAR",
    "time with time zone": "VARCHAR",
    "time_ns": "TIME",
    "timestamp_s": "TIMESTAMP",
    "timestamp_ms": "TIMESTAMP",
    "timestamp_ns": "TIMESTAMP",
    "enum": "VARCHAR",
    "sqlnull": "VARCHAR",
    "geometry": "VARCHAR",
    "union": "VARCHAR",
    "variant": "JSON",
}


# Types that are read as text but are numbers.
NUMBERS = frozenset({"uhugeint", "bignum"})


def read_sql(column: str, kind: duckdb.DuckDBPyType) -> str:
    """The expression that reads `column`, with a cast to the nearest plain type if necessary."""
    plain = plain_type(kind)
    return column if plain is None else f"CAST({column} AS {plain})"


def plain_type(kind: duckdb.DuckDBPyType) -> str | None:
    """The SQL type to cast to; None if the type is plain already."""
    name = kind.id
    if name in CASTS:
        return CASTS[name]
    if name not in {"list", "array", "struct", "map"}:
        return None
    children = [(label, child) for label, child in kind.children if label != "size"]
    plain = [plain_type(child) for _, child in children]
    if not any(plain):
        return None
    parts = [cast or str(child) for cast, (_, child) in zip(plain, children, strict=True)]
    if name == "struct":
        fields = ", ".join(f"{double_quoted(label)} {part}" for (label, _), part in zip(children, parts, strict=True))
        return f"STRUCT({fields})"
    return f"MAP({parts[0]}, {parts[1]})" if name == "map" else f"{parts[0]}[]"
