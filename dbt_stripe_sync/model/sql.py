"""Building blocks of the engine's SQL: quoting, and the canonical text of a row's key."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# No Stripe id and no reasonable key contains a control character, so these can't be mistaken.
ID_SEPARATOR = "\x1e"
PENDING_MARK = "\x1f"
PENDING_SEPARATOR = "\x1d"
SEVERAL_MARK = "\x1b"
FAILED_MARK = "\x18"
NEAR_MARK = "\x1a"


def quoted(name: str) -> str:
    """Return an identifier that is safe in any DuckDB statement."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text literal, for the few places where DuckDB doesn't accept a bound value."""
    return "'" + text.replace("'", "''") + "'"


def key_text(columns: Sequence[str], table: str) -> str:
    """Return SQL for a key's canonical text: the value itself, or a JSON list of the values of several columns.

    It is NULL if one of the columns is.
    """
    parts = [f"CAST({table}.{quoted(column)} AS VARCHAR)" for column in columns]
    if len(parts) == 1:
        return parts[0]
    any_null = " OR ".join(f"{part} IS NULL" for part in parts)
    return f"CASE WHEN {any_null} THEN NULL ELSE CAST(to_json([{', '.join(parts)}]) AS VARCHAR) END"


def key_order(key: str) -> str:
    """Return SQL that sorts keys as a person would: `2` before `10`, and `C-2` before `C-10`."""
    number = f"TRY_CAST(regexp_extract({key}, '[0-9]{{1,38}}') AS HUGEINT)"
    return f"regexp_extract({key}, '^[^0-9]*'), {number} NULLS LAST, {key}"
