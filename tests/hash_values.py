"""Values of every type for the hashes of rows, as SQL of each engine that runs here, and what must hold of them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# What is read of each row, and its hash.
Hashed = list[tuple[str, Any]]


@dataclass(frozen=True)
class Long:
    """A text of many characters that the engine makes itself."""

    part: str
    times: int
    end: str


@dataclass(frozen=True)
class Pair:
    """A value of two parts, the second a list."""

    text: str | None
    numbers: list[int | None] | None


# Texts that lie next to each other must not be taken for one another: empty and null, quotes, what separates parts.
TEXTS = st.sampled_from(
    [
        *("", "-", "null", "NULL", "1:a", "a", "a ", "A", "é", "e\u0301", "\U0001f600", "'", '"', "\\", "[1]"),
        # A letter as one sign, and as two that people take for the same one; letters that fold to the same.
        *("\u1e9b\u0323", "\u1e69", "s\u0323\u0307", "\ufb01", "fi", "ß", "ss", "\u200d", "\u00a0", "0", "0.0", "-0"),
    ]
)
# Past a page, past what any index holds; they differ at their end, in their length, in the form of one letter.
LONGS = st.sampled_from(
    [
        Long("x", 100_000, ""),
        Long("x", 99_999, "y"),
        Long("x", 100_001, ""),
        Long("é", 50_000, ""),
        Long("é", 49_999, "e\u0301"),
        Long("é", 49_999, ""),
    ]
)
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 0.1, 0.1 + 2**-56, 1e300, -1e-300, float("nan"), float("inf"), -float("inf")])
SINGLES = st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e30, float("nan"), float("inf"), -float("inf")])
NUMBERS = st.sampled_from(
    [Decimal(text) for text in ("0", "1", "1.0", "1.00", "-1", "0.1", "0.10", "12345678901234567.89")]
)
INTEGERS = st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)])
# Numbers whose halves of 32 bits are those of another one, the other way round or folded into one: so numbers, moments
# and times of day are hashed by some engines.
FOLDED_NUMBERS = (
    0,
    1,
    -1,
    2**32,
    2**32 + 1,
    77,
    77 * 2**32,
    (77 ^ 12345678) + 77 * 2**32,
    12345678,
    2**63 - 1,
    -(2**63),
)
FOLDED_WHENS = (datetime(2039, 5, 10, 5, 27, 58, tzinfo=UTC), datetime(2025, 11, 1, 14, 32, 46, tzinfo=UTC))
FOLDED_TIMES = (time(0, 0, 0, 2), time(1, 11, 34, 967299))
WHENS = st.sampled_from(
    [
        datetime(2027, 3, 28, 1, 30, tzinfo=UTC),
        datetime(2027, 3, 28, 1, 30, 0, 1, tzinfo=UTC),
        # The same instant as the first, and the same clock in another zone.
        datetime(2027, 3, 28, 3, 30, tzinfo=timezone(timedelta(hours=2))),
        datetime(2027, 3, 28, 1, 30, tzinfo=timezone(timedelta(hours=2))),
        datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
        *FOLDED_WHENS,
    ]
)
DOCUMENTS = st.sampled_from(
    [
        '{"a": 1}',
        '{"a": 1.0}',
        '{"a": "1"}',
        '{"a": null}',
        "{}",
        '{"a": [1, 2]}',
        '{"a": [[1], 2]}',
        '{"a": {"b": [null, {"c": "é"}]}}',
        '{"a": {"b": [null, {"c": "e\u0301"}]}}',
        '{"b": -0.0}',
        "[]",
        "[null]",
        '""',
    ]
)


def nullable(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A value, or none."""
    return st.one_of(st.none(), values)


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list with nulls in it, or none."""
    return nullable(st.lists(nullable(values), max_size=3))


COLUMNS = {
    "one": nullable(TEXTS),
    "two": nullable(TEXTS),
    "long": nullable(LONGS),
    "folded": nullable(TEXTS),
    "number": nullable(NUMBERS),
    "whole": nullable(INTEGERS),
    "big": nullable(st.sampled_from(FOLDED_NUMBERS)),
    "double": nullable(FLOATS),
    "single": nullable(SINGLES),
    "moment": nullable(WHENS),
    "wall": nullable(WHENS.map(lambda moment: moment.replace(tzinfo=None))),
    "day": nullable(st.sampled_from([date(2027, 3, 28), date(1, 1, 1)])),
    "clock": nullable(st.sampled_from([time(12, 34, 56), time(12, 34, 56, 1), *FOLDED_TIMES])),
    "span": nullable(st.sampled_from([timedelta(hours=24), timedelta(days=1), timedelta(days=30), timedelta(0)])),
    "flag": nullable(st.booleans()),
    "document": nullable(DOCUMENTS),
    "list": lists(TEXTS),
    "doubles": lists(FLOATS),
    "amounts": lists(NUMBERS),
    "moments": lists(WHENS),
    "pair": nullable(st.builds(Pair, nullable(TEXTS), nullable(st.lists(nullable(INTEGERS), max_size=2)))),
    "raw": nullable(st.sampled_from([b"", b"\x00", b"\\x00", b"a"])),
}
ROWS = st.lists(st.fixed_dictionaries(COLUMNS), min_size=20, max_size=30)
TYPES = {
    "duckdb": {
        "one": "VARCHAR", "two": "VARCHAR COLLATE NOCASE", "long": "VARCHAR",
        "folded": "VARCHAR COLLATE NOCASE.NOACCENT",
        "number": "DECIMAL(30, 4)", "whole": "INTEGER", "big": "BIGINT", "double": "DOUBLE", "single": "REAL",
        "moment": "TIMESTAMPTZ", "wall": "TIMESTAMP", "day": "DATE", "clock": "TIME", "span": "INTERVAL",
        "flag": "BOOLEAN", "document": "JSON",
        "list": "VARCHAR[]", "doubles": "DOUBLE[]", "amounts": "DECIMAL(30, 4)[]", "moments": "TIMESTAMPTZ[]",
        "pair": 'STRUCT("text" VARCHAR, numbers INTEGER[])', "raw": "BLOB",
    },
    "postgres": {
        "one": "text", "two": "varchar(40)", "long": "text", "folded": 'text COLLATE "C"', "number": "numeric",
        "whole": "integer", "big": "bigint", "double": "double precision", "single": "real", "moment": "timestamptz",
        "wall": "timestamp", "day": "date", "clock": "time", "span": "interval", "flag": "boolean",
        "document": "jsonb", "list": "text[]", "doubles": "double precision[]", "amounts": "numeric[]",
        "moments": "timestamptz[]", "pair": "pair", "raw": "bytea",
    },
    # Its `time` is a preview, and no table holds it.
    "spark": {
        "one": "string", "two": "string", "long": "string", "folded": "string COLLATE UNICODE_CI_AI",
        "number": "decimal(30, 4)", "whole": "int", "big": "bigint", "double": "double", "single": "float",
        "moment": "timestamp", "wall": "timestamp_ntz", "day": "date", "span": "interval day to second",
        "flag": "boolean", "document": "variant", "list": "array<string>", "doubles": "array<double>",
        "amounts": "array<decimal(30, 4)>", "moments": "array<timestamp>",
        "pair": "struct<text: string, numbers: array<int>>", "raw": "binary",
    },
}  # fmt: skip
# What the columns' types take beforehand.
BEFORE = {
    "duckdb": (),
    "postgres": (
        "DROP TABLE IF EXISTS m",
        "DROP TYPE IF EXISTS pair",
        'CREATE TYPE pair AS ("text" text, numbers integer[])',
    ),
    "spark": (),
}
BYTES = {"duckdb": "unhex('{}')", "postgres": "decode('{}', 'hex')", "spark": "unhex('{}')"}
SPARK_ESCAPES = str.maketrans({"\\": "\\\\", "'": "\\'"})


def sql(engine: str, value: Any, kind: str) -> str:
    """A value as SQL."""
    kind, plain = kind.split(" COLLATE ", maxsplit=1)[0], "string" if engine == "spark" else "varchar"
    if value is None:
        return f"CAST(NULL AS {kind})"
    if isinstance(value, list):
        items = ", ".join(sql(engine, item, _element(kind)) for item in value)
        return (
            f"CAST({'array(' if engine == 'spark' else 'ARRAY['}{items}{')' if engine == 'spark' else ']'} AS {kind})"
        )
    if isinstance(value, Pair):
        numbers = {"duckdb": "INTEGER[]", "postgres": "integer[]", "spark": "array<int>"}[engine]
        parts = [sql(engine, value.text, plain), sql(engine, value.numbers, numbers)]
        make = {"duckdb": "row({}, {})", "postgres": "ROW({}, {})", "spark": "struct({}, {})"}[engine]
        return f"CAST({make.format(*parts)} AS {kind})"
    if isinstance(value, bytes):
        return BYTES[engine].format(value.hex())
    if isinstance(value, Long):
        return f"repeat({_quoted(engine, value.part)}, {value.times}) || {_quoted(engine, value.end)}"
    if isinstance(value, timedelta):
        return _span(engine, value)
    text = value.isoformat() if isinstance(value, datetime | date | time) else str(value)
    if kind == "variant":
        return f"parse_json({_quoted(engine, text)})"
    return (
        _quoted(engine, text) if kind in {"text", "string", "VARCHAR"} else f"CAST({_quoted(engine, text)} AS {kind})"
    )


def _span(engine: str, value: timedelta) -> str:
    """A day of 24 hours is no day of the calendar, where the engine knows the difference."""
    hours = value == timedelta(hours=24)
    if engine == "spark":
        return f"INTERVAL '{value.days} {'01' if hours else '00'}:00:00' DAY TO SECOND"
    return f"CAST('{'24 hours' if hours else f'{value.days} days'}' AS interval)"


def _element(kind: str) -> str:
    return kind.removesuffix("[]") if kind.endswith("[]") else kind.removeprefix("array<").removesuffix(">")


def _quoted(engine: str, text: str) -> str:
    # Spark's texts have escapes, the others' none.
    return f"'{text.translate(SPARK_ESCAPES)}'" if engine == "spark" else "'" + text.replace("'", "''") + "'"


def values_sql(engine: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows for `VALUES`."""
    of = TYPES[engine]
    return ", ".join("(" + ", ".join(sql(engine, row[name], kind) for name, kind in of.items()) + ")" for row in rows)


def blank(engine: str) -> dict[str, Any]:
    """A row of nulls."""
    return dict.fromkeys(TYPES[engine])


def check_one_hash_a_row(found: Hashed) -> None:
    """Rows that read differently have different hashes, those that read alike the same one."""
    by_row, by_hash = defaultdict(set), defaultdict(set)
    for row, hashed in found:
        assert hashed is not None
        by_row[row].add(hashed)
        by_hash[hashed].add(row)
    assert all(len(rows) == 1 for rows in by_hash.values())
    assert all(len(hashes) == 1 for hashes in by_row.values())


def one_column_each(row: Mapping[str, Any], others: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row, and each that is the same in all columns but one."""
    return [dict(row), *({**row, name: value} for name, value in others.items())]


def neighbours(engine: str) -> list[dict[str, Any]]:
    """Rows with a text in one column or the other, or a part of it in each."""
    pairs = [
        ("a", "b"), ("ab", ""), ("", "ab"), ("ab", None), (None, "ab"), ("b", "a"), (None, None), ("", ""), ("-", None),
        ("1:a", "b"), ("1", ":a1:b"), ("a1:b", None),
    ]  # fmt: skip
    return [blank(engine) | {"one": one, "two": two} for one, two in pairs]


def close_documents(engine: str) -> list[dict[str, Any]]:
    """Documents that a program would consider equal: distinct if they read differently."""
    documents = ['{"a": 1}', '{"a": 1.0}', '{"a": "1"}', json.dumps({"a": None}), "{}", '{"a": [null]}', '{"a": []}']
    return [blank(engine) | {"document": document} for document in documents]


def called_equal(engine: str) -> list[dict[str, Any]]:
    """Texts that the collation of their column calls equal."""
    texts = ("e", "E", "é", "É", "e\u0301", "null", "NULL", "a", "a ")
    return [blank(engine) | {"folded": text} for text in texts]


def folded(engine: str) -> list[dict[str, Any]]:
    """Values that a hash of folded halves takes for one another."""
    values = {
        "big": FOLDED_NUMBERS,
        "moment": FOLDED_WHENS,
        "wall": [moment.replace(tzinfo=None) for moment in FOLDED_WHENS],
        "clock": FOLDED_TIMES,
    }
    return [blank(engine) | {name: value} for name, of in values.items() if name in TYPES[engine] for value in of]


# Two values of a column each.
TWO = {"two": ("x", "y"), "whole": (1, 2), "day": (date(2027, 3, 28), date(1, 1, 1)), "raw": (b"", b"a")}


def swaps(engine: str) -> list[dict[str, Any]]:
    """Four rows for each column: two, and the same two after they have swapped their values of that column."""
    return [
        blank(engine) | {"one": one, name: value}
        for name, (first, second) in TWO.items()
        for one, value in (("a", first), ("b", second), ("a", second), ("b", first))
    ]


def check_all(engine: str, hashed_rows: Callable[..., Hashed]) -> None:
    """What needs no chance."""
    assert len({hashed for _, hashed in hashed_rows(neighbours(engine))}) == len(neighbours(engine))
    check_one_hash_a_row(hashed_rows(close_documents(engine)))
    assert len({hashed for _, hashed in hashed_rows(called_equal(engine))}) == len(called_equal(engine))
    assert len({hashed for _, hashed in hashed_rows(folded(engine))}) == len(folded(engine))
    # The hashes of many rows are combined, so two rows that swap a value must not cancel each other out.
    hashes = [int(hashed) for _, hashed in hashed_rows(swaps(engine))]
    assert all(reduce(xor, hashes[start : start + 4]) for start in range(0, len(hashes), 4))
    row = [blank(engine) | {"one": "a", "double": -0.0, "list": ["x", None]}]
    first, again, other = (hashed_rows(row, salt=salt) for salt in ("a", "a", "b"))
    assert first == again
    assert first[0][1] != other[0][1]
