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


_DAY, _TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}", r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*[1-9])?"
_BEGIN, _END = '("|^)', '("|$)'
# What a key loses in its plain form: a pattern, and what remains of it. A quote ends a value in a list of several.
_SPELLINGS = (
    (rf"{_BEGIN}\s+", r"\1"),
    (rf"\s+{_END}", r"\1"),
    (rf"{_BEGIN}([+-]?[0-9]+)\.0+{_END}", r"\1\2\3"),
    (rf"{_BEGIN}([+-]?[0-9]+\.[0-9]*[1-9])0+{_END}", r"\1\2\3"),
    (rf"({_DAY})[T ]({_TIME})(?:\.0+|0+)?(?:Z|\+00(?::?00)?)?{_END}", r"\1 \2\3"),
    (rf"({_DAY}) 00:00:00{_END}", r"\1\2"),
)


def plain_key(key: str) -> str:
    """Return SQL for a key's plain form. Keys that differ only by their column's type or in blanks have the same."""
    plain = f"nfc_normalize({key})"
    for pattern, rest in _SPELLINGS:
        plain = f"regexp_replace({plain}, {literal(pattern)}, {literal(rest)}, 'g')"
    # Most keys are plain, and regular expressions are slow.
    return f"CASE WHEN regexp_full_match({key}, '[A-Za-z0-9_-]*') THEN {key} ELSE {plain} END"


def key_order(key: str) -> str:
    """Return SQL that sorts keys as a person would: `2` before `10`, and `C-2` before `C-10`."""
    number = f"TRY_CAST(regexp_extract({key}, '[0-9]{{1,38}}') AS HUGEINT)"
    return f"regexp_extract({key}, '^[^0-9]*'), {number} NULLS LAST, {key}"
